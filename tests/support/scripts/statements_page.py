"""The page of statements: ``python -m tests.support.scripts.statements_page`` writes it.

It shows what warm calls send to each database; `tests.examples.test_statements` checks that it is
what they send.
"""

import asyncio
import itertools
import re
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias

from sqlalchemy import Connection, Engine, event

from tests.graph.saver.making import checkpoint_of, config_for, metadata_of
from tests.support.databases import engines_of, fresh_database
from tests.support.factories import UserFactory
from tests.support.servers.products import MARIADB, MYSQL, POSTGRES
from tests.support.servers.server import running_server
from threadlog import Database

PAGE: Final = Path(__file__).parents[3] / "docs" / "statements.md"

TITLES: Final = {
    "mysql": "MySQL",
    "mariadb": "MariaDB",
    "postgresql": "PostgreSQL",
    "sqlite": "SQLite",
}
"""The databases in the order of the page."""

Statements: TypeAlias = dict[str, list[str]]
"""By call: the statements of one database."""

_INTRODUCTION: Final = """\
# Statements

Each section is one call of a warm object on an engine of threadlog's own, with the statements \
that it sends. Databases with the same statements share a block. The page is recorded from real \
servers by `python -m tests.support.scripts.statements_page`. Do not edit.

Reads, and writes of one statement that may be repeated, run on connections in autocommit mode. \
MySQL and MariaDB begin a transaction with its first statement.
"""

# Each begins a line.
_CLAUSES: Final = re.compile(
    r" (FROM|JOIN|WHERE|UNION ALL|ORDER BY|LIMIT|VALUES|ON CONFLICT|ON DUPLICATE|RETURNING)\b"
)

_CONFIG: Final = config_for("t")
_VALUES: Final = {"a": 1, "b": "x"}
_numbers: Final = itertools.count()


async def _put(database: Database) -> None:
    checkpoint = checkpoint_of(_VALUES)
    await database.saver.aput(_CONFIG, checkpoint, metadata_of(), checkpoint["channel_versions"])


async def _put_writes(database: Database) -> None:
    config = config_for("t", checkpoint_id="1")
    await database.saver.aput_writes(config, [("a", 1), ("b", "x")], f"task {next(_numbers)}")


async def _list(database: Database) -> None:
    async for _ in database.saver.alist(_CONFIG, limit=10):
        pass


def _new(prefix: str) -> str:
    return f"{prefix} {next(_numbers)}"


CALLS: Final[dict[str, Callable[[Database], Awaitable[object]]]] = {
    "append, one message": lambda d: d.checkpointer.append("t", [UserFactory()]),
    "append, one message of a run": lambda d: d.checkpointer.append(
        "t", [UserFactory(run_id="run")]
    ),
    "append, two messages": lambda d: d.checkpointer.append("t", UserFactory.build_batch(2)),
    "append to a new thread": lambda d: d.checkpointer.append(_new("thread"), [UserFactory()]),
    "load": lambda d: d.checkpointer.load("t"),
    "load the last messages": lambda d: d.checkpointer.load("t", last=10),
    "read a page": lambda d: d.checkpointer.read("t", after_seq=1, limit=10),
    "list_threads": lambda d: d.checkpointer.list_threads(limit=2, order="recent"),
    "save_extra": lambda d: d.checkpointer.save_extra("t", {"n": next(_numbers)}),
    "claim_run": lambda d: d.checkpointer.claim_run("t", _new("run")),
    "Saver.aput": _put,
    "Saver.aput_writes": _put_writes,
    "Saver.aget_tuple": lambda d: d.saver.aget_tuple(_CONFIG),
    "Saver.alist": _list,
    "Store.aput": lambda d: d.store.aput(("users", "1"), "k", {"n": next(_numbers)}),
    "Store.aget": lambda d: d.store.aget(("users", "1"), "k"),
    "Store.asearch": lambda d: d.store.asearch(("users",), limit=10),
    "Store.adelete": lambda d: d.store.adelete(("users", "1"), "other"),
}
"""The calls of the page."""


@contextmanager
def _sent_to(engines: list[Engine]) -> Iterator[list[str]]:
    """Yield the list of what is sent to engines, the one for writes first."""
    sent: list[str] = []
    writing, *reading = engines

    def begin(connection: Connection) -> None:
        if connection.dialect.name == "postgresql":  # elsewhere it is a statement, or implied
            sent.append("BEGIN")

    def execute(_c: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        sent.append(_CLAUSES.sub(r"\n\1", re.sub(r"\s+", " ", statement.strip())))

    listeners: list[tuple[Engine, str, Callable[..., None]]] = [
        (writing, "begin", begin),
        (writing, "commit", lambda _: sent.append("COMMIT")),
        (writing, "before_cursor_execute", execute),
        *((engine, "before_cursor_execute", execute) for engine in reading),
    ]
    for listener in listeners:
        event.listen(*listener)
    yield sent
    for listener in listeners:
        event.remove(*listener)


async def statements_of(url: str) -> Statements:
    """Return what the calls send to an empty database.

    The shortest of three: in a new second a thread's `updated_at` is written too.
    """
    found: Statements = {}
    async with Database(url) as database:
        await database.setup()
        await database.checkpointer.append("t", UserFactory.build_batch(3))
        await database.checkpointer.claim_run("t", "run")
        await _put(database)
        for call, work in CALLS.items():
            await work(database)
            tries = []
            for _ in range(3):
                with _sent_to(engines_of(database.checkpointer)) as sent:
                    await work(database)
                tries.append(list(sent))
            found[call] = min(tries, key=len)
    return found


def page(recorded: dict[str, Statements]) -> str:
    """Return the text of the page.

    Args:
        recorded: the statements by the name of the dialect.
    """
    parts = [_INTRODUCTION]
    for call in CALLS:
        parts.append(f"## {call}\n")
        blocks: dict[str, list[str]] = {}
        for name, title in TITLES.items():
            blocks.setdefault(_block(recorded[name][call]), []).append(title)
        parts += [f"{', '.join(titles)}:\n\n{block}" for block, titles in blocks.items()]
    return "\n".join(parts)


def shown_on(text: str, title: str) -> dict[str, str]:
    """Return the block of each call that a page shows for a database."""
    found: dict[str, str] = {}
    for section in re.split(r"(?m)^## ", text)[1:]:
        call, _, rest = section.partition("\n")
        for titles, block in re.findall(r"(?ms)^([A-Z][\w, ]+):\n\n(```sql\n.*?\n```\n)", rest):
            if title in titles.split(", "):
                found[call] = block
    return found


def _block(statements: list[str]) -> str:
    return "```sql\n" + "".join(f"{statement};\n" for statement in statements) + "```\n"


def blocks_of(statements: Statements) -> dict[str, str]:
    """Return the block of each call."""
    return {call: _block(sent) for call, sent in statements.items()}


def main() -> None:
    """Record the statements of all databases, and write the page."""
    recorded: dict[str, Statements] = {}
    with tempfile.TemporaryDirectory() as folder:
        recorded["sqlite"] = asyncio.run(statements_of(f"sqlite:///{folder}/threadlog.db"))
    for product in (MYSQL, MARIADB, POSTGRES):
        with running_server(product) as server, fresh_database(server.url) as url:
            name = "postgresql" if product is POSTGRES else product.name
            recorded[name] = asyncio.run(statements_of(url))
    PAGE.write_text(page(recorded), encoding="utf-8")


if __name__ == "__main__":
    main()
