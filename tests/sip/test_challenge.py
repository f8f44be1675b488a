"""Digest on the wire: the examples of the RFCs, and whatever strangers write."""

from __future__ import annotations

import hashlib
import time
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.sip.challenge import MAX_CHALLENGES, Authorization, Challenge, algorithm_of, proof
from bridge.sip.errors import SipError


def digest_of(name: str, *parts: str) -> str:
    return hashlib.new(name, ":".join(parts).encode()).hexdigest()


# The published examples. The responses are the RFCs' own; the other values are their inputs.

RFC_7616 = Authorization(
    username="Mufasa",
    realm="http-auth@example.org",
    nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
    uri="/dir/index.html",
    qop="auth",
    count="00000001",
    cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
)


@pytest.mark.parametrize(
    ("algorithm", "response"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_the_example_of_rfc_7616(algorithm: str, response: str) -> None:
    assert proof(replace(RFC_7616, algorithm=algorithm), "Circle of Life", "GET", b"") == response


def test_the_example_of_rfc_2617() -> None:
    answer = Authorization(
        username="Mufasa",
        realm="testrealm@host.com",
        nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093",
        uri="/dir/index.html",
        qop="auth",
        count="00000001",
        cnonce="0a4f113b",
    )
    assert proof(answer, "Circle Of Life", "GET", b"") == "6629fae49393a05397450978507c4ef1"
    by_hand = digest_of(
        "md5",
        digest_of("md5", "Mufasa", "testrealm@host.com", "Circle Of Life"),
        f"{answer.nonce}:00000001:0a4f113b:auth",
        digest_of("md5", "GET", "/dir/index.html"),
    )
    assert by_hand == "6629fae49393a05397450978507c4ef1"


def test_unknown_algorithms() -> None:
    assert algorithm_of("SHA-1") is None
    with pytest.raises(ValueError, match="unknown digest algorithm"):
        proof(replace(RFC_7616, algorithm="SHA-1"), "p", "INVITE", b"")


def test_a_challenge_with_odd_spacing_and_everything_in_it() -> None:
    text = 'digest  QOP = "auth , auth-int",realm="a \\"b\\", c" ,nonce=abc, x-new="?", Stale="TRUE",opaque=""'
    expected = Challenge('a "b", c', "abc", None, ("auth", "auth-int"), "", True)
    assert Challenge.parse(text) == [expected]
    assert Challenge.parse(str(expected)) == [expected]


def test_several_challenges_in_one_line() -> None:
    text = 'Basic realm="b", Digest realm="r", nonce="n", Digest realm="q", nonce="m", algorithm=SHA-256'
    assert Challenge.parse(text) == [Challenge("r", "n"), Challenge("q", "m", "SHA-256")]
    with pytest.raises(SipError):
        Challenge.parse(", ".join(['Digest realm="r", nonce="n"'] * (MAX_CHALLENGES + 1)))


def test_credentials_as_phones_write_them() -> None:
    as_pyvoip = 'Digest username="a",realm="r",nonce="n",uri="sip:h;transport=UDP",response="AB",algorithm=MD5'
    assert Authorization.parse(as_pyvoip) == Authorization("a", "r", "n", "sip:h;transport=UDP", "AB", "MD5")
    all_quoted = (
        'Digest username="a", realm="r", nonce="n", uri="sip:h", response="ab", algorithm="MD5", '
        'cnonce="c", opaque="o", qop="auth", nc="1"'
    )
    assert Authorization.parse(all_quoted) == Authorization("a", "r", "n", "sip:h", "ab", "MD5", "auth", "1", "c", "o")
    assert Authorization.parse("Basic QWxhZGRpbg==") is None


BASE = 'Digest username="a", realm="r", nonce="n", uri="sip:h", response="ab"'


@pytest.mark.parametrize(
    "text",
    [
        "Digest ",
        'Digest username="a"',
        BASE.replace('"ab"', '"nothex"'),
        BASE.replace('"ab"', '""'),
        f'{BASE}, qop=auth, nc=xyz, cnonce="c"',
        f'{BASE}, qop=auth, nc=123456789, cnonce="c"',
        f'{BASE}, qop=auth, nc=00000001, cnonce=""',
        f"{BASE}, qop=auth, nc=00000001",
        f'{BASE}, qop=auth, cnonce="c"',
        f'{BASE}, qop=auth-conf, nc=1, cnonce="c"',
        f'{BASE}, username="b"',
        f'{BASE}, algorithm="a b"',
        f'{BASE}, Digest realm="x"',
        f'{BASE}, opaque="',
    ],
)
def test_malformed_credentials(text: str) -> None:
    with pytest.raises(SipError, match="400"):
        Authorization.parse(text)


words = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\x00"), max_size=12)
NAMES = ("realm", "nonce", "qop", "nc", "algorithm", "username", "uri", "response", "cnonce", "stale")
MARKS = (",", ", ", "=", '"', "\\", " ", "<", ">", "\t", "Digest ", "Basic ", '"r"', "auth", "MD5", "ab", "00000001")
headers = st.lists(st.one_of(st.sampled_from([*NAMES, *MARKS]), words), max_size=40).map("".join)


@given(headers)
def test_any_header_is_a_value_or_a_sip_error(text: str) -> None:
    for read in (Challenge.parse, Authorization.parse):
        try:
            read(f"Digest {text}")
        except SipError as error:
            assert error.status == 400


@given(words, words, words.filter(bool), st.sampled_from([None, "MD5", "SHA-256-sess"]), st.booleans())
def test_what_is_written_is_read(name: str, realm: str, nonce: str, algorithm: str | None, flag: bool) -> None:
    challenge = Challenge(realm, nonce, algorithm, ("auth",) if flag else (), name, flag)
    assert Challenge.parse(str(challenge)) == [challenge]
    answer = Authorization(name, realm, nonce, "sip:h", "ab", algorithm, opaque=name)
    if flag:
        answer = replace(answer, qop="auth", count="00000001", cnonce="c")
    assert Authorization.parse(str(answer)) == answer


@pytest.mark.parametrize("mark", ['"', "\\", ",", " ", "=", "a", 'Digest a="b",', "Digest a=", "\t"])
def test_long_headers_cost_linear_time(mark: str) -> None:
    def seconds(length: int) -> float:
        text = "Digest x=" + mark * (length // len(mark))
        started = time.process_time()
        for read in (Challenge.parse, Authorization.parse):
            with suppress(SipError):
                read(text)
        return time.process_time() - started

    assert min(seconds(400_000) for _ in range(3)) < 40 * max(min(seconds(40_000) for _ in range(3)), 1e-3)
