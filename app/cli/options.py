"""Options that several commands have."""

from typing import Annotated, Final, TypeAlias

import typer

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


def one_url(context: typer.Context, argument: str | None, option: str) -> str:
    """Choose between the two ways to give a URL, of which the option is named ``url``."""
    if argument is None:
        return option
    # The option may also come from the environment, which the argument overrides.
    source = context.get_parameter_source("url")
    if source is not None and source.name == "COMMANDLINE" and option != argument:
        raise typer.BadParameter(_TWICE, param_hint="--url")
    return argument
