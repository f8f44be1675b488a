"""Splitting and parameters."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.sip.errors import SipError
from bridge.sip.grammar import parse_number, parse_parameters, quote_string, split, unquote_string


def test_commas_in_quotes_and_brackets_do_not_split() -> None:
    assert split('"a,\\",b" <x,y>, c ,', ",") == ['"a,\\",b" <x,y>', "c", ""]


@pytest.mark.parametrize("text", ['"a', "<a", '"a\\"'])
def test_what_stays_open_is_malformed(text: str) -> None:
    with pytest.raises(SipError, match="Unterminated"):
        split(text, ",")


def test_parameters_keep_their_values_and_lower_their_names() -> None:
    assert parse_parameters(["LR", "Tag = A", 'q="x;y"', "e="], "x") == (
        ("lr", None),
        ("tag", "A"),
        ("q", '"x;y"'),
        ("e", ""),
    )


@pytest.mark.parametrize("text", ["", "+1", "-1", "1 2", "\u0661", "9" * 30, "256"])
def test_numbers_are_plain_digits_in_range(text: str) -> None:
    with pytest.raises(SipError, match="Malformed X"):
        parse_number(text, "X", 255)


@given(st.text())
def test_quoting_is_reversible(text: str) -> None:
    assert unquote_string(quote_string(text)) == text


@given(st.lists(st.text("abc =\t", max_size=5), min_size=1))
def test_split_is_the_reverse_of_join(pieces: list[str]) -> None:
    assert split(",".join(pieces), ",") == [piece.strip() for piece in pieces]
