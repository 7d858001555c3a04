"""An erased thread is in no column of any table, and no other thread has changed."""

from functools import partial
from typing import Final
from uuid import UUID, uuid4

import pytest

from tests.erasing.contents import columns_for_text, fill, find, rows
from tests.support.databases import on_connection
from tests.support.factories import AssistantFactory, TextFactory, ToolCallFactory, UserFactory
from threadlog import Checkpointer
from threadlog.erasing import Erased
from threadlog.models.tables import ITEMS

# One word for the indexes of words, with the beginning of no other word.
MARK: Final = "zebramarkerq"
OTHER: Final = "otherpersonk"


async def erase(url: str, thread_id: UUID, *, whole_owner: bool) -> Erased:
    memories = [("users", MARK)]
    async with Checkpointer(url) as checkpointer:
        if whole_owner:
            return await checkpointer.erase_owner(MARK, memories=memories)
        return await checkpointer.erase_thread(str(thread_id), memories=memories)


@pytest.mark.parametrize("whole_owner", [False, True], ids=["thread", "owner"])
async def test_erased_contents_are_in_no_column_of_any_table(
    full_url: str, *, whole_owner: bool
) -> None:
    erased_id, other_id = uuid4(), uuid4()
    await on_connection(full_url, partial(fill, thread_id=other_id, mark=OTHER))
    others = await on_connection(full_url, rows)
    await on_connection(full_url, partial(fill, thread_id=erased_id, mark=MARK))
    async with Checkpointer(full_url) as checkpointer:
        call = ToolCallFactory(name=MARK, arguments={"text": MARK})
        await checkpointer.append(
            str(erased_id),
            [
                UserFactory(content=[TextFactory(text=f"before {MARK} after")]),
                AssistantFactory(content=[call]),
            ],
            key=f"key-{MARK}",
        )
    found = await on_connection(full_url, lambda connection: find(connection, MARK))
    assert found >= columns_for_text()
    if full_url.startswith("sqlite"):
        assert ("threadlog_search_words_data", "block") in found

    erased = await erase(full_url, erased_id, whole_owner=whole_owner)

    needles = (MARK, str(erased_id), erased_id.hex, erased_id.bytes)
    assert await on_connection(full_url, lambda connection: find(connection, *needles)) == set()
    assert await on_connection(full_url, rows) == others
    assert erased.thread_ids == (str(erased_id),)
    assert min(erased.rows.values()) > 0
    assert erased.rows["cubepi_messages"] == 3
    assert erased.rows[ITEMS.name] == 1
