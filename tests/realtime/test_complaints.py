"""Errors of a session: counted under few names, logged a few times."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from bridge.realtime.complaints import KNOWN_ERRORS, LOGGED_ERRORS, Complaints
from bridge.realtime.events import SessionError


@pytest.mark.parametrize("code", ["weird_sk-KEY", "x" * 100, "Two words", "", "9lives"])
def test_what_is_no_code_becomes_no_label(code: str) -> None:
    counts: dict[str, int] = {}
    assert Complaints(counts).note(SessionError(code, "words")) == "other"
    assert counts == {"other": 1}


def test_a_flood_of_codes_is_bounded_and_known_ones_go_on_counting() -> None:
    counts: dict[str, int] = {}
    complaints = Complaints(counts)
    for number in range(100):
        complaints.note(SessionError(f"code{number}", "words"))
    assert complaints.note(SessionError("code0", "words")) == "code0"
    assert len(counts) == KNOWN_ERRORS + 1 and counts["code0"] == 2 and sum(counts.values()) == 101


def test_few_are_logged_but_fatal_ones_always() -> None:
    complaints = Complaints({})
    with capture_logs() as lines:
        complaints.note(SessionError("harmless", "words", harmless=True))
        for _ in range(LOGGED_ERRORS + 10):
            complaints.note(SessionError("again", "words"))
        complaints.note(SessionError("the_end", "words", fatal=True))
    warned = [line for line in lines if line["log_level"] == "warning"]
    assert len(warned) == LOGGED_ERRORS - 1 + 1
    assert warned[-1]["code"] == "the_end" and lines[0]["log_level"] == "debug"
