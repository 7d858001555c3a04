"""The page of statements shows what is sent."""

from sqlalchemy import make_url

from tests.support.scripts.statements_page import PAGE, TITLES, blocks_of, shown_on, statements_of


async def test_the_page_shows_what_is_sent(empty_url: str) -> None:
    """Write it with ``python -m tests.support.scripts.statements_page``."""
    title = TITLES[make_url(empty_url).get_backend_name()]
    shown = shown_on(PAGE.read_text(encoding="utf-8"), title)
    assert shown == blocks_of(await statements_of(empty_url))
