"""A connection that is lost during the COMMIT of a claim: whose the run is, is found out."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.util import await_only

from tests.leases.expiring import MINUTE, end_leases
from tests.leases.writing import CHANGES_NOTHING, WRITES, prepare, stored
from tests.support.commits import lost_commits
from tests.support.databases import engine_for, engines_of
from tests.support.factories import UserFactory
from threadlog import Checkpointer, Claim
from threadlog.errors import CommitOutcomeUnknownError, LeaseLostError, RunAlreadyClaimedError


@pytest.fixture
async def other(server_url: str) -> AsyncIterator[AsyncConnection]:
    """Yield another application's connection to the database."""
    engine = engine_for(server_url, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        yield connection
    await engine.dispose()


@pytest.fixture(params=["done", "not done"])
def arrival(request: pytest.FixtureRequest) -> str:
    """Return whether the server has executed the COMMIT whose answer is lost."""
    return str(request.param)


@pytest.fixture
async def log(server_url: str) -> AsyncIterator[Checkpointer]:
    """Yield a checkpointer of a URL."""
    async with Checkpointer(server_url) as opened:
        yield opened


async def assert_holds(log: Checkpointer, claim: Claim) -> None:
    """Assert that a claim may write, and that nobody else has the run."""
    await log.append("t", [UserFactory(run_id="r")], claim=claim)
    with pytest.raises(RunAlreadyClaimedError):
        await log.claim_run("t", "r", lease=MINUTE)


async def test_claim_is_made_once(log: Checkpointer, other: AsyncConnection, arrival: str) -> None:
    with lost_commits(engines_of(log)[0], other, arrives=arrival == "done") as killed:
        claim = await log.claim_run("t", "r", lease=MINUTE)
    assert killed
    await assert_holds(log, claim)


async def test_take_over_is_made_once_and_logged_once(
    log: Checkpointer,
    other: AsyncConnection,
    arrival: str,
    server_url: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    stale = await log.claim_run("t", "r", lease=MINUTE)
    await end_leases(server_url)
    with lost_commits(engines_of(log)[0], other, arrives=arrival == "done") as killed:
        claim = await log.claim_run("t", "r", lease=MINUTE)
    assert killed
    assert caplog.text.count("Took over run") == 1
    await assert_holds(log, claim)
    with pytest.raises(LeaseLostError):
        await log.append("t", [UserFactory()], claim=stale)


async def test_claim_that_another_took_over_since_is_refused(
    log: Checkpointer, other: AsyncConnection, server_url: str
) -> None:
    """No answer is guessed: the run is another's."""
    async with Checkpointer(server_url) as another:
        taken = []

        def take_over() -> None:
            await_only(end_leases(server_url))
            taken.append(await_only(another.claim_run("t", "r", lease=MINUTE)))

        with (
            lost_commits(engines_of(log)[0], other, arrives=True, then=take_over),
            pytest.raises(RunAlreadyClaimedError),
        ):
            await log.claim_run("t", "r", lease=MINUTE)
        await assert_holds(another, taken[0])


async def test_claim_that_was_not_made_and_is_anothers_is_refused(
    log: Checkpointer, other: AsyncConnection, server_url: str
) -> None:
    async with Checkpointer(server_url) as another:

        def claim() -> None:
            await_only(another.claim_run("t", "r", lease=MINUTE))

        with (
            lost_commits(engines_of(log)[0], other, arrives=False, then=claim),
            pytest.raises(RunAlreadyClaimedError),
        ):
            await log.claim_run("t", "r", lease=MINUTE)


async def test_renew_and_release_are_done(
    log: Checkpointer, other: AsyncConnection, arrival: str
) -> None:
    claim = await log.claim_run("t", "r", lease=MINUTE)
    engine = engines_of(log)[0]
    with lost_commits(engine, other, arrives=arrival == "done") as killed:
        renewed = await log.renew(claim, lease=5 * MINUTE)
    assert renewed.expires_at > claim.expires_at
    await assert_holds(log, renewed)
    with lost_commits(engine, other, arrives=arrival == "done") as killed_too:
        await log.release(renewed)
    assert killed
    assert killed_too
    await log.claim_run("t", "r", lease=MINUTE)


@pytest.mark.parametrize("name", WRITES)
async def test_write_is_done_once(
    log: Checkpointer, other: AsyncConnection, arrival: str, name: str
) -> None:
    """Or, if it cannot be known whose effect it was, the error says so as without a claim."""
    claim = await prepare(log)
    before = await stored(log)
    is_unknown = arrival == "done" and name == "clear_pending_request_if_matches"
    with lost_commits(engines_of(log)[0], other, arrives=arrival == "done") as killed:
        (outcome,) = await asyncio.gather(WRITES[name](log, claim), return_exceptions=True)
    assert isinstance(outcome, CommitOutcomeUnknownError) is is_unknown
    assert is_unknown or not isinstance(outcome, Exception)
    assert killed or name in CHANGES_NOTHING
    assert (await stored(log) != before) is (name not in CHANGES_NOTHING)


@pytest.mark.parametrize("name", ["save_extra", "save_pending_request", "save_hitl_answer"])
async def test_write_whose_lease_was_taken_over_after_its_commit_is_unknown(
    log: Checkpointer, other: AsyncConnection, server_url: str, name: str
) -> None:
    """Not refused: an error that says that nothing was written would be wrong."""
    claim = await prepare(log)
    async with Checkpointer(server_url) as another:

        def take_over() -> None:
            await_only(end_leases(server_url))
            await_only(another.claim_run("t", "r", lease=MINUTE))

        with (
            lost_commits(engines_of(log)[0], other, arrives=True, then=take_over),
            pytest.raises(CommitOutcomeUnknownError),
        ):
            await WRITES[name](log, claim)


async def test_append_whose_lease_was_taken_over_after_its_commit_is_found(
    log: Checkpointer, other: AsyncConnection, server_url: str, arrival: str
) -> None:
    """The messages tell whether it was stored."""
    claim = await log.claim_run("t", "r", lease=MINUTE)
    async with Checkpointer(server_url) as another:

        def take_over() -> None:
            await_only(end_leases(server_url))
            await_only(another.claim_run("t", "r", lease=MINUTE))

        appending = log.append("t", [UserFactory(run_id="r")], claim=claim)
        with lost_commits(engines_of(log)[0], other, arrives=arrival == "done", then=take_over):
            (outcome,) = await asyncio.gather(appending, return_exceptions=True)
    assert isinstance(outcome, list if arrival == "done" else LeaseLostError)
    assert len(await log.read("t")) == int(arrival == "done")
