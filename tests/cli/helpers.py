"""Running commands, and files and databases for them."""

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from tests.support.factories import HitlRequestFactory
from tests.support.processes import run_python
from threadlog import Checkpointer
from threadlog.cli import app

# Tests that were started in the background ignore SIGINT, and so does what they start.
HEEDS_CTRL_C = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from threadlog.__main__ import main
main()
"""

SAMPLE = Path(__file__).parents[1] / "support" / "data" / "sample.jsonl"


def threadlog(*arguments: str, **environment: str) -> Result:
    """Run a command in this process."""
    result = CliRunner(env=environment).invoke(app, arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def as_process(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``python -m threadlog`` in a process of its own."""
    return run_python("-m", "threadlog", *arguments, environment=environment)


def write_lines(file: Path, *lines: Any) -> Path:
    """Write a JSON Lines file; a string is a line as it is."""
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    file.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return file


def claim(url: str, thread_id: str, *run_ids: str) -> None:
    """Claim runs of a thread, which are left open."""

    async def work() -> None:
        async with Checkpointer(url) as checkpointer:
            for run_id in run_ids:
                await checkpointer.claim_run(thread_id, run_id)

    asyncio.run(work())


def ask(url: str, thread_id: str, run_id: str | None, **fields: Any) -> None:
    """Leave a question pending in a thread."""

    async def work() -> None:
        async with Checkpointer(url) as checkpointer:
            question = HitlRequestFactory(**fields)
            await checkpointer.save_pending_request(thread_id, question, run_id=run_id)

    asyncio.run(work())
