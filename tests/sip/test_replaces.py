"""Replaces: which dialog, seen from which side."""

from __future__ import annotations

from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.sip.errors import SipError
from bridge.sip.headers import Headers
from bridge.sip.message import Request
from bridge.sip.replaces import Replaces
from bridge.sip.uri import Uri

WORD = st.text("abcXYZ019-.!%*_+`'~()<>:\\\"/[]?{}@", min_size=1, max_size=30)
TAG = st.text("abcXYZ019-.!%*_+`'~", min_size=1, max_size=20)


def request(*values: str, method: str = "INVITE") -> Request:
    return Request(Headers.make(("Replaces", value) for value in values), b"", method, Uri.parse("sip:b@h"))


@pytest.mark.parametrize(
    ("text", "early"),
    [
        ("98732@sip.example.com;from-tag=r33;to-tag=ff87", False),
        (" 98732@sip.example.com ; TO-TAG = ff87 ; x=y ; from-tag=r33;Early-Only", True),
        ("98732@sip.example.com;to-tag=ff87;from-tag=r33;early-only", True),
    ],
)
def test_forms(text: str, early: bool) -> None:
    assert Replaces.parse(text) == Replaces("98732@sip.example.com", "ff87", "r33", early)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "c",
        ";to-tag=a;from-tag=b",
        "c;to-tag=a",
        "c;from-tag=b",
        "c;to-tag=;from-tag=b",
        "c;to-tag;from-tag=b",
        "c;to-tag=a;to-tag=a;from-tag=b",
        'c;to-tag="a";from-tag=b',
        "c d;to-tag=a;from-tag=b",
        "c;to-tag=a;from-tag=b, d;to-tag=a;from-tag=b",
        "c\r\nX: y;to-tag=a;from-tag=b",
    ],
)
def test_malformed(text: str) -> None:
    with pytest.raises(SipError) as caught:
        Replaces.parse(text)
    assert caught.value.status == 400


def test_one_value_in_an_invite_or_none_at_all() -> None:
    good = "c;to-tag=a;from-tag=b"
    assert Replaces.of(request(good)) == Replaces("c", "a", "b")
    assert Replaces.of(request()) is None
    for wrong in (request(good, good), request(f"{good}, {good}"), request(good, method="REFER"), request("")):
        with pytest.raises(SipError) as caught:
            Replaces.of(wrong)
        assert caught.value.status == 400


@given(WORD, TAG, TAG, st.booleans())
def test_it_is_read_as_it_is_written_in_a_header_and_in_a_uri(call_id: str, to: str, from_: str, early: bool) -> None:
    value = Replaces(call_id, to, from_, early)
    assert Replaces.parse(str(value)) == value
    assert Replaces.parse(unquote(value.escaped)) == value
    uri = Uri.parse(f"sip:a@h?X=y&Replaces={value.escaped}&Z=1")
    assert uri.headers is not None
    assert uri.headers.count("&") == 2


def test_escaping_to_the_byte() -> None:
    assert Replaces("1%2@h", "a", "b").escaped == "1%252%40h%3Bto-tag%3Da%3Bfrom-tag%3Db"


def test_the_to_tag_is_the_receivers_own() -> None:
    value = Replaces("c", "mine", "theirs")
    assert value.matches("c", "mine", "theirs")
    assert not value.matches("c", "theirs", "mine")
    assert not value.matches("C", "mine", "theirs")
    assert not value.matches("c", "mine", "other")


def test_what_we_tell_others_matches_at_our_peer() -> None:
    ours = {"local_tag": "mine", "remote_tag": "theirs"}
    assert Replaces.at_peer("c", **ours).matches("c", local_tag="theirs", remote_tag="mine")


def test_a_zero_tag_stands_for_none() -> None:
    assert Replaces("c", "a", "0").matches("c", "a", "")
    assert Replaces("c", "a", "0").matches("c", "a", "0")
    assert not Replaces("c", "a", "0").matches("c", "a", "b")
    assert not Replaces("c", "a", "b").matches("c", "a", "")


@given(st.text(max_size=50))
def test_any_text_is_a_replaces_or_a_sip_error(text: str) -> None:
    for candidate in (text, f"c;{text}", f"c;to-tag=a;from-tag={text}", f"{text};to-tag=a;from-tag=b"):
        try:
            value = Replaces.parse(candidate)
        except SipError as error:
            assert error.status == 400
        else:
            assert Replaces.parse(str(value)) == value
