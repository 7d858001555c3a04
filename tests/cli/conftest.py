"""Fixtures of the tests of the command line."""

import pytest

from tests.cli.helpers import SAMPLE, threadlog


@pytest.fixture(autouse=True)
def _no_url_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the developer's own database from the environment."""
    monkeypatch.delenv("THREADLOG_URL", raising=False)


@pytest.fixture
def filled_url(database_url: str) -> str:
    """Return the URL of a database into which the sample was imported."""
    assert threadlog("import", str(SAMPLE), "--url", database_url).exit_code == 0
    return database_url
