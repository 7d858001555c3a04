"""The command line: one command in each file."""

from importlib.metadata import version
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from threadlog.cli.check import check
from threadlog.cli.copy import copy
from threadlog.cli.erase import erase
from threadlog.cli.export import export
from threadlog.cli.import_file import import_file
from threadlog.cli.index import index
from threadlog.cli.migrate import migrate
from threadlog.cli.output import error_text, fail, prepare_stdout, without_password
from threadlog.cli.prune import prune
from threadlog.cli.release import release
from threadlog.cli.runs import runs
from threadlog.cli.show import show
from threadlog.cli.threads import threads
from threadlog.errors import ThreadlogError

__all__ = ["app", "prepare_stdout"]


_AFTER_DASHES: Final = ". Put -- before a thread's id that begins with -"


def _may_be_thread(error: Exception) -> bool:
    """Return True if an unknown option may be a thread's id: the command takes one."""
    command = getattr(getattr(error, "ctx", None), "command", None)
    names = {parameter.name for parameter in getattr(command, "params", ())}
    return getattr(error, "option_name", None) is not None and "thread" in names


class _Group(TyperGroup):
    """A group of commands, each of which reports an error in one line without a password."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that the arguments name."""
        try:
            return super().invoke(ctx)
        except ThreadlogError as error:
            raise fail(error_text(error)) from error
        except Exception as error:
            # A usage error, which may repeat a password from a misplaced argument. The class
            # has no stable place across releases of Typer.
            if isinstance(message := getattr(error, "message", None), str):
                hint = _AFTER_DASHES if _may_be_thread(error) else ""
                error.message = without_password(message) + hint  # type: ignore[attr-defined]  # it has one
            raise


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    add_completion=False,
    # Tracebacks with local variables would show passwords and messages.
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command("import")(import_file)
for _command in (threads, show, runs, release, prune, erase, copy, export, check, migrate, index):
    app.command()(_command)


def _show_version(wanted: bool) -> None:  # noqa: FBT001 - the form of Typer's callbacks
    if wanted:
        typer.echo(f"threadlog {version('threadlog')}")
        raise typer.Exit


@app.callback()
def _threadlog(
    *,
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Import, show, copy, export and check the conversations of AI agents in a database.

    Commands take the database's URL, or use THREADLOG_URL (which keeps a
    password out of the shell's history), or the file threadlog.db in the
    current folder.

    \b
    Example:
      export THREADLOG_URL=mysql://user:password@localhost:3306/app
      threadlog check
      threadlog import conversations.jsonl
      threadlog threads
    """  # noqa: D301 - Click does not rewrap a paragraph after \b
