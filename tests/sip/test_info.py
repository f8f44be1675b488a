"""Keys in INFO bodies, as phones write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.sip.errors import SipError
from bridge.sip.info import DTMF, DTMF_RELAY, KEYS, body, digits


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("Signal=5\r\nDuration=160\r\n", "5"),
        ("Signal= 5\r\nDuration= 160", "5"),
        ("Signal=5", "5"),
        ("signal = *\nduration = 100\n", "*"),
        ("Duration=250\r\nSIGNAL=#\r\n", "#"),
        ("\r\nSignal=0\rDuration=160\r", "0"),
        ("Signal=10\r\n", "*"),
        ("Signal=11\r\n", "#"),
        ("Signal=12\r\n", "A"),
        ("Signal=15\r\n", "D"),
        ("Signal=a\r\n", "A"),
        ("Signal=D\r\n", "D"),
        ("Signal=16\r\n", None),
        ("Signal=!\r\n", None),
        ("7", "7"),
    ],
)
def test_relay_bodies(text: str, key: str | None) -> None:
    assert digits(DTMF_RELAY, text.encode()) == key


@pytest.mark.parametrize(
    ("text", "key"),
    [("5", "5"), ("5\r\n", "5"), (" # ", "#"), ("*", "*"), ("10", "*"), ("11", "#"), ("d", "D"), ("14", "C"),
     ("16", None), ("!", None), ("Signal=3\r\nDuration=1", "3")],
)  # fmt: skip
def test_plain_bodies(text: str, key: str | None) -> None:
    assert digits(DTMF, text.encode()) == key


@pytest.mark.parametrize(
    "kind", ["Application/DTMF-Relay", " application/dtmf-relay ; charset=utf-8", "APPLICATION/dtmf"]
)
def test_the_content_type_in_any_case_with_parameters(kind: str) -> None:
    assert digits(kind, b"Signal=1") == "1"


@pytest.mark.parametrize("kind", ["", "application/dtmf-relays", "application/sdp", "text/plain;application/dtmf"])
def test_another_content_type_is_415_and_says_what_would_do(kind: str) -> None:
    with pytest.raises(SipError) as caught:
        digits(kind, b"Signal=1")
    assert caught.value.status == 415
    assert caught.value.headers == (("Accept", "application/dtmf-relay, application/dtmf"),)


@pytest.mark.parametrize(
    "text",
    ["", "Signal=", "Signal=17", "Signal=01", "Signal=55", "Signal=E", "Signal=5 6", "Signal=\r\n5", "x", "\u0665",
     "\x00", "Duration=5", "5" + " " * 2000],
)  # fmt: skip
@pytest.mark.parametrize("kind", [DTMF, DTMF_RELAY])
def test_a_body_without_a_key_is_400(kind: str, text: str) -> None:
    with pytest.raises(SipError) as caught:
        digits(kind, text.encode())
    assert caught.value.status == 400


@given(st.text(max_size=20), st.binary(max_size=60))
def test_any_body_is_a_key_or_a_sip_error(kind: str, data: bytes) -> None:
    for candidate in (kind, DTMF, DTMF_RELAY):
        for text in (data, b"Signal=" + data):
            try:
                assert (digits(candidate, text) or "0") in KEYS
            except SipError as error:
                assert error.status in (400, 415)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("kind", [DTMF, DTMF_RELAY])
def test_what_we_send_we_understand(key: str, kind: str) -> None:
    assert digits(*body(key, content_type=kind)) == key


def test_a_relay_body_to_the_byte() -> None:
    assert body("5", 250) == ("application/dtmf-relay", b"Signal=5\r\nDuration=250\r\n")
    assert body("#", content_type=DTMF) == ("application/dtmf", b"#")


@pytest.mark.parametrize("key", ["", "12", "E", "a", "!"])
def test_only_keys_are_sent(key: str) -> None:
    with pytest.raises(ValueError, match="not a key"):
        body(key)
