"""Fixtures of the tests of migrations."""

import pytest

from tests.support.matrix import parts_in_turn
from threadlog.models import ALL_PARTS, SchemaPart


@pytest.fixture(params=parts_in_turn(ALL_PARTS))
def part(request: pytest.FixtureRequest) -> SchemaPart:
    """Return one part of the schema after the other."""
    one: SchemaPart = request.param
    return one
