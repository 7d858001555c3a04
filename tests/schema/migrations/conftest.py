"""Fixtures of the tests of migrations."""

import pytest

from threadlog.models import ALL_PARTS, MESSAGES, SEARCH, SchemaPart

# The tables of the other parts have columns and indexes alone, which all databases create alike.
_EVERYWHERE = {MESSAGES, SEARCH}


@pytest.fixture(
    params=[
        pytest.param(part, marks=[] if part in _EVERYWHERE else pytest.mark.one_database)
        for part in ALL_PARTS
    ],
    ids=lambda part: part.name,
)
def part(request: pytest.FixtureRequest) -> SchemaPart:
    """Return one part of the schema after the other."""
    one: SchemaPart = request.param
    return one
