"""The equality of JSON values."""

import pytest

from threadlog.encoding.json_equal import json_equal

BEYOND = 2**70


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1.0", "1"),
        ("-0.0", "0"),
        ("1e22", "1" + "0" * 22),
        ("1e23", "1" + "0" * 23),  # no double is exactly that
        ("0.1", "1E-1"),
        ("0.30000000000000004", "0.3000000000000000444"),
        (f"{BEYOND}", "1.1805916207174113e21"),
        ("18446744073709551615", "18446744073709551615"),
        ('{"a": 1, "b": [1, {}]}', '{"b":[1.0,{}],"a":1}'),
        ('"\\u00fc\\n"', '"ü\\n"'),
        ("null", " null"),
        ("no JSON", "no JSON"),
        ("[" * 9999 + "]" * 9999, "[" * 9999 + "]" * 9999),
        (None, None),
    ],
)
def test_the_same(one: str | None, other: str | None) -> None:
    assert json_equal(one, other)
    assert json_equal(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1", "true"),
        ("0", "false"),
        ("[1]", "[true]"),
        ("1", '"1"'),
        ("0", "null"),
        ("[]", "{}"),
        ("[]", "null"),
        ("[1, 2]", "[1]"),
        ("[1, 2]", "[2, 1]"),
        ('{"a": 1}', '{"b": 1}'),
        ('{"a": 1, "b": 2}', '{"a": 1}'),
        ('{"a": [{"b": 1}]}', '{"a": [{"b": 2}]}'),
        ("0.1", "0.10000000000000002"),
        (f"{BEYOND + 1}", "1.1805916207174113e21"),
        ("18446744073709551615", "1.8446744073709552e19"),
        ("18446744073709551615", "18446744073709551614"),
        ('"a"', '"A"'),
        ("no JSON", "other"),
        ("1", None),
        ("null", None),
        ("[" * 9999 + "]" * 9999, "[" * 9999 + "1" + "]" * 9999),
    ],
)
def test_not_the_same(one: str | None, other: str | None) -> None:
    assert not json_equal(one, other)
    assert not json_equal(other, one)
