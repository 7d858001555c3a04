"""What the commands share: running, failing, and writing to the terminal."""

import asyncio
import json
import re
import unicodedata
from collections.abc import Coroutine, Iterable
from datetime import datetime
from typing import Any, Final, TypeVar

import typer
from rich.console import Console
from rich.text import Text

from threadlog.errors import ThreadlogError

T = TypeVar("T")

_PASSWORD: Final = re.compile(r"(://[^\s:/@]*):(?!password@host)\S*@")
_SECRET_OPTION: Final = re.compile(r"([?&]\w*passw\w*=)[^&\s]*", re.IGNORECASE)

# Wide enough that nothing is cut or broken when the output goes to a file or a program.
_UNLIMITED: Final = 100_000


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's work; an error of threadlog's ends the process with one line."""
    try:
        return asyncio.run(work)
    except ThreadlogError as error:
        raise fail(str(error)) from error


def fail(reason: str) -> typer.Exit:
    """Write one line to standard error; raise what is returned to end with status 1."""
    line = printable(without_password(reason)).replace("\n", " ")
    stderr().print(Text.assemble(("Error: ", "bold red"), line), soft_wrap=True)
    return typer.Exit(1)


def stdout() -> Console:
    """Give the console for results: as wide as the terminal, unlimited elsewhere."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_UNLIMITED)
    return console


def stderr() -> Console:
    """Give the console for progress, hints and errors."""
    return Console(stderr=True, highlight=False)


def print_json(value: object) -> None:
    """Write one JSON document to standard output."""
    typer.echo(json.dumps(value, indent=2))


def printable(text: str) -> str:
    r"""Write control characters out, so that stored text cannot steer the terminal.

    Line feeds and tabs stay; what moves the cursor, colours or reorders becomes ``\x1b``.
    """
    text = text.replace("\r\n", "\n")
    return "".join(_visible(character) for character in text)


def in_one_line(text: str) -> str:
    """Write text so that it takes one line, for ids and names."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def shorten(text: str, length: int) -> str:
    """Cut text, and say how long it was."""
    if len(text) <= length:
        return text
    return f"{text[:length].rstrip()} … ({len(text):,} characters)"


def without_password(text: str) -> str:
    """Put *** in place of the passwords of URLs in a text."""
    return _SECRET_OPTION.sub(r"\1***", _PASSWORD.sub(r"\1:***@", text))


def moment(time: datetime) -> str:
    """Write a time for people."""
    return f"{time:%Y-%m-%d %H:%M:%S}"


def indented(console: Console, text: Text, indent: int) -> Iterable[Text]:
    """Break text into the lines of an indented block, as wide as the terminal allows."""
    lines = text.split("\n", allow_blank=True)
    if console.is_terminal:
        lines = text.wrap(console, max(console.width - indent, 20))
    for line in lines:
        line.rstrip()
        yield Text.assemble(" " * indent, line) if line else line


def _visible(character: str) -> str:
    # Cc: control characters; Cf: among others what changes the direction of text. The
    # joiners that scripts and emoji need are harmless.
    kind = unicodedata.category(character)
    if character in "\n\t\u200c\u200d" or kind not in {"Cc", "Cf", "Cs", "Zl", "Zp"}:
        return character
    return character.encode("unicode_escape").decode()
