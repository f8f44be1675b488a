"""a=crypto lines: which can be used, what is answered, and that no key shows itself."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.sip.errors import SipError
from bridge.sip.offer_answer import accept, answer, offer
from bridge.sip.sdes import SUITES, Crypto, Policy, Security, answered, offered, usable
from tests.sip.test_offer_answer import audio, describe

SUITE = "AES_CM_128_HMAC_SHA1_80"
KEY = bytes(range(30))
INLINE = "inline:" + base64.b64encode(KEY).decode()
LINE = f"1 {SUITE} {INLINE}"


def secure(*lines: str, protocol: str = "RTP/SAVP") -> str:
    return audio("0", *(f"crypto:{line}" for line in lines), protocol=protocol)


def test_the_example_of_the_rfc() -> None:
    line = "1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz|2^20 FEC_ORDER=FEC_SRTP"
    assert Crypto.parse(line) is None  # FEC is nothing that we can do
    parsed = Crypto.parse(line.rpartition(" ")[0])
    assert parsed == Crypto(1, SUITE, base64.b64decode("WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz"))


@pytest.mark.parametrize("suite", SUITES)
def test_written_it_is_what_was_read(suite: str) -> None:
    crypto = Crypto.new(7, suite)
    assert Crypto.parse(crypto.value) == crypto
    assert len(crypto.key) == SUITES[suite]


@pytest.mark.parametrize(
    "line",
    [
        LINE,
        f"{LINE}|2^48",
        f"{LINE}|1048576 WSH=128",
        f"{LINE} KDR=0 -x=y",
        LINE.lower().replace(INLINE.lower(), INLINE),
        f"  {LINE}  ",
        f"123456789 {SUITE}   {INLINE}",
    ],
)
def test_lines_that_can_be_used(line: str) -> None:
    crypto = Crypto.parse(line)
    assert crypto is not None and (crypto.suite, crypto.key) == (SUITE, KEY)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "1",
        f"1 {SUITE}",
        f"01 {SUITE} {INLINE}",
        f"x {SUITE} {INLINE}",
        f"1234567890 {SUITE} {INLINE}",
        f"1 F8_128_HMAC_SHA1_80 {INLINE}",
        f"1 AEAD_AES_256_GCM {INLINE}",
        f"1 {SUITE} {INLINE}|2^20|1:4",
        f"1 {SUITE} {INLINE}|1:4",
        f"1 {SUITE} {INLINE};{INLINE}",
        f"1 {SUITE} {INLINE[:-4]}",
        f"1 {SUITE} {INLINE}AAAA",
        f"1 {SUITE} inline:{'*' * 40}",
        f"1 {SUITE} uri:{'A' * 40}",
        f"{LINE} KDR=5",
        f"{LINE} UNENCRYPTED_SRTP",
        f"{LINE} UNAUTHENTICATED_SRTP",
        f"{LINE} UNENCRYPTED_SRTCP",
        f"{LINE} SOMETHING_NEW",
    ],
)
def test_lines_that_cannot(line: str) -> None:
    assert Crypto.parse(line) is None


def test_padding_may_be_missing() -> None:
    line = Crypto.new(1, "AEAD_AES_128_GCM").value
    assert line.endswith("==") and Crypto.parse(line.rstrip("=")) == Crypto.parse(line)


@given(st.text(max_size=120), st.text("AES_CM128HSHA10 inline:|2^=+/", max_size=90))
def test_any_text_is_a_line_or_none(one: str, other: str) -> None:
    for text in (one, other, f"1 {SUITE} inline:{other}", f"{LINE} {one}"):
        assert usable([text]) in ([], [Crypto.parse(text)])


def test_no_key_is_in_a_repr_or_an_error() -> None:
    description, negotiated = answer(describe(secure(LINE)), "192.0.2.10", 5000, session_id=1, srtp="optional")
    assert negotiated.security is not None
    shown = repr((description, negotiated, negotiated.security, offered()))
    with pytest.raises(SipError) as refused:
        answer(describe(secure(f"{LINE} KDR=5")), "192.0.2.10", 5000, session_id=1, srtp="required")
    shown += repr(refused.value) + str(refused.value) + str(refused.value.headers)
    for crypto in (negotiated.security.theirs, negotiated.security.ours):
        assert base64.b64encode(crypto.key).decode() not in shown
        assert repr(crypto.key) not in shown


class TestPolicy:
    @pytest.mark.parametrize(
        ("srtp", "media", "warning"),
        [
            ("off", secure(LINE), "302"),
            ("off", audio("0", f"crypto:{LINE}"), None),
            ("optional", secure(LINE), None),
            ("optional", secure(LINE, protocol="RTP/SAVPF"), None),
            ("optional", audio("0"), None),
            ("optional", audio("0", f"crypto:{LINE}"), None),
            ("optional", secure(), "306"),
            ("optional", secure(f"{LINE}|1:4", f"1 AES_256_CM_HMAC_SHA1_80 {INLINE}"), "306"),
            ("required", secure(LINE), None),
            ("required", audio("0"), "302"),
            ("required", audio("0", f"crypto:{LINE}"), "302"),
            ("required", secure(LINE, protocol="UDP/TLS/RTP/SAVPF"), "302"),
        ],
    )
    def test_what_each_one_takes(self, srtp: Policy, media: str, warning: str | None) -> None:
        try:
            description, negotiated = answer(describe(media), "192.0.2.10", 5000, session_id=1, srtp=srtp)
        except SipError as error:
            assert error.status == 488 and warning is not None
            assert dict(error.headers)["Warning"].startswith(warning)
            return
        assert warning is None
        protected = description.media[0].protocol.startswith("RTP/SAVP")
        assert protected == (negotiated.security is not None) == bool(description.media[0].values("crypto"))
        assert description.media[0].protocol == media.split()[2]

    def test_a_protected_stream_comes_first(self) -> None:
        both = describe(audio("8", port=4002), secure(LINE))
        for srtp, port, ours in (
            ("off", 4002, [5000, 0]),
            ("optional", 4000, [0, 5000]),
            ("required", 4000, [0, 5000]),
        ):
            description, negotiated = answer(both, "192.0.2.10", 5000, session_id=1, srtp=srtp)  # type: ignore[arg-type]
            assert (negotiated.remote_port, [media.port for media in description.media]) == (port, ours)


class TestKeys:
    def test_the_answer_has_the_tag_and_suite_of_the_first_line_we_know_and_a_key_of_ours(self) -> None:
        lines = (f"1 AES_256_CM_HMAC_SHA1_80 {INLINE}", f"2 AES_CM_128_HMAC_SHA1_32 {INLINE}", f"3 {SUITE} {INLINE}")
        description, negotiated = answer(describe(secure(*lines)), "h", 5000, session_id=1, srtp="optional")
        assert negotiated.security is not None
        [ours] = usable(description.media[0].values("crypto"))
        assert (ours.tag, ours.suite) == (2, "AES_CM_128_HMAC_SHA1_32")
        assert ours == negotiated.security.ours
        assert negotiated.security.theirs.key == KEY != ours.key

    def test_a_reinvite_keeps_our_key_while_theirs_stays(self) -> None:
        first = answered(Crypto(1, SUITE, KEY), None)
        assert answered(Crypto(4, SUITE, KEY), first).ours == Crypto(4, SUITE, first.ours.key)
        other = answered(Crypto(1, SUITE, KEY[::-1]), first)
        assert other.ours.key != first.ours.key
        assert answered(Crypto(1, "AES_CM_128_HMAC_SHA1_32", KEY), first).ours.key != first.ours.key

    def test_both_ends_agree(self) -> None:
        ours = offer("192.0.2.10", 4000, session_id=1, crypto=offered())
        assert ours.media[0].protocol == "RTP/SAVP"
        theirs, remote = answer(ours, "192.0.2.1", 5000, session_id=2, srtp="optional")
        local = accept(ours, theirs)
        assert local.security is not None and remote.security is not None
        assert local.security == Security(theirs=remote.security.ours, ours=remote.security.theirs)

    @pytest.mark.parametrize("line", [LINE.replace("1", "9", 1), f"1 AES_CM_128_HMAC_SHA1_32 {INLINE}", "1 X y"])
    def test_an_answer_must_take_up_a_line_of_ours(self, line: str) -> None:
        ours = offer("192.0.2.10", 4000, session_id=1, crypto=offered())
        with pytest.raises(SipError):
            accept(ours, describe(secure(line)))

    def test_an_answer_must_stay_with_the_profile_of_the_offer(self) -> None:
        with pytest.raises(SipError):
            accept(offer("192.0.2.10", 4000, session_id=1, crypto=offered()), describe(audio("0")))
        with pytest.raises(SipError):
            accept(offer("192.0.2.10", 4000, session_id=1), describe(secure(LINE)))
