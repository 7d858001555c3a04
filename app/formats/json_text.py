"""Parse JSON that can be stored unchanged."""

import json
from typing import Any, NoReturn

from threadlog.errors import ConversationError


def parse_json(text: str | bytes, what: str) -> Any:
    """Parse standard JSON whose values can be stored unchanged.

    Python's own parser accepts NaN, converts large numbers to infinity, and drops the first of
    two equal keys.

    Args:
        text: the document.
        what: its name in errors.

    Raises:
        ConversationError: it cannot be parsed.
    """
    try:
        return json.loads(
            text.decode("utf-8-sig") if isinstance(text, bytes) else text,
            parse_constant=_no_constant,
            parse_float=_finite,
            object_pairs_hook=_no_duplicate_keys,
        )
    except RecursionError:
        raise ConversationError(f"{what} is nested too deeply.") from None
    except UnicodeDecodeError:
        raise ConversationError(f"{what} is not UTF-8.") from None
    except json.JSONDecodeError as error:
        raise ConversationError(
            f"{what} is not JSON: {error.msg} at character {error.pos + 1}."
        ) from None
    except ValueError as error:
        raise ConversationError(f"{what} is not JSON that can be stored: {error}.") from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


def _finite(text: str) -> float:
    value = float(text)
    if value in {float("inf"), float("-inf")}:
        raise ValueError("a number is too large")
    return value


def _no_duplicate_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("an object has the same key twice")
    return value
