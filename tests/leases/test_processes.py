"""The run of a process that was killed is taken over by another one."""

import asyncio
import sys

import pytest

from tests.leases.expiring import MINUTE, end_leases
from tests.support.factories import UserFactory
from tests.support.patience import patience
from threadlog import Checkpointer
from threadlog.errors import RunAlreadyClaimedError


@pytest.mark.processes
async def test_run_of_killed_process_is_taken_over_after_its_lease(database_url: str) -> None:
    """Until then it is refused: the process may be alive."""
    command = [sys.executable, "-m", "tests.leases.worker", database_url]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    async with Checkpointer(database_url) as log, patience():
        for _ in range(8):
            assert await process.stdout.readline() == b"working\n"
            with pytest.raises(RunAlreadyClaimedError):
                await log.claim_run("t", "r", lease=MINUTE)
        process.kill()
        await process.wait()
        with pytest.raises(RunAlreadyClaimedError):
            await log.claim_run("t", "r", lease=MINUTE)
        await end_leases(database_url)
        claim = await log.claim_run("t", "r", lease=MINUTE)
        count = len(await log.read("t"))
        assert count >= 8
        await log.append("t", [UserFactory(run_id="r")], claim=claim)
        await log.mark_run_complete("t", "r", claim=claim)
        assert [stored.seq for stored in await log.read("t")] == list(range(1, count + 2))
        assert [run.state for run in await log.runs("t")] == ["completed"]
