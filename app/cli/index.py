"""``threadlog index``."""

import asyncio
from contextlib import suppress

import typer
from rich.progress import MofNCompleteColumn, TextColumn
from rich.text import Text

from threadlog.cli.open import existing
from threadlog.cli.options import DEFAULT_URL, JsonOption, UrlArgument, UrlOption, one_url
from threadlog.cli.output import INTERRUPTED, ReaderLeft, fail, print_json, progress_bar, stdout
from threadlog.log.search_rows import count_missing, incomplete_threads, index_thread

# Threads in a page.
_THREADS = 100


def index(
    context: typer.Context,
    argument: UrlArgument = None,
    url: UrlOption = DEFAULT_URL,
    *,
    json: JsonOption = False,
) -> None:
    """Add messages to the search index that are not in it.

    For messages that were stored before threadlog migrate --part search
    created the index, or by processes that had opened the database before.
    Each batch is one transaction under its thread's lock: other processes may
    write meanwhile. If interrupted, run it again: it continues.

    \b
    Example:
      threadlog migrate mysql://user:password@localhost:3306/app --part search
      threadlog index mysql://user:password@localhost:3306/app
    """  # noqa: D301 - Click does not rewrap a paragraph after \b
    url = one_url(context, argument, url)
    try:
        added = asyncio.run(_index(url))
    except KeyboardInterrupt:
        raise fail("Interrupted. Run it again to continue.", INTERRUPTED) from None
    with suppress(ReaderLeft):
        if json:
            print_json({"messages": added})
        else:
            stdout().print(Text(f"{added:,} messages added."), soft_wrap=True)


async def _index(url: str) -> int:
    """Add all messages that are not in the index; return their number."""
    added, last = 0, None
    async with existing(url) as checkpointer:
        client = checkpointer.client
        total = await client.read(count_missing)
        with progress_bar(MofNCompleteColumn(), TextColumn("messages")) as progress:
            bar = progress.add_task("Indexing", total=total)
            while threads := await client.read(incomplete_threads, after=last, limit=_THREADS):
                for last in threads:
                    while some := await client.write(index_thread, last):
                        added += some
                        progress.update(bar, completed=added, total=max(total, added))
    return added
