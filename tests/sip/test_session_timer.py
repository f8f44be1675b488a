"""Session timers: parsing, table 2 of RFC 4028, 422 and its end, the times."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.sip.errors import SipError
from bridge.sip.headers import Headers
from bridge.sip.message import Request, Response
from bridge.sip.session_timer import (
    MAX_TRIES,
    Offer,
    SessionExpires,
    Timer,
    TimerPolicy,
    accept,
    after_422,
    agreed,
    min_se,
    offered,
    response_headers,
)
from bridge.sip.uri import Uri

KNOWS = ("Supported", "timer")
POLICY = TimerPolicy()
US = TimerPolicy(refresher="us")
PEER = TimerPolicy(refresher="peer")
OFF = TimerPolicy(enabled=False)


def invite(*pairs: tuple[str, str]) -> Request:
    return Request(Headers.make(pairs), b"", "INVITE", Uri.parse("sip:b@h"))


def answer(*pairs: tuple[str, str], status: int = 200) -> Response:
    return Response(Headers.make(pairs), b"", status, "")


def expires(text: str) -> tuple[str, str]:
    return "Session-Expires", text


@pytest.mark.parametrize(
    ("text", "interval", "refresher"),
    [
        ("1800", 1800, None),
        ("1800;refresher=uas", 1800, "uas"),
        (" 90 ; Refresher = UAC ; x=y", 90, "uac"),
        ("90;refresher=proxy", 90, None),
        ("90;", 90, None),
        ("0", 0, None),
    ],
)
def test_session_expires_in_its_forms(text: str, interval: int, refresher: str | None) -> None:
    assert SessionExpires.parse(text) == SessionExpires(interval, refresher)


@pytest.mark.parametrize("text", ["", "x", "-1", "1.5", "1800 refresher=uas", "99999999999", ";refresher=uas"])
def test_malformed_session_expires(text: str) -> None:
    with pytest.raises(SipError) as caught:
        SessionExpires.parse(text)
    assert caught.value.status == 400


@given(st.integers(0, 2**31 - 1), st.sampled_from(["uac", "uas", None]))
def test_session_expires_is_read_as_it_is_written(interval: int, refresher: str | None) -> None:
    value = SessionExpires(interval, refresher)
    assert SessionExpires.parse(str(value)) == value


@given(st.text(max_size=40))
def test_any_text_is_a_session_expires_or_a_sip_error(text: str) -> None:
    for candidate in (text, f"90;{text}", f"90;refresher={text}"):
        try:
            SessionExpires.parse(candidate)
        except SipError as error:
            assert error.status == 400


def test_min_se_and_the_compact_form_are_found() -> None:
    assert min_se(invite(("Min-SE", "120 ;x=1"))) == 120
    assert min_se(invite()) is None
    assert SessionExpires.of(invite(("x", "120"))) == SessionExpires(120)
    with pytest.raises(SipError):
        min_se(invite(("Min-SE", "soon")))


# The side that answers.


@pytest.mark.parametrize(
    ("policy", "knows", "asked", "refresher"),
    [
        # Table 2 of section 9: what the request says is what the answer says.
        (US, True, "1800;refresher=uac", "peer"),
        (PEER, True, "1800;refresher=uas", "us"),
        (POLICY, True, "1800", "us"),
        (US, True, "1800", "us"),
        (PEER, True, "1800", "peer"),
        # A peer that knows no timers cannot refresh, whatever a proxy or the policy says.
        (POLICY, False, "1800", "us"),
        (PEER, False, "1800", "us"),
        (PEER, False, "1800;refresher=uac", "us"),
        # Nobody asked.
        (POLICY, True, None, "us"),
        (PEER, True, None, "peer"),
        (US, False, None, "us"),
        (POLICY, False, None, None),
        (PEER, False, None, None),
        (OFF, True, "1800;refresher=uas", None),
    ],
)
def test_who_refreshes(policy: TimerPolicy, knows: bool, asked: str | None, refresher: str | None) -> None:
    request = invite(*[KNOWS] * knows, *([expires(asked)] if asked else []))
    timer = accept(request, policy)
    assert (timer and timer.refresher) == refresher


def test_a_refresh_without_a_refresher_keeps_the_one_of_the_dialog() -> None:
    for side in ("us", "peer"):
        kept = accept(invite(KNOWS, expires("1800")), POLICY, Timer(1800, side))
        assert kept is not None and kept.refresher == side
    moved = accept(invite(KNOWS, expires("1800;refresher=uac")), POLICY, Timer(1800, "us"))
    assert moved is not None and moved.refresher == "peer"


@pytest.mark.parametrize(
    ("asked", "least", "interval"),
    [
        (None, None, 600),
        (None, "900", 900),
        ("1800", None, 600),
        ("1800", "900", 900),
        ("300", None, 300),
        ("120", None, 120),
        ("300", "900", 300),  # nonsense; an interval is never made longer than asked
    ],
)
def test_the_interval_granted(asked: str | None, least: str | None, interval: int) -> None:
    pairs = [KNOWS] + [expires(asked)] * (asked is not None) + [("Min-SE", least)] * (least is not None)
    timer = accept(invite(*pairs), TimerPolicy(expires_s=600, min_s=120))
    assert timer is not None and timer.interval_s == interval


def test_too_small_an_interval_is_refused_with_ours() -> None:
    with pytest.raises(SipError) as caught:
        accept(invite(KNOWS, expires("119")), TimerPolicy(min_s=120))
    assert (caught.value.status, caught.value.phrase) == (422, "Session Interval Too Small")
    assert caught.value.headers == (("Min-SE", "120"),)


def test_a_peer_that_knows_no_422_gets_a_longer_interval_instead() -> None:
    assert accept(invite(expires("10")), POLICY) == Timer(90, "us", 90)


def test_the_answer_names_the_sides_of_the_request_and_requires_only_what_is_known() -> None:
    assert response_headers(Timer(600, "us"), invite(KNOWS)) == [expires("600;refresher=uas"), ("Require", "timer")]
    assert response_headers(Timer(600, "peer"), invite(KNOWS)) == [expires("600;refresher=uac"), ("Require", "timer")]
    assert response_headers(Timer(600, "us"), invite()) == [expires("600;refresher=uas")]
    assert response_headers(None, invite(KNOWS)) == []


# The side that asks.


@pytest.mark.parametrize(
    ("policy", "current", "headers"),
    [
        (POLICY, None, [expires("1800")]),
        (US, None, [expires("1800;refresher=uac")]),
        (PEER, None, [expires("1800;refresher=uas")]),
        (TimerPolicy(expires_s=100, min_s=300), None, [expires("300"), ("Min-SE", "300")]),
        (POLICY, Timer(600, "us", 300), [expires("600;refresher=uac"), ("Min-SE", "300")]),
        (US, Timer(600, "peer"), [expires("600;refresher=uas")]),
    ],
)
def test_what_we_ask_for(policy: TimerPolicy, current: Timer | None, headers: list[tuple[str, str]]) -> None:
    offer = offered(policy, current)
    assert offer is not None and offer.headers == headers


def test_nothing_is_asked_for_when_timers_are_off() -> None:
    assert offered(OFF) is None
    assert offered(OFF, Timer(600, "us")) is None
    assert agreed(answer(expires("600;refresher=uac")), OFF, None) is None


def test_after_422_the_interval_is_what_the_peer_wants() -> None:
    again = after_422(answer(("Min-SE", "2000"), status=422), Offer(1800, "us"))
    assert again is not None
    assert again.headers == [expires("2000;refresher=uac"), ("Min-SE", "2000")]


def test_after_422_from_behind_a_proxy_that_shortened_the_interval_only_min_se_grows() -> None:
    again = after_422(answer(("Min-SE", "300"), status=422), Offer(1800, None))
    assert again is not None
    assert again.headers == [expires("1800"), ("Min-SE", "300")]


@pytest.mark.parametrize("headers", [[], [("Min-SE", "x")], [("Min-SE", "90")], [("Min-SE", "0")]])
def test_a_422_that_says_nothing_new_ends_it(headers: list[tuple[str, str]]) -> None:
    assert after_422(answer(*headers, status=422), Offer(1800, None)) is None


def test_422_is_followed_a_few_times_only() -> None:
    offer: Offer | None = Offer(1800, None)
    tries = 0
    while offer is not None and tries < 100:
        offer = after_422(answer(("Min-SE", str(2000 + tries)), status=422), offer)
        tries += 1
    assert tries == MAX_TRIES + 1


@pytest.mark.parametrize(
    ("policy", "offer", "granted", "timer"),
    [
        (POLICY, Offer(1800, None), "600;refresher=uac", Timer(600, "us")),
        (POLICY, Offer(1800, None), "600;refresher=uas", Timer(600, "peer")),
        (US, Offer(1800, "us"), "600;refresher=uas", Timer(600, "us")),
        (PEER, Offer(1800, "peer"), "600", Timer(600, "peer")),
        (POLICY, Offer(1800, None), "600", Timer(600, "us")),
        (POLICY, Offer(1800, None, 120), "1;refresher=uas", Timer(120, "peer", 120)),
        (POLICY, Offer(1800, None), None, None),
        (POLICY, Offer(1800, "us"), None, None),
        (POLICY, Offer(1800, None), "soon", None),
        (US, Offer(1800, "us", 120), None, Timer(1800, "us", 120)),
        (US, Offer(1800, "us"), "soon", Timer(1800, "us")),
    ],
)
def test_what_a_2xx_agrees_to(policy: TimerPolicy, offer: Offer, granted: str | None, timer: Timer | None) -> None:
    assert agreed(answer(*([expires(granted)] if granted else [])), policy, offer) == timer


# The times.


@pytest.mark.parametrize(("interval", "margin"), [(1800, 32), (96, 32), (90, 30), (30, 10)])
def test_a_refresh_is_due_at_half_and_the_end_a_little_before_the_whole(interval: int, margin: int) -> None:
    timer = Timer(interval, "us")
    assert timer.refresh_at(5.0) - 5.0 == pytest.approx(interval / 2)
    assert timer.expires_at(5.0) - 5.0 == pytest.approx(interval - margin)


@given(st.integers(1, 2**31 - 1))
def test_every_refresh_comes_before_the_end(interval: int) -> None:
    timer = Timer(interval, "us")
    assert timer.refresh_at(0.0) < timer.expires_at(0.0) < interval
