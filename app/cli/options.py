"""Options that several commands have."""

import re
from datetime import timedelta
from enum import Enum
from typing import Annotated, Final, TypeAlias

import typer

from threadlog.models import PartName

DEFAULT_URL: Final = "sqlite:///threadlog.db"
_VARIABLE: Final = "THREADLOG_URL"
_HELP: Final = "Database, such as mysql://user:password@host:3306/database or sqlite:///file.db."
_TWICE: Final = "The database is given twice, as URL and as --url, and they differ."

UrlOption: TypeAlias = Annotated[str, typer.Option("--url", envvar=_VARIABLE, help=_HELP)]
UrlArgument: TypeAlias = Annotated[
    str | None, typer.Argument(metavar="URL", show_default=False, help="The same as --url.")
]
ThreadArgument: TypeAlias = Annotated[
    str, typer.Argument(metavar="THREAD", help="The thread's id.")
]
JsonOption: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Write JSON to standard output, for programs.")
]

_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days"}

# Five digits are 273 years at most, which is in the range of every database's dates.
_AGE: Final = re.compile(r"([0-9]{1,5})([mhd])")


def age(text: str) -> timedelta:
    """Read an AGE, such as 30m."""
    found = _AGE.fullmatch(text)
    if found is None:
        raise typer.BadParameter(
            f"{text!r} is no number of minutes, hours or days up to 99999, such as 30m, 1h or 2d."
        )
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


class Part(Enum):
    """A part of the schema, as the command line takes it."""

    messages = "messages"
    graph = "graph"


PartOption: TypeAlias = Annotated[
    Part | None, typer.Option("--part", show_default=False, help="Only this part of the schema.")
]


def part_name(option: Part | None) -> PartName | None:
    """Give the name of a part, if one was chosen."""
    return None if option is None else option.value


def one_url(context: typer.Context, argument: str | None, option: str) -> str:
    """Choose between the two ways to give a URL, of which the option is named ``url``."""
    if argument is None:
        return option
    # The option may also come from the environment, which the argument overrides.
    source = context.get_parameter_source("url")
    if source is not None and source.name == "COMMANDLINE" and option != argument:
        raise typer.BadParameter(_TWICE, param_hint="--url")
    return argument
