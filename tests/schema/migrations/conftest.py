"""Fixtures of the tests of migrations."""

import pytest

from threadlog.models import ALL_PARTS, SchemaPart


@pytest.fixture(params=ALL_PARTS, ids=lambda part: part.name)
def part(request: pytest.FixtureRequest) -> SchemaPart:
    """Return one part of the schema after the other."""
    one: SchemaPart = request.param
    return one
