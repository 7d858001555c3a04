"""The commands for runs, with leases."""

import asyncio

import pytest

from tests.cli.helpers import threadlog
from tests.leases.expiring import MINUTE, end_leases
from threadlog import SyncCheckpointer


@pytest.mark.one_database
def test_run_is_stale_and_released_once_its_lease_has_ended(database_url: str) -> None:
    with SyncCheckpointer(database_url) as log:
        log.claim_run("t", "r", lease=MINUTE)
    stale = ("runs", "--stale", "9d", "--json", "--url", database_url)
    release = ("release", "t", "r", "--url", database_url)
    assert threadlog(*stale).stdout == "[]\n"
    refused = threadlog(*release)
    assert refused.exit_code == 1
    assert "its lease has not ended. Use --force" in refused.stderr
    asyncio.run(end_leases(database_url))
    assert '"run_id": "r"' in threadlog(*stale).stdout
    assert threadlog(*release).exit_code == 0
    assert threadlog("runs", "t", "--json", "--url", database_url).stdout == "[]\n"
