"""Embeddings of texts: how they are stored with an item, and compared."""

import math
import sys
from array import array
from collections.abc import Sequence
from operator import mul
from typing import Any, TypeAlias

from threadlog.errors import InvalidInputError

Vector: TypeAlias = "array[float]"
"""The numbers of an embedding, of length 1."""


def unit_vector(numbers: Any, dims: int) -> Vector:
    """Return an embedding, scaled to length 1.

    Raises:
        InvalidInputError: it is not a sequence of so many finite numbers.
    """
    try:
        vector = array("f", numbers)
    except (TypeError, OverflowError) as error:
        raise InvalidInputError(
            f"The embedding function returned a {type(numbers).__name__} that is no list of "
            "numbers. It must return a list of numbers for each text."
        ) from error
    if len(vector) != dims or not all(map(math.isfinite, vector)):
        raise InvalidInputError(
            f"The embedding function returned a vector of {len(vector)} numbers; dims is {dims}, "
            "and all of them must be finite. Set dims to the length of the model's vectors."
        )
    length = math.hypot(*vector)
    return array("f", (number / length for number in vector)) if length else vector


def pack(vectors: Sequence[Vector]) -> bytes | None:
    """Return vectors as they are stored: their dimensions, then all numbers; None for none."""
    if not vectors:
        return None
    packed = array("f", [len(vectors[0])])
    for vector in vectors:
        packed.extend(vector)
    return _in_order(packed).tobytes()


def similarity(query: Vector, packed: bytes) -> float | None:
    """Return the greatest cosine between a vector and the stored ones.

    Returns:
        The cosine; None if the stored vectors are of other dimensions.
    """
    numbers = array("f")
    numbers.frombytes(packed)
    numbers = _in_order(numbers)
    dims = len(query)
    if numbers[0] != dims:
        return None
    starts = range(1, len(numbers), dims)
    cosines = (math.fsum(map(mul, query, numbers[start : start + dims])) for start in starts)
    return max(cosines)


def _in_order(numbers: Vector) -> Vector:
    """Return numbers in the order of bytes that is stored, or from it: the little end first."""
    if sys.byteorder == "big":
        numbers = numbers[:]
        numbers.byteswap()
    return numbers
