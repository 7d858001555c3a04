"""Databases with thread control, and an application with keys."""

import pytest

from tests.encryption.keys import Keys
from tests.owners.conftest import *  # noqa: F403 - the fixtures of its servers


@pytest.fixture
def keys() -> Keys:
    """Return an application's keys."""
    return Keys()
