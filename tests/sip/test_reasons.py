"""Reason headers and the one word for a failed call."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.sip.errors import SipError
from bridge.sip.headers import Headers
from bridge.sip.message import Message
from bridge.sip.reasons import MAX_REASONS, WORDS, Reason, reasons_in, word_for


def message(*values: str) -> Message:
    return Message(Headers.make(("Reason", value) for value in values), b"")


def q850(cause: int) -> list[Reason]:
    return [Reason("Q.850", cause)]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('Q.850;cause=16;text="Terminated"', Reason("Q.850", 16, "Terminated")),
        ('q.850 ;Cause = 16; text="a;b, \\"c\\""', Reason("Q.850", 16, 'a;b, "c"')),
        ("SIP;cause=200;text=OK", Reason("SIP", 200, "OK")),
        ("Preemption", Reason("PREEMPTION")),
    ],
)
def test_forms(text: str, reason: Reason) -> None:
    assert Reason.parse(text) == reason


@pytest.mark.parametrize("text", ["", ";cause=16", "Q.850;cause=", "Q.850;cause=x", "Q.850;cause=1000", 'SIP;text="x'])
def test_malformed(text: str) -> None:
    with pytest.raises(SipError) as caught:
        Reason.parse(text)
    assert caught.value.status == 400


def test_ours_to_the_byte_and_never_more_than_a_line() -> None:
    assert str(Reason("SIP", 408, "ack_timeout")) == 'SIP;cause=408;text="ack_timeout"'
    assert str(Reason("Q.850", 16)) == "Q.850;cause=16"
    Headers.make([("Reason", str(Reason("SIP", 400, "a\r\nX: y\x00")))])


@given(
    st.sampled_from(["SIP", "Q.850"]),
    st.none() | st.integers(0, 999),
    st.text(st.characters(categories=("L", "N", "P", "S"))),
)
def test_it_is_read_as_it_is_written(protocol: str, cause: int | None, text: str) -> None:
    reason = Reason(protocol, cause, text)
    assert Reason.parse(str(reason)) == reason


@given(st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=40))
def test_any_text_is_a_reason_or_a_sip_error(text: str) -> None:
    for candidate in (text, f"SIP;{text}", f"SIP;cause={text}", f'SIP;text="{text}"'):
        try:
            Reason.parse(candidate)
        except SipError as error:
            assert error.status == 400
        assert len(reasons_in(message(candidate))) <= MAX_REASONS


def test_several_are_read_and_bad_ones_left_out() -> None:
    found = reasons_in(message('SIP;cause=1;text="a,b", ;x, Q.850;cause=17', 'SIP;text="', "X;cause=3"))
    assert found == [Reason("SIP", 1, "a,b"), Reason("Q.850", 17), Reason("X", 3)]
    assert reasons_in(message()) == []


def test_a_flood_of_reasons_is_bounded() -> None:
    assert len(reasons_in(message(*[", ".join(["SIP"] * 50)] * 50))) == MAX_REASONS


@pytest.mark.parametrize(
    ("status", "word"),
    [
        (302, "unreachable"),
        (400, "unknown"),
        (401, "forbidden"),
        (403, "forbidden"),
        (404, "not_found"),
        (407, "forbidden"),
        (408, "timeout"),
        (410, "gone"),
        (415, "no_common_codec"),
        (480, "unreachable"),
        (484, "not_found"),
        (486, "busy"),
        (487, "cancelled"),
        (488, "no_common_codec"),
        (500, "network"),
        (503, "overloaded"),
        (504, "timeout"),
        (513, "network"),
        (600, "busy"),
        (603, "rejected"),
        (604, "not_found"),
        (606, "no_common_codec"),
        (607, "rejected"),
    ],
)
def test_one_word_for_a_status(status: int, word: str) -> None:
    assert word_for(status) == word


@pytest.mark.parametrize(
    ("status", "cause", "word"),
    [
        (503, 17, "busy"),
        (500, 1, "not_found"),
        (503, 34, "overloaded"),
        (480, 19, "no_answer"),
        (480, 21, "rejected"),
        (502, 27, "unreachable"),
        # A cause that says nothing leaves the status its word.
        (503, 16, "overloaded"),
        (480, 31, "unreachable"),
        (500, 127, "network"),
        (503, 999, "overloaded"),
        # Any other status says it better itself.
        (486, 21, "busy"),
        (404, 17, "not_found"),
        (603, 17, "rejected"),
    ],
)
def test_a_q850_cause_speaks_where_the_status_does_not(status: int, cause: int, word: str) -> None:
    assert word_for(status, q850(cause)) == word


def test_only_q850_speaks_and_the_first_cause_that_says_something() -> None:
    assert word_for(503, [Reason("SIP", 17), Reason("Q.850")]) == "overloaded"
    assert word_for(503, [Reason("Q.850", 16), Reason("Q.850", 17), Reason("Q.850", 1)]) == "busy"


def test_nobody_picked_up_a_telephone_that_rang() -> None:
    assert word_for(408, rang=True) == word_for(480, rang=True) == "no_answer"
    assert word_for(480, q850(21), rang=True) == "rejected"
    assert word_for(486, rang=True) == "busy"


@given(st.integers(100, 699), st.integers(0, 999), st.booleans())
def test_there_is_always_a_known_word(status: int, cause: int, rang: bool) -> None:
    assert word_for(status, q850(cause), rang=rang) in WORDS
