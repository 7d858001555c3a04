"""Tables that another tool made: ids under collations that fold them, and short columns."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from tests.support.databases import execute
from tests.support.factories import HitlRequestFactory, UserFactory
from threadlog import Checkpointer
from threadlog.errors import (
    ColumnTooShortError,
    RunAlreadyClaimedError,
    RunIdCollisionError,
    RunNotClaimedError,
    RunNotCompletedError,
)

TABLES = {
    "cubepi_runs": "run_id VARCHAR(255) {0} NOT NULL",
    "cubepi_messages": "run_id VARCHAR(255) {0} NULL",
    "cubepi_threads": "run_id VARCHAR(64) {0} NULL",
    "cubepi_hitl_answers": "run_id VARCHAR(255) {0} NOT NULL, "
    "MODIFY question_id VARCHAR(255) {0} NOT NULL",
}
FOLDING = "CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci"
LATIN = "CHARACTER SET latin1 COLLATE latin1_swedish_ci"


async def alter(url: str, charset: str) -> None:
    """Change the columns to those of another tool in a database of this character set."""
    for table, columns in TABLES.items():
        await execute(url, f"ALTER TABLE {table} MODIFY {columns.format(charset)}")


@pytest.fixture
async def folding(innodb_url: str) -> AsyncIterator[Checkpointer]:
    """Yield a checkpointer on tables in which R1 equals r1."""
    await alter(innodb_url, FOLDING)
    async with Checkpointer(innodb_url) as checkpointer:
        yield checkpointer


async def test_a_claim_that_collides_says_why(folding: Checkpointer) -> None:
    """The claim is refused, and neither run is taken for the other."""
    await folding.claim_run("t", "R1")
    with pytest.raises(RunIdCollisionError, match="threadlog check") as caught:
        await folding.claim_run("t", "r1")
    assert isinstance(caught.value, RunAlreadyClaimedError)
    for verb in (folding.mark_run_complete, folding.release_run):
        with pytest.raises(RunNotClaimedError):
            await verb("t", "r1")
    await folding.mark_run_complete("t", "R1")
    with pytest.raises(RunIdCollisionError):
        await folding.claim_run("t", "r1")
    with pytest.raises(RunNotCompletedError):
        await folding.snapshot("t", after_run_id="r1")
    with pytest.raises(RunNotCompletedError):
        await folding.fork("t", "f", after_run_id="r1")
    await folding.append("t", [UserFactory(run_id="r1")])
    assert await folding.snapshot("t", after_run_id="R1") == []


async def test_another_runs_question_and_messages_are_no_sign_of_life(
    folding: Checkpointer, innodb_url: str
) -> None:
    await folding.claim_run("t", "R1")
    await folding.save_pending_request("t", HitlRequestFactory(), run_id="r1")
    await execute(innodb_url, "UPDATE cubepi_runs SET claimed_at = claimed_at - INTERVAL 2 HOUR")
    await folding.append("t", [UserFactory(run_id="r1")])
    assert [run.state for run in await folding.runs("t")] == ["open"]
    assert [run.run_id for run in await folding.stale_runs(timedelta(hours=1))] == ["R1"]


async def test_of_answers_that_collide_the_later_stands(folding: Checkpointer) -> None:
    """An answer is never given to another question."""
    await folding.save_hitl_answer("t", "Q", "first", run_id="r")
    assert await folding.load_hitl_answer("t", "q", run_id="r") is None
    await folding.save_hitl_answer("t", "q", "second", run_id="r")
    assert await folding.load_hitl_answer("t", "q", run_id="r") == "second"
    assert await folding.load_hitl_answer("t", "Q", run_id="r") is None
    await folding.clear_hitl_answers("t", ["Q"], run_id="r")
    assert await folding.load_hitl_answer("t", "q", run_id="r") == "second"


async def test_columns_of_another_character_set(innodb_url: str) -> None:
    """The same text is the same id whatever bytes the table keeps it as."""
    await alter(innodb_url, LATIN)
    async with Checkpointer(innodb_url) as checkpointer:
        await checkpointer.claim_run("t", "é")
        await checkpointer.append("t", [UserFactory(run_id="é")])
        request = HitlRequestFactory(question_id="ü")
        await checkpointer.save_pending_request("t", request, run_id="é")
        assert [run.state for run in await checkpointer.runs("t")] == ["waiting"]
        clear = checkpointer.clear_pending_request_if_matches
        assert not await clear("t", question_id="ü", run_id="e")
        assert await clear("t", question_id="ü", run_id="é")
        await checkpointer.save_hitl_answer("t", "ü", 1, run_id="é")
        assert await checkpointer.load_hitl_answer("t", "ü", run_id="é") == 1
        await checkpointer.clear_hitl_answers("t", ["ü"], run_id="é")
        assert await checkpointer.load_hitl_answer("t", "ü", run_id="é") is None
        await checkpointer.mark_run_complete("t", "é")
        await checkpointer.fork("t", "f", after_run_id="é")
        assert len(await checkpointer.read("f")) == 1


async def test_what_a_short_column_would_cut_is_refused(
    folding: Checkpointer, innodb_server_url: str, innodb_url: str
) -> None:
    with pytest.raises(ColumnTooShortError, match="threadlog check"):
        await folding.save_pending_request("t", HitlRequestFactory(), run_id="x" * 65)
    await execute(innodb_server_url, "SET GLOBAL sql_mode = ''")
    try:
        async with Checkpointer(innodb_url) as lax:
            with pytest.raises(ColumnTooShortError):
                await lax.save_pending_request("t", HitlRequestFactory(), run_id="x" * 65)
    finally:
        await execute(innodb_server_url, "SET GLOBAL sql_mode = DEFAULT")
    assert await folding.load_pending("t") is None
