"""Run every code sample of a page: `python -m tests.support.scripts.docs_page PAGE FOLDER URL`.

A process of its own, because a page may attach columns to the mapped classes for good. From
top to bottom, in a folder of its own:

- Python is executed, all of a page in one namespace; a block ``text`` right behind it is what
  it prints, and without one it prints nothing;
- a block with a title is a file, and is written;
- lines of a block ``console`` that begin with ``$`` are run, and the others are what they print;
- what stands behind ``<!-- fragment -->``, and all else, is left alone.

``…`` in an output stands for anything, alone on its line for any number of lines. Where a
page says ``mysql://user:password@host:3306/database`` it is given a real database.

Prints what differed from the page; nothing where nothing did.
"""

import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Final

from tests.support.processes import fork_from_here, run_python

_MYSQL: Final = re.compile(r"(mysql(?:\+\w+)?)://user:password@host(?::3306)?/database")
_OF_PYTHON: Final = {"alembic", "threadlog"}
_FENCE: Final = re.compile(
    r"^(?P<fragment><!-- fragment -->\n+)?^```(?P<language>\w+)(?P<rest>[^\n]*)\n(?P<text>.*?)^```$"
    r"(?:\n+^```text\n(?P<output>.*?)^```$)?",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A block of code on a page."""

    language: str
    text: str
    line: int
    """The line of the page on which the text begins."""

    output: str
    """What it prints, where the page shows that right behind it."""

    title: str | None
    """The name of the file that it is."""

    fragment: bool
    """True if the block is not run."""


def blocks(page: str) -> Iterator[Block]:
    """Yield the code blocks of a page, in order."""
    for found in _FENCE.finditer(page):
        title = re.search(r'title="([^"]+)"', found["rest"])
        yield Block(
            language=found["language"],
            text=found["text"],
            line=page.count("\n", 0, found.start("text")) + 1,
            output=found["output"] or "",
            title=title and title[1],
            fragment=found["fragment"] is not None,
        )


def needs_mysql(page: str) -> bool:
    """Return True if a page uses a MySQL database."""
    return any(_MYSQL.search(block.text) for block in blocks(page) if not block.fragment)


def matches(shown: str, printed: str) -> bool:
    """Compare an output that a page shows with the real one."""
    pattern = "".join(
        r"(?:[^\n]*\n)*" if line.strip() == "…" else _of_line(line) for line in _lines(shown)
    )
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in _lines(printed))) is not None


def _of_line(line: str) -> str:
    return r"[^\n]*".join(map(re.escape, line.split("…"))) + "\n"


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().splitlines()]


def _commands(block: Block) -> Iterator[tuple[str, str]]:
    """Yield the commands of a console, each with its output."""
    for command in re.split(r"(?m)^\$ ", block.text)[1:]:
        line, _, output = command.partition("\n")
        yield line, output


def run(name: str, page: str, mysql_url: str) -> Iterator[tuple[str, str, str]]:
    """Run a page in the current folder; yield each place, expected output and real output."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    server = mysql_url.partition("://")[2]
    page = _MYSQL.sub(lambda found: f"{found[1]}://{server}", page)
    for block in blocks(page):
        if block.fragment:
            continue
        where = f"{name}:{block.line}"
        if block.title is not None:
            Path(block.title).parent.mkdir(parents=True, exist_ok=True)
            Path(block.title).write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            printed = io.StringIO()
            code = compile("\n" * (block.line - 1) + block.text, name, "exec")
            with redirect_stdout(printed):
                exec(code, namespace)  # noqa: S102 - it is ours
            yield where, block.output, printed.getvalue()
        elif block.language == "console":
            for command, output in _commands(block):
                yield f"{where}: {command}", output, _printed(command)


def _printed(command: str) -> str:
    """Run a command as a reader's shell does; return what it prints."""
    words = shlex.split(command)
    with TemporaryFile("w+", encoding="utf-8") as file:
        if words[0] in _OF_PYTHON:
            script = str(shutil.which(words[0]))
            out = file.fileno()
            run_python(script, *words[1:], cwd=Path.cwd(), stdout=out, stderr=out)
        else:
            subprocess.run(command, shell=True, stdout=file, stderr=file, check=False)  # noqa: S602 - see above
        file.seek(0)
        return file.read()


def main(path: str, folder: str, mysql_url: str) -> None:
    """Run a page, and print what differs."""
    fork_from_here()
    page = Path(path)
    text = page.read_text(encoding="utf-8")
    here = str(Path(sys.executable).parent)
    os.environ.update(PATH=f"{here}:{os.environ['PATH']}", COLUMNS="100", NO_COLOR="1", TERM="dumb")
    os.environ.pop("THREADLOG_URL", None)
    os.chdir(folder)
    sys.path.insert(0, folder)
    for where, shown, printed in run(page.name, text, mysql_url):
        if not matches(shown, printed):
            print(f"{where}\nshows:\n{shown}\nprints:\n{printed}")


if __name__ == "__main__":
    main(*sys.argv[1:])
