"""``matches`` finds the same messages in every database, whatever a person types."""

from typing import Any

import pytest
from sqlalchemy import Connection, select
from sqlalchemy.orm import aliased

from tests.search.helpers import answer, question
from tests.support.databases import on_connection
from threadlog import Checkpointer
from threadlog.models import SearchMessage, matches

TEXTS = [
    "I want a refund: to be sure, write to bob.smith@example.com",
    "Refund policy, version 1.5",
    "The user's e-mail is late",
    "REFUNDS are another word; Straße",
    "id user_id=x-17 (50% off) C:\\path {braces}",
    "",
]

CASES: list[tuple[str, list[int]]] = [
    ("refund", [1, 2]),
    ("REFUND", [1, 2]),
    ("refund policy", [2]),
    ("policy   refund", [2]),
    ("refund -policy", [2]),
    ("+refund", [1, 2]),
    ("refund*", [1, 2]),
    ("refun*", []),
    ('"refund want"', [1]),
    ("refund OR late", []),
    ("NOT refund", []),
    ("refund & policy | late", []),
    ("refund:* <-> !policy", [2]),
    ("refund NEAR(policy)", []),
    ("to be", [1]),
    ("a", [1]),
    ("the", [3]),
    ("the refund", []),
    ("bob.smith@example.com", [1]),
    ("example", [1]),
    ("e-mail", [3]),
    ("mail", [3]),
    ("1.5", [2]),
    ("17", [5]),
    ("user_id", [5]),
    ("path", [5]),
    ("straße", [4]),
    ("50%", [5]),
    ("%", [1, 2, 3, 4, 5, 6]),
    (" \t'\"\\;--", [1, 2, 3, 4, 5, 6]),
    ("", [1, 2, 3, 4, 5, 6]),
    ("x" * 200, []),
    ("zebra", []),
]


async def test_all_words_are_found_and_no_operators(search_url: str) -> None:
    async with Checkpointer(search_url) as log:
        await log.append("t", [question(text) for text in TEXTS])
        await log.append("t", [answer("tools", tools=("refund",))])

    def work(connection: Connection) -> dict[str, list[int]]:
        table: Any = SearchMessage
        rows = select(table.seq).where(table.kind == "message", table.seq <= 6).order_by(table.seq)
        return {
            words: list(connection.scalars(rows.where(matches(table.text, words))))
            for words, _ in CASES
        }

    assert await on_connection(search_url, work) == dict(CASES)


async def test_condition_can_be_negated_combined_and_used_on_an_alias(search_url: str) -> None:
    async with Checkpointer(search_url) as log:
        await log.append("t", [question(text) for text in TEXTS])
    one, other = aliased(SearchMessage), aliased(SearchMessage)

    def work(connection: Connection) -> list[list[Any]]:
        negated = select(one.seq).where(~matches(one.text, "refund"), one.seq <= 3)
        either = select(one.seq).where(matches(one.text, "late") | matches(one.text, "policy"))
        pairs = (
            select(one.seq, other.seq)
            .join(other, one.thread_id == other.thread_id)
            .where(matches(one.text, "refund want"), matches(other.text, "late"))
        )
        return [[tuple(row) for row in connection.execute(s)] for s in (negated, either, pairs)]

    negated, either, pairs = await on_connection(search_url, work)
    assert (negated, sorted(either), pairs) == ([(3,)], [(2,), (3,)], [(1, 3)])


@pytest.mark.parametrize("words", ["refund", "to be", "refund the", "it's"])
async def test_deleted_and_rolled_back_messages_are_not_found(search_url: str, words: str) -> None:
    async with Checkpointer(search_url) as log:
        await log.append("t", [question("It's to be the refund")])
        await log.append("u", [question("It's to be the refund")])
        found = select(SearchMessage.thread_id).where(matches(SearchMessage.text, words))
        assert sorted(await _threads(search_url, found)) == ["t", "u"]
        await log.delete_thread("t")
        await log.append("v", [question("unrelated")])
        assert await _threads(search_url, found) == ["u"]


async def _threads(url: str, statement: Any) -> list[str]:
    return await on_connection(url, lambda connection: list(connection.scalars(statement)))
