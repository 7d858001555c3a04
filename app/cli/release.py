"""``threadlog release``."""

from datetime import timedelta
from typing import Annotated

import typer

from threadlog.cli.open import existing
from threadlog.cli.options import DEFAULT_URL, ThreadArgument, UrlOption
from threadlog.cli.output import fail, in_one_line, run, stdout
from threadlog.errors import RunAlreadyClaimedError, RunAlreadyCompletedError, RunNotClaimedError


def release(
    thread: ThreadArgument,
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="The run's id.")],
    url: UrlOption = DEFAULT_URL,
    *,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Also where a person's answer is pending; that question stays."
        ),
    ] = False,
) -> None:
    """Give up the claim of a run whose process died, so that it can be claimed again.

    The run's messages stay. Make sure that the process is dead: one that
    lives after all can no longer complete the run. A run that waits for a
    person's answer needs no process, and is refused unless --force is given.

    \b
    Example:
      threadlog runs --stale 2h
      threadlog release airline/0/0 run-1 --url sqlite:///threadlog.db
    """  # noqa: D301 - \b is Click's mark for lines that are not to be joined
    run(_release(url, thread, run_id, force=force))
    done = f"Released run {in_one_line(run_id)} of thread {in_one_line(thread)}."
    stdout().print(done, markup=False, soft_wrap=True)


async def _release(url: str, thread_id: str, run_id: str, *, force: bool) -> None:
    name = f"Run {run_id!r} of thread {thread_id!r}"
    async with existing(url) as checkpointer:
        try:
            await checkpointer.release_run(
                thread_id, run_id, older_than=None if force else timedelta(0)
            )
        # The library's own advice is for who claims runs.
        except RunNotClaimedError as error:
            raise fail(f"{name} is not claimed. See: threadlog runs THREAD") from error
        except RunAlreadyCompletedError as error:
            raise fail(f"{name} is completed; there is nothing to release.") from error
        except RunAlreadyClaimedError as error:  # of any age: it can only be waiting
            raise fail(
                f"{name} is waiting: a person's answer is pending. Release it with --force."
            ) from error
