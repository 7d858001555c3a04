"""``threadlog migrate``."""

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Annotated, Final

import typer

from threadlog.cli.options import DEFAULT_URL, PartOption, UrlArgument, UrlOption, one_url
from threadlog.cli.output import ReaderLeft, fail, stdout
from threadlog.databases.urls import parse_url, show_url
from threadlog.models import (
    ALL_PARTS,
    CONTROL,
    GRAPH,
    MESSAGES,
    METADATA,
    SEARCH,
    STORE,
    PartName,
)
from threadlog.schema.verify import creation_directive

if TYPE_CHECKING:
    from threadlog.schema.migrate import Outcome

_DONE: Final = {
    "created": "Created the tables",
    "completed": "Created what was missing",
    "unchanged": "Nothing to do",
    "external": "Nothing to do",
}
_SCHEMAS: Final[dict[PartName, str]] = {
    "messages": f"the schema of version {MESSAGES.version}",
    "graph": f"the graph state's schema of version {GRAPH.version}",
    "store": f"the memory store's schema of version {STORE.version}",
    "control": f"thread control's schema of version {CONTROL.version}",
    "metadata": f"the server metadata's schema of version {METADATA.version}",
    "search": f"the search index's schema of version {SEARCH.version}",
}
_TABLES: Final[dict[PartName, str]] = {
    "messages": "message tables",
    "graph": "graph tables",
    "store": "memory store's tables",
    "control": "tables of thread control",
    "metadata": "server metadata's tables",
    "search": "tables of the search index",
}


def migrate(
    context: typer.Context,
    argument: UrlArgument = None,
    url: UrlOption = DEFAULT_URL,
    *,
    part: PartOption = None,
    sql: Annotated[
        bool,
        typer.Option("--sql", help="Print the SQL for an empty database; change nothing."),
    ] = False,
) -> None:
    """Create threadlog's tables, or upgrade them.

    All parts of the schema: messages, the state of graphs, the memory
    store, thread control (owners, leases, append keys, truncations), and
    the metadata of an agent server (threads and runs).
    The search index is created only with --part search; fill it with
    threadlog index. Run again, the command creates only missing tables.
    If the database has an Alembic history of your application, add
    threadlog's tables to that history instead: there only a part that
    --part names is created.

    \b
    Example:
      threadlog migrate mysql://user:password@localhost:3306/app
      threadlog migrate mysql://localhost/app --part graph
      threadlog migrate mysql://localhost/app --sql > schema.sql
    """  # noqa: D301 - Click does not rewrap a paragraph after \b
    from threadlog.schema import migrate  # noqa: PLC0415 - no other command needs it

    url = one_url(context, argument, url)
    if sql:
        typer.echo(migrate.upgrade_sql(url, part=part), nl=False)
        return
    # Reported one by one: the first part is done even if the second fails.
    done = asyncio.run(migrate.upgrade(url, part=part, report=partial(_report, url)))
    if set(done.values()) == {"skipped"}:
        raise fail("Nothing was created. Follow one of the lines above.")


def _directive(name: PartName) -> str:
    (part,) = (part for part in ALL_PARTS if part.name == name)
    return creation_directive(part)


def _report(url: str, part: PartName, outcome: "Outcome") -> None:
    """Print the outcome of a part in one line."""
    if outcome == "skipped":
        line = (
            f"Skipped the {_TABLES[part]}: this database has an Alembic history of your own. "
            f"Execute {_directive(part)} in it, or use --part {part} to create them anyway."
        )
    else:
        line = f"{_DONE[outcome]}: {show_url(parse_url(url))} has {_SCHEMAS[part]}"
        if outcome == "external":
            line += ", managed by your own Alembic history. Change it with your own migrations"
        line += "."
    with suppress(ReaderLeft):  # the other parts are still created
        stdout().print(line, markup=False, soft_wrap=True)
