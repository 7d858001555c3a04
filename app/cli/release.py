"""``threadlog release``."""

import asyncio
from datetime import timedelta
from typing import Annotated

import typer

from threadlog.cli.open import existing, scoped
from threadlog.cli.options import DEFAULT_URL, OwnerOption, ThreadArgument, UrlOption
from threadlog.cli.output import fail, in_one_line, stdout
from threadlog.errors import RunAlreadyClaimedError, RunAlreadyCompletedError, RunNotClaimedError


def release(
    thread: ThreadArgument,
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="The run's id.")],
    url: UrlOption = DEFAULT_URL,
    owner: OwnerOption = None,
    *,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Also if the run waits for a person's answer (the question stays), or is leased.",
        ),
    ] = False,
) -> None:
    """Release the claim of a run whose process died, so that it can be claimed again.

    The run's messages stay. Make sure that the process is dead: a live
    process could no longer complete the run, and with a lease could no longer
    write. A run that waits for a person's answer needs no process, and the
    process of a run whose lease lasts is alive: neither is released without
    --force.

    \b
    Example:
      threadlog runs --stale 2h
      threadlog release airline/0/0 run-1 --url sqlite:///threadlog.db
    """  # noqa: D301 - Click does not rewrap a paragraph after \b
    asyncio.run(_release(url, thread, run_id, owner, force=force))
    done = f"Released run {in_one_line(run_id)} of thread {in_one_line(thread)}."
    stdout().print(done, markup=False, soft_wrap=True)


async def _release(
    url: str, thread_id: str, run_id: str, owner: str | None, *, force: bool
) -> None:
    name = f"Run {run_id!r} of thread {thread_id!r}"
    async with existing(url) as checkpointer:
        try:
            await scoped(checkpointer, owner).release_run(
                thread_id, run_id, older_than=None if force else timedelta(0)
            )
        # The library's own advice is for processes that claim runs.
        except RunNotClaimedError as error:
            raise fail(f"{name} is not claimed. See: threadlog runs THREAD") from error
        except RunAlreadyCompletedError as error:
            raise fail(f"{name} is completed and cannot be released.") from error
        except RunAlreadyClaimedError as error:  # with age 0 no other run is refused
            raise fail(
                f"{name} is waiting for a person's answer, or its lease has not ended. Use "
                "--force to release it anyway."
            ) from error
