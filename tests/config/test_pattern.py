"""Patterns of routes: what fits, and that no text a stranger chooses makes one slow."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.config.pattern import MAX_COST, MAX_SUBJECT, Pattern, cost


@pytest.mark.parametrize(
    ("text", "fitting", "other"),
    [
        ("600", ["600"], ["6000", "60", ""]),
        ("6?0", ["600", "610"], ["60"]),
        ("+49*", ["+49", "+4930123"], ["4930", "0049"]),
        ("*", ["", "anything at all"], []),
        ("7[*]", ["7*"], ["70"]),
        ("sales@*", ["sales@example.org"], ["sales", "presales@example.org"]),
        (r"/^6\d\d$/", ["600", "699"], ["6000", "1600", "6"]),
        (r"/^\+?[1-9]\d{6,14}$/", ["+4930123456", "4930123456"], ["0301234567", "+49"]),
        ("/vip/", ["a vip queue"], ["VIP"]),
        ("/(?i)^vip$/", ["VIP", "vip"], ["vips"]),
        ("/^(600|601|7[0-9]?)$/", ["600", "601", "7", "75"], ["602"]),
        ("[/]a", ["/a"], ["a"]),
        ("a/", ["a/"], ["a"]),
        (r"/^[]{+]+$/", ["]{+"], ["a"]),
    ],
)
def test_what_fits(text: str, fitting: list[str], other: list[str]) -> None:
    pattern = Pattern.parse(text)
    assert [subject for subject in fitting if not pattern.fits(subject)] == []
    assert [subject for subject in other if pattern.fits(subject)] == []


def test_an_expression_does_not_look_at_long_subjects() -> None:
    pattern = Pattern.parse("/^6/")
    assert pattern.fits("6" * MAX_SUBJECT)
    assert not pattern.fits("6" * (MAX_SUBJECT + 1))
    assert Pattern.parse("6*").fits("6" * (MAX_SUBJECT + 1)), "wildcards are never slow"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("/(a+)+$/", "a repeated group, as in (...)+, cannot be used here"),
        ("/(a|aa)*$/", "a repeated group"),
        ("/(?:a){2,}/", "a repeated group"),
        ("/a*a*a*a*b/", "may take too long"),
        ("/.*.*.*/", "may take too long"),
        ("/" + "a?" * 40 + "/", "may take too long"),
        ("/" + "(a|b)" * 40 + "/", "may take too long"),
        (r"/(a)\1/", "a back-reference cannot be used here"),
        ("/(?=a)/", "(?=...) cannot be used here"),
        ("/(?P<x>a)/", "cannot be used here"),
        ("/a++/", "a repeat of a repeat"),
        ("/600", "an expression has a slash at its end too: write /600/; a text with a slash is [/]600"),
        ("/", "write /600/"),
        ("/[[a]/", "will change their meaning: put \\ before"),
        ("/(/", "not a regular expression"),
        ("/[/", "not a regular expression"),
    ],
)
def test_an_expression_that_could_be_slow_or_has_no_end_is_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError) as caught:
        Pattern.parse(text)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("expression", "ways"), [("^600$", 1), ("600", 128), ("^a+$", 128), ("^(a|b|c)x?$", 6), (".*a.*b$", MAX_COST)]
)
def test_the_cost_counts_every_choice(expression: str, ways: int) -> None:
    assert cost(expression) == ways


@given(st.text(alphabet=r"ab*+?{}()[]|\^$.:i1,23", max_size=24))
def test_any_text_is_a_pattern_or_a_fault(text: str) -> None:
    try:
        pattern = Pattern.parse(f"/{text}/")
    except ValueError:
        return
    assert pattern.fits("aab") is (re.search(text, "aab") is not None)
