"""Errors pass between processes: with attributes and text, but without their cause."""

import inspect
import pickle
from typing import Any

import pytest

from threadlog import errors
from threadlog.errors import RunError, StorageError, ThreadlogError

GIVEN: dict[str, Any] = {
    "seq": 5,
    "index": 3,
    "size": 7,
    "limit": 6,
    "expected": 5,
    "actual": 4,
    "left": {"t": "a row refers to it"},
}


def samples() -> list[ThreadlogError]:
    """Create one error of each class."""
    made = []
    for _, kind in inspect.getmembers(errors, inspect.isclass):
        if issubclass(kind, ThreadlogError):
            names = list(inspect.signature(kind.__init__).parameters.values())[1:]
            required = [
                p for p in names if p.kind is not p.VAR_POSITIONAL and p.kind is not p.VAR_KEYWORD
            ]
            keywords = {
                p.name: GIVEN.get(p.name, p.name) for p in required if p.kind is p.KEYWORD_ONLY
            }
            positional = [p.name for p in required if p.kind is not p.KEYWORD_ONLY]
            made.append(kind(*positional, **keywords))
    return made


@pytest.mark.parametrize("error", samples(), ids=lambda error: type(error).__name__)
def test_an_error_survives_pickling(error: ThreadlogError) -> None:
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)


def test_every_kind_was_tried() -> None:
    """The samples are not an empty list."""
    kinds = {type(error) for error in samples()}
    assert {kind for kind in kinds if issubclass(kind, StorageError | RunError)}
    assert len(kinds) > 25
