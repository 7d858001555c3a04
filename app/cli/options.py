"""Options that several commands have."""

from typing import Annotated, Final, TypeAlias

import typer

DEFAULT_URL: Final = "sqlite:///threadlog.db"
_VARIABLE: Final = "THREADLOG_URL"
_HELP: Final = "Database, such as mysql://user:password@host:3306/database or sqlite:///file.db."

UrlOption: TypeAlias = Annotated[str, typer.Option("--url", envvar=_VARIABLE, help=_HELP)]
UrlArgument: TypeAlias = Annotated[str, typer.Argument(metavar="URL", envvar=_VARIABLE, help=_HELP)]
JsonOption: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Write JSON to standard output, for programs.")
]
