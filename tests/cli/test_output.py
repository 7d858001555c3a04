"""Tests of the escaping and masking of everything that is printed."""

import pytest

from threadlog.cli.output import printable, without_password


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mysql://u:p@ss@h/d", "mysql://u:***@h/d"),
        ("mysql://:p@h/d", "mysql://:***@h/d"),
        ("mysql://u@h:3306/d?charset=x", "mysql://u@h:3306/d?charset=x"),
        ("mysql://h/d?user=u&PASSWORD=p&a=b", "mysql://h/d?user=u&PASSWORD=***&a=b"),
        ("nothing: to@hide", "nothing: to@hide"),
    ],
)
def test_passwords_of_urls_are_blotted_out(text: str, expected: str) -> None:
    assert without_password(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\tb\nc", "a\tb\nc"),
        ("a\r\nb\rc", "a\nb\\rc"),
        ("\x00\x7f\x85\u2028\ufeff", "\\x00\\x7f\\x85\\u2028\\ufeff"),
        ("é 世界 👩\u200d👧", "é 世界 👩\u200d👧"),
    ],
)
def test_control_characters_are_written_out(text: str, expected: str) -> None:
    assert printable(text) == expected
