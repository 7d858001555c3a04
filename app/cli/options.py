"""Options of several commands."""

import re
from datetime import timedelta
from typing import Annotated, Final, TypeAlias

import typer

from threadlog.models import PartName

DEFAULT_URL: Final = "sqlite:///threadlog.db"
_VARIABLE: Final = "THREADLOG_URL"
_HELP: Final = "Database, such as mysql://user:password@host:3306/database or sqlite:///file.db."
_TWICE: Final = "URL and --url name different databases. Use one of them."

UrlOption: TypeAlias = Annotated[str, typer.Option("--url", envvar=_VARIABLE, help=_HELP)]
UrlArgument: TypeAlias = Annotated[
    str | None, typer.Argument(metavar="URL", show_default=False, help="The same as --url.")
]
ThreadArgument: TypeAlias = Annotated[
    str, typer.Argument(metavar="THREAD", help="The thread's id; after -- if it begins with -.")
]
JsonOption: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Write JSON to standard output.")
]

OwnerOption: TypeAlias = Annotated[
    str | None,
    typer.Option("--owner", show_default=False, help="Only threads of this owner."),
]
PartOption: TypeAlias = Annotated[
    PartName | None,
    typer.Option("--part", show_default=False, help="Only this part of the schema."),
]

_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days"}

# Five digits are at most 273 years, in the range of every database's dates.
_AGE: Final = re.compile(r"([0-9]{1,5})([mhd])")


def age(text: str) -> timedelta:
    """Convert an AGE, such as 30m."""
    found = _AGE.fullmatch(text)
    if found is None:
        raise typer.BadParameter(
            f"{text!r} is not a number of minutes, hours or days up to 99999, such as 30m or 2d."
        )
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def one_url(context: typer.Context, argument: str | None, option: str) -> str:
    """Return the URL from the argument or the option ``url``, which must not differ."""
    if argument is None:
        return option
    # The argument overrides an option that comes from the environment.
    source = context.get_parameter_source("url")
    if source is not None and source.name == "COMMANDLINE" and option != argument:
        raise typer.BadParameter(_TWICE, param_hint="--url")
    return argument
