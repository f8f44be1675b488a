"""REFER: what it asks for, what its reports say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.sip.errors import SipError
from bridge.sip.headers import Headers
from bridge.sip.message import Request
from bridge.sip.referral import (
    Referral,
    SubscriptionState,
    event,
    event_id,
    fragment,
    refer_headers,
    status_in,
)
from bridge.sip.replaces import Replaces
from bridge.sip.uri import Uri

TO_REPLACE = Replaces("call@h", "their+tag", "our")


def refer(*pairs: tuple[str, str]) -> Request:
    return Request(Headers.make(pairs), b"", "REFER", Uri.parse("sip:b@h"))


def to(value: str) -> Request:
    return refer(("Refer-To", value))


@pytest.mark.parametrize(
    ("value", "target", "method"),
    [
        ("<sip:bob@h>", "sip:bob@h", "INVITE"),
        ("sip:bob@h", "sip:bob@h", "INVITE"),
        ('"Bob, B" <sip:bob@h:5070;transport=tcp>;x=y', "sip:bob@h:5070;transport=tcp", "INVITE"),
        ("<sip:bob@h;method=bye;lr>", "sip:bob@h;lr", "BYE"),
        ("<sip:bob@h;lr;Method=INVITE?X=y>", "sip:bob@h;lr", "INVITE"),
        ("<sip:h;method=INVITE>", "sip:h", "INVITE"),
        ("<sip:b;method=x@h;method=INVITE>", "sip:b;method=x@h", "INVITE"),
        ("<sip:b?x@h?Replaces=c%3Bto-tag%3Da%3Bfrom-tag%3Db>", "sip:b?x@h", "INVITE"),
        ("<sip:bob@h?>", "sip:bob@h", "INVITE"),
        ("<tel:+4930;phone-context=x>", "tel:+4930;phone-context=x", "INVITE"),
    ],
)
def test_the_target_has_neither_headers_nor_method(value: str, target: str, method: str) -> None:
    referral = Referral.of(to(value))
    assert (str(referral.target), referral.method) == (target, method)
    assert referral.target.headers is None


def test_an_attended_transfer_names_the_call_to_replace() -> None:
    value = "<sip:bob@h?Subject=hi%20there&Replaces=call%40h%3Bto-tag%3Dtheir%2Btag%3Bfrom-tag%3Dour&X=>"
    referral = Referral.of(to(value))
    assert referral.replaces == TO_REPLACE
    assert referral.headers == (("Subject", "hi there"), ("X", ""))


def test_the_compact_form_and_the_other_headers() -> None:
    plain = Referral.of(refer(("r", "<sip:bob@h>")))
    assert (plain.replaces, plain.referred_by, plain.notify) == (None, None, True)
    whole = Referral.of(refer(("r", "<sip:bob@h>"), ("b", '<sip:a@h>;cid="1@h"'), ("Refer-Sub", "False ;x=y")))
    assert (whole.referred_by, whole.notify) == ('<sip:a@h>;cid="1@h"', False)
    assert Referral.of(refer(("r", "<sip:bob@h>"), ("Refer-Sub", "true"))).notify


@pytest.mark.parametrize(
    "request_",
    [
        refer(),
        to(""),
        to("<sip:a@h>, <sip:b@h>"),
        refer(("Refer-To", "<sip:a@h>"), ("r", "<sip:a@h>")),
        to("bob"),
        to("<sip:bob@h"),
        to("<sip:@h>"),
        to("<sip:bob@h?Replaces=x>"),
        to("<sip:bob@h?Replaces=c%3Bto-tag%3Da%3Bfrom-tag%3Db&REPLACES=c%3Bto-tag%3Da%3Bfrom-tag%3Db>"),
        to("<sip:bob@h?X=a%0d%0aEvil:%20yes>"),
        to("<sip:bob@h?X%0d%0aEvil=yes>"),
        to("<sip:bob@h?=y>"),
        to("<sip:bob@h;method=a[b>"),
        refer(("Refer-To", "<sip:a@h>"), ("Referred-By", "nobody")),
        refer(("Refer-To", "<sip:a@h>"), ("Referred-By", "<sip:a@h>, <sip:b@h>")),
    ],
)
def test_malformed_referrals_are_400(request_: Request) -> None:
    with pytest.raises(SipError) as caught:
        Referral.of(request_)
    assert caught.value.status == 400


@given(st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=60))
def test_any_text_is_a_referral_or_a_sip_error(text: str) -> None:
    for value in (
        text,
        f"<sip:a@h;{text}>",
        f"<sip:a@h?{text}>",
        f"<sip:a@h?Replaces={text}>",
        f"<sip:{text}@h;method=X>",
    ):
        try:
            referral = Referral.of(to(value))
        except SipError as error:
            assert error.status == 400
        else:
            assert referral.target.headers is None
            Headers.make(referral.headers)


def test_the_refusal_says_what_is_wrong() -> None:
    for request, phrase in ((refer(), "Missing Refer-To"), (to("<sip:a@h>, <sip:b@h>"), "Several Refer-To")):
        with pytest.raises(SipError) as caught:
            Referral.of(request)
        assert caught.value.phrase == phrase


@pytest.mark.parametrize(
    ("target", "value"),
    [
        ("sip:bob@h;lr", "<sip:bob@h;lr?Replaces=call%40h%3Bto-tag%3Dtheir+tag%3Bfrom-tag%3Dour>"),
        ("sip:bob@h?X=y", "<sip:bob@h?X=y&Replaces=call%40h%3Bto-tag%3Dtheir+tag%3Bfrom-tag%3Dour>"),
    ],
)
def test_our_refer_with_replaces(target: str, value: str) -> None:
    headers = refer_headers(Uri.parse(target), referred_by=Uri.parse("sip:us@h"), replaces=TO_REPLACE)
    assert headers == [("Refer-To", value), ("Referred-By", "<sip:us@h>")]
    assert Referral.of(refer(*headers)).replaces == TO_REPLACE


def test_our_blind_refer() -> None:
    assert refer_headers(Uri.parse("sip:bob@h;lr")) == [("Refer-To", "<sip:bob@h;lr>")]


# Reports.


def test_a_report_to_the_byte() -> None:
    assert fragment(180) == ("message/sipfrag;version=2.0", b"SIP/2.0 180 Ringing\r\n")
    assert fragment(486, "Besetzt\r\nX: y")[1].count(b"\r\n") == 1


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"SIP/2.0 200 OK", 200),
        (b"SIP/2.0 200 OK\r\nContact: <sip:a@h>\r\nX: SIP/2.0 404 no\r\n", 200),
        (b"\r\nsip/2.0  603  Decline", 603),
        (b"SIP/2.0 100", 100),
        (b"SIP/2.0 100\r\n", 100),
        (b"", None),
        (b"INVITE sip:a@h SIP/2.0", None),
        (b"SIP/2.0 2000 OK", None),
        (b"SIP/2.0 20 OK", None),
        (b"SIP/2.0 099 OK", None),
        (b"SIP/3.0 200 OK", None),
        (b"X: y\r\nSIP/2.0 200 OK", None),
    ],
)
def test_the_status_in_a_report(body: bytes, status: int | None) -> None:
    assert status_in(body) == status


@given(st.integers(100, 699), st.text(max_size=30))
def test_a_report_is_read_as_it_is_written(status: int, phrase: str) -> None:
    body = fragment(status, phrase)[1]
    assert status_in(body) == status
    assert body.splitlines() == [body[:-2]]


@given(st.binary(max_size=60))
def test_any_body_is_a_status_or_none(body: bytes) -> None:
    for candidate in (body, b"SIP/2.0 " + body):
        assert status_in(candidate) is None or 100 <= (status_in(candidate) or 0) <= 699


def test_the_event_and_its_id() -> None:
    assert event() == ("Event", "refer")
    assert event_id(refer(event())) is None
    assert event_id(refer(event(9380))) == "9380"
    assert event_id(refer(("o", "REFER ; ID=x"))) == "x"
    assert event_id(refer(("o", "refer;"))) is None


@pytest.mark.parametrize("pairs", [[], [("Event", "presence")], [("Event", "refer.winfo")], [("Event", ";id=1")]])
def test_another_event_is_489_and_says_what_would_do(pairs: list[tuple[str, str]]) -> None:
    with pytest.raises(SipError) as caught:
        event_id(refer(*pairs))
    assert (caught.value.status, caught.value.phrase) == (489, "Bad Event")
    assert caught.value.headers == (("Allow-Events", "refer"),)


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ("active;expires=60", SubscriptionState("active", 60)),
        ("Terminated ; Reason=NoResource", SubscriptionState("terminated", reason="noresource")),
        ("terminated;reason=timeout;retry-after=5", SubscriptionState("terminated", reason="timeout")),
        ("pending", SubscriptionState("pending")),
        ("waiting;", SubscriptionState("waiting")),
    ],
)
def test_subscription_states(text: str, state: SubscriptionState) -> None:
    assert SubscriptionState.parse(text) == state
    assert SubscriptionState.parse(str(state)) == state
    assert state.terminated == text.lower().startswith("terminated")


def test_subscription_states_to_the_byte() -> None:
    assert str(SubscriptionState("active", 60)) == "active;expires=60"
    assert str(SubscriptionState("terminated", reason="noresource")) == "terminated;reason=noresource"


@pytest.mark.parametrize("text", ["", ";expires=1", "a b", "active;expires=", "active;expires=x", "active;expires=-1"])
def test_malformed_subscription_states(text: str) -> None:
    with pytest.raises(SipError) as caught:
        SubscriptionState.parse(text)
    assert caught.value.status == 400


@given(st.text(max_size=40))
def test_any_text_is_a_subscription_state_or_a_sip_error(text: str) -> None:
    for candidate in (text, f"active;{text}", f"active;expires={text}"):
        try:
            SubscriptionState.parse(candidate)
        except SipError as error:
            assert error.status == 400
