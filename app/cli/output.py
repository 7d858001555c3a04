"""Write results, progress and errors to the terminal."""

import json
import os
import re
import sys
import unicodedata
from collections.abc import Iterable
from datetime import datetime
from functools import partial
from io import BufferedWriter, FileIO, TextIOWrapper
from typing import TYPE_CHECKING, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

from threadlog.errors import StorageError, ThreadlogError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_PASSWORD: Final = re.compile(r"(://[^\s:/@]*):(?!password@host)\S*@")
_SECRET_OPTION: Final = re.compile(r"([?&]\w*passw\w*=)[^&\s]*", re.IGNORECASE)

# Characters that may have to be escaped in JSON, whose own syntax contains none of them.
_UNUSUAL: Final = re.compile(r"[^\n -~]")

# Wide enough that no line is cut or wrapped in the output to a file or a program.
_UNLIMITED: Final = 100_000


INTERRUPTED: Final = 130
"""The exit status after Ctrl-C, which shells expect and Typer uses too."""


class ReaderLeft(typer.Exit):
    """The reader of standard output has exited, such as ``| head``; this is not a failure."""


class _Pipe(FileIO):
    """Standard output that ends the command when it cannot be written.

    A reader that exits is no error. A full disk is one.
    """

    def write(self, data: "ReadableBuffer", /) -> int:
        """Write bytes, or raise `ReaderLeft` or the exception that ends with status 1."""
        try:
            return super().write(data)
        except OSError as error:
            # Discard the buffer, or the last flush would fail too.
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.fileno())
            os.close(null)
            if isinstance(error, BrokenPipeError):
                raise ReaderLeft from None
            raise not_written("Standard output", error) from error


def prepare_stdout() -> None:
    """Configure standard output for characters that it cannot encode, and readers exit."""
    if not isinstance(sys.stdout, TextIOWrapper):
        return
    # A character that the terminal lacks must not end a command halfway.
    sys.stdout.reconfigure(errors="backslashreplace")
    if not sys.stdout.isatty():
        pipe = BufferedWriter(_Pipe(sys.stdout.fileno(), "w", closefd=False))
        sys.stdout = TextIOWrapper(pipe, sys.stdout.encoding, sys.stdout.errors)


def error_text(error: ThreadlogError) -> str:
    """Return an error's text, without the advice to look at a cause that is not shown."""
    if type(error) is StorageError:
        return f"{error.reason.rstrip('.')}. Run: threadlog check URL"
    return str(error)


def fail(reason: str, status: int = 1) -> typer.Exit:
    """Write one line to standard error. Return the exception that ends with a status."""
    line = printable(without_password(reason)).replace("\n", " ")
    stderr().print(Text.assemble(("Error: ", "bold red"), line), soft_wrap=True)
    return typer.Exit(status)


def not_written(name: str, error: OSError) -> typer.Exit:
    """Report a file that cannot be written, such as on a full disk; see `fail`."""
    return fail(
        f"{name} cannot be written: {error.strerror}. Correct that, then run the command again."
    )


def stdout() -> Console:
    """Return the console for results: as wide as the terminal, otherwise unlimited."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_UNLIMITED)
    return console


def stderr() -> Console:
    """Return the console for progress, hints and errors."""
    return Console(stderr=True, highlight=False)


def progress_bar(*columns: ProgressColumn) -> Progress:
    """Return a progress bar on standard error, disabled unless it is a terminal.

    Args:
        columns: the columns between the bar and the remaining time.
    """
    console = stderr()
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        *columns,
        TimeRemainingColumn(elapsed_when_finished=True),
        console=console,
        disable=not console.is_terminal,
    )


def print_json(value: object) -> None:
    """Write one JSON document to standard output."""
    typer.echo(json_text(value, indent=2))


def json_text(value: object, *, indent: int | None = None) -> str:
    """Return JSON with non-ASCII letters, unless the output cannot encode one.

    Times are in ISO format. All control characters are escaped: the output may be a terminal.
    """
    encode = partial(json.dumps, value, indent=indent, default=datetime.isoformat)
    text = encode(ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        text = encode()
    return escape_json(text)


def escape_json(text: str) -> str:
    """Escape control characters of a JSON document, so that it cannot control the terminal."""
    return _UNUSUAL.sub(lambda found: _escaped(found[0]), text)


def printable(text: str) -> str:
    r"""Escape control characters, so that stored text cannot control the terminal.

    Line feeds and tabs stay; characters that move the cursor, colour or reorder text become
    escapes such as ``\x1b``.
    """
    text = text.replace("\r\n", "\n")
    return "".join(_visible(character) for character in text)


def in_one_line(text: str) -> str:
    """Return text escaped to one line, for ids and names."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def shorten(text: str, length: int) -> str:
    """Return the first `length` characters, with the full length if text was cut."""
    if len(text) <= length:
        return text
    return f"{text[:length].rstrip()} … ({len(text):,} characters)"


def without_password(text: str) -> str:
    """Return text with *** instead of the passwords of URLs."""
    return _SECRET_OPTION.sub(r"\1***", _PASSWORD.sub(r"\1:***@", text))


def time_text(time: datetime) -> str:
    """Return a time to the second, as displayed."""
    return f"{time:%Y-%m-%d %H:%M:%S}"


def indented(console: Console, text: Text, indent: int) -> Iterable[Text]:
    """Yield the lines of text as an indented block, wrapped to the terminal's width."""
    lines = text.split("\n", allow_blank=True)
    if console.is_terminal:
        lines = text.wrap(console, max(console.width - indent, 20))
    for line in lines:
        line.rstrip()
        yield Text.assemble(" " * indent, line) if line else line


def _visible(character: str) -> str:
    if character in "\n\t" or _is_harmless(character):
        return character
    return character.encode("unicode_escape").decode()


def _escaped(character: str) -> str:
    """Return a character of a JSON string, escaped if harmful."""
    if _is_harmless(character):
        return character
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[place : place + 4]}" for place in range(0, len(units), 4))


def _is_harmless(character: str) -> bool:
    # Cc: control characters; Cf: format characters, such as changes of text direction. The
    # joiners that scripts and emoji need are harmless.
    kind = unicodedata.category(character)
    return character in "\u200c\u200d" or kind not in {"Cc", "Cf", "Cs", "Zl", "Zp"}
