"""The page of reference is what the sources say."""

import pytest

from tests.support.scripts.reference_page import PAGE, SECTIONS, page
from tests.unit.test_public_surface import surface


def test_the_page_is_made_of_the_sources() -> None:
    """Write it with ``python -m tests.support.scripts.reference_page``."""
    assert PAGE.read_text(encoding="utf-8") == page()


@pytest.mark.parametrize(
    "line",
    [
        "`async load_pending(thread_id: str) -> tuple[RequestT, str | None] | None`",
        "- `thread_id`: the thread.",
        "| `seq` | `Mapped[int]` | The message's number in its thread: 1, 2, 3, … |",
        "| `appends` | `int` | How many calls share it. |",
        "`age_rows(connection: Connection, by: timedelta) -> None`",
    ],
)
def test_the_page_has_signatures_columns_and_fields(line: str) -> None:
    assert line in PAGE.read_text(encoding="utf-8").splitlines()


def test_the_page_has_public_names_only() -> None:
    public = {line.partition("(")[0] for line in surface()}
    private = {name for names in SECTIONS.values() for name in names} - public
    modules = ("threadlog.migrating.", "threadlog.copying.")  # their names are listed here alone
    assert {name for name in private if not name.startswith(modules)} == set()
