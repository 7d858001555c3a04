"""Convert Pydantic models to the JSON values that are stored."""

from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticSerializationError

from threadlog.encoding.validation import changes_in_json, check_json
from threadlog.errors import InvalidInputError


def to_json_value(value: Any, name: str) -> Any:
    """Return `value` with the models in it, at any depth, converted to JSON values.

    Args:
        value: a model, a JSON value, or a JSON value that holds models.
        name: its name in errors.

    Returns:
        A JSON value that every database stores unchanged.

    Raises:
        InvalidInputError: a model cannot be converted.
        InvalidJsonError: see `check_json`.
    """
    try:
        plain = _without_models(value)
    except (PydanticSerializationError, RecursionError, ValueError) as error:
        raise InvalidInputError(
            f"{name} contains a model with a field that is missing, nested too deeply or not of "
            "its declared type, NaN, an infinity, or half of a surrogate pair."
        ) from error
    check_json(plain, name)
    return plain


def _without_models(value: Any) -> Any:
    if isinstance(value, BaseModel):
        # Without warnings="error" a value of the wrong type, set after validation, would be
        # written and then fail to load.
        plain = value.model_dump(mode="json", warnings="error")
        if changes_in_json(value.model_dump()):
            raise ValueError
        return plain
    if isinstance(value, dict):
        return {key: _without_models(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_models(inner) for inner in value]
    return value
