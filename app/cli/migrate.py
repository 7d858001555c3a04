"""``threadlog migrate``."""

from typing import TYPE_CHECKING, Annotated, Final

import typer

from threadlog.backends import parse_url, show_url
from threadlog.cli.options import DEFAULT_URL, UrlArgument, UrlOption, one_url
from threadlog.cli.output import fail, run, stdout
from threadlog.errors import ThreadlogError
from threadlog.models import EXPECTED_SCHEMA_VERSION

if TYPE_CHECKING:
    from threadlog.migrating import Outcome

_SAID: Final[dict["Outcome", str]] = {
    "created": "Created the tables",
    "completed": "Created what was missing",
    "there already": "Nothing to do",
    "host's": (
        "Nothing to do; the tables are there and belong to your own Alembic history, so keep "
        "to the host's migrations"
    ),
}


def migrate(
    context: typer.Context,
    argument: UrlArgument = None,
    url: UrlOption = DEFAULT_URL,
    *,
    sql: Annotated[
        bool,
        typer.Option("--sql", help="Write the SQL for an empty database; change nothing."),
    ] = False,
) -> None:
    """Create threadlog's tables, or bring them up to date.

    For databases whose migrations are not your own. If your application has
    an Alembic history, put threadlog's tables into that instead. Run again,
    it makes only what is missing.

    \b
    Example:
      threadlog migrate mysql://user:password@localhost:3306/app
      threadlog migrate mysql://localhost/app --sql > schema.sql
    """  # noqa: D301 - \b is Click's mark for lines that are not to be joined
    from threadlog import migrating  # noqa: PLC0415 - no other command needs it

    url = one_url(context, argument, url)
    if sql:
        typer.echo(_sql(url), nl=False)
        return
    said = _SAID[run(migrating.upgrade(url))]
    done = f"{show_url(parse_url(url))} has the schema of version {EXPECTED_SCHEMA_VERSION}."
    stdout().print(f"{said}: {done}", markup=False, soft_wrap=True)


def _sql(url: str) -> str:
    from threadlog import migrating  # noqa: PLC0415 - no other command needs it

    try:
        return migrating.upgrade_sql(url)
    except ThreadlogError as error:
        raise fail(str(error)) from error
