"""Option tags in Require and Supported."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.sip.headers import Headers
from bridge.sip.message import Message
from bridge.sip.options import option_tags, requires, supports


def message(*pairs: tuple[str, str]) -> Message:
    return Message(Headers.make(pairs), b"")


def test_tags_come_from_every_line_in_any_case_and_spacing() -> None:
    tags = option_tags(message(("Supported", "100rel , TIMER"), ("k", "replaces"), ("Supported", "")), "Supported")
    assert tags == {"100rel", "timer", "replaces"}


@pytest.mark.parametrize(
    ("name", "required", "supported"),
    [("Require", True, True), ("Supported", False, True), ("Proxy-Require", False, False)],
)
def test_who_requires_an_extension_supports_it(name: str, required: bool, supported: bool) -> None:
    asking = message((name, "timer"))
    assert (requires(asking, "timer"), supports(asking, "timer")) == (required, supported)
    assert not supports(asking, "time")


@given(st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=60))
def test_any_value_gives_tags(text: str) -> None:
    assert "" not in option_tags(message(("Supported", text)), "Supported")
