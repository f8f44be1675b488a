"""Bodies of one part and of several: which description counts, and what is refused."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.sip.bodies import ACCEPT, description_in, offered, parts
from bridge.sip.errors import SipError
from bridge.sip.message import Message, parse

HEAD = (
    "INFO sip:600@h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:b@h>;tag=2\r\n"
    "Call-ID: c\r\nCSeq: 2 INFO\r\n"
)
ISUP = "Content-Type: application/isup;version=itu\r\n"


def sdp(name: str = "-") -> str:
    return f"v=0\r\no=- 1 1 IN IP4 h\r\ns={name}\r\nc=IN IP4 192.0.2.1\r\nm=audio 4000 RTP/AVP 0\r\n"


def message(kind: str | None, body: str | bytes, extra: str = "") -> Message:
    content = body.encode() if isinstance(body, str) else body
    line = "" if kind is None else f"Content-Type: {kind}\r\n"
    return parse(f"{HEAD}{line}{extra}Content-Length: {len(content)}\r\n\r\n".encode() + content)


def part(content: str, headers: str = "Content-Type: application/sdp\r\n") -> str:
    return f"\r\n--b\r\n{headers}\r\n{content}"


def several(*pieces: str, kind: str = 'multipart/mixed; boundary="b"', end: str = "\r\n--b--\r\n") -> Message:
    return message(kind, "".join(pieces) + end)


def name_of(of: Message) -> str | None:
    description = offered(of)
    return description.name if description is not None else None


def test_a_plain_body() -> None:
    assert name_of(message("Application/SDP ; charset=utf-8", sdp("one"))) == "one"
    assert offered(message(None, "")) is None


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ('multipart/mixed; boundary="b"', part(sdp("one"))),
        ("multipart/mixed;boundary=b", part(sdp("one")).removeprefix("\r\n")),
        ("Multipart/Related;type=x;BOUNDARY=b", "preamble --b\r\n" + part(sdp("one"))),
        ('multipart/mixed;a="; boundary=x";boundary=b', part(sdp("one")) + part(sdp("two"))),
        ("multipart/mixed;boundary=b", part("hi", "") + part("hi", "Content-Type: text/plain\r\n") + part(sdp("one"))),
        ("multipart/mixed;boundary=b", part("\r\n--bb\r\n-- b\r\n", "") + part(sdp("one"))),
        ("multipart/mixed;boundary=b", part(sdp("one")).replace("--b\r\n", "--b  \t\r\n").replace("\r\n", "\n")),
        ("multipart/mixed;boundary=b", part(sdp("one"), "content-type: application/sdp;\r\n x=y\r\n")),
        ("multipart/mixed;boundary=b", part(sdp("one"), "c: application/sdp\r\nContent-Transfer-Encoding: 8BIT\r\n")),
    ],
)
def test_a_description_among_parts(kind: str, body: str) -> None:
    assert name_of(message(kind, body + "\r\n--b--\r\nepilogue\r\n--b\r\n\r\nno part")) == "one"


def test_a_boundary_with_an_equals_sign_need_not_be_quoted() -> None:
    text = part(sdp("one")).replace("--b", "------=_Part_0.1")
    assert name_of(message("multipart/mixed;boundary=----=_Part_0.1", text)) == "one"


def test_a_missing_last_delimiter_is_forgiven() -> None:
    assert name_of(several(part(sdp("one")), end="")) == "one"
    assert name_of(several(part(sdp("one")), end="\r\n--b--")) == "one"


def test_of_alternatives_the_last_one_we_understand_counts() -> None:
    pieces = (part(sdp("one")), part(sdp("two")), part("x", ISUP + "Content-Disposition: x;handling=required\r\n"))
    assert name_of(several(*pieces, kind="multipart/alternative;boundary=b")) == "two"


def test_parts_in_parts() -> None:
    inner = part(sdp("one")).replace("--b", "--c") + "\r\n--c--\r\n"
    nested = part(inner, "Content-Type: multipart/alternative;boundary=c\r\n")
    assert name_of(several(part("x", ISUP + "Content-Disposition: signal;handling=optional\r\n"), nested)) == "one"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (ISUP, None),
        (ISUP + "Content-Disposition: signal;handling=optional\r\n", None),
        (ISUP + "Content-Disposition: signal ; Handling=Required\r\n", 415),
        (ISUP + "Content-Disposition: signal\r\n", 415),
    ],
)
def test_an_unknown_part_is_refused_when_it_must_be_understood(headers: str, status: int | None) -> None:
    both = several(part(sdp("one")), part("x", headers))
    if status is None:
        assert name_of(both) == "one"
        return
    with pytest.raises(SipError) as refused:
        offered(both)
    assert (refused.value.status, refused.value.headers) == (status, (("Accept", ACCEPT),))


def test_a_whole_body_that_may_be_passed_over_is_no_offer() -> None:
    assert offered(message("text/plain", "hi", "Content-Disposition: render;handling=optional\r\n")) is None
    with pytest.raises(SipError):
        offered(message("text/plain", "hi"))


def test_an_early_description_is_not_that_of_the_session() -> None:
    early = part(sdp("early"), "Content-Type: application/sdp\r\nContent-Disposition: early-session\r\n")
    assert name_of(several(early, part(sdp("one")))) == "one"


def test_base64_is_tolerated_and_nothing_else() -> None:
    headers = "Content-Type: application/sdp\r\nContent-Transfer-Encoding: {}\r\n"
    packed = base64.encodebytes(sdp("one").encode()).decode()
    assert name_of(several(part(packed, headers.format("Base64")))) == "one"
    for encoding, text, status in (("base64", "*", 400), ("quoted-printable", sdp(), 415)):
        with pytest.raises(SipError) as refused:
            offered(several(part(text, headers.format(encoding))))
        assert refused.value.status == status


@pytest.mark.parametrize(
    ("made", "status"),
    [
        (message(None, sdp()), 400),
        (message("multipart/mixed", part(sdp())), 400),
        (message(f"multipart/mixed;boundary={'b' * 71}", part(sdp())), 400),
        (message('multipart/mixed;boundary="b', part(sdp())), 400),
        (message("multipart/mixed;boundary=c", part(sdp())), 400),
        (several(part(sdp(), "no header\r\n")), 400),
        (several(part(sdp(), "x: 1\r\n" * 33)), 400),
        (several(*[part("", "")] * 17), 400),
        (message("application/sdp", sdp(), "Content-Encoding: gzip\r\n"), 415),
        (message("application/json", "{}"), 415),
        (message("application/sdp", "no"), 400),
    ],
)
def test_what_is_refused(made: Message, status: int) -> None:
    with pytest.raises(SipError) as refused:
        offered(made)
    assert refused.value.status == status
    assert description_in(made) is None


def test_nesting_has_an_end() -> None:
    body = sdp()
    for level in range(5):
        inner = f"multipart/mixed;boundary=b{level}" if level else "application/sdp"
        body = f"--b{level + 1}\r\nContent-Type: {inner}\r\n\r\n{body}\r\n--b{level + 1}--\r\n"
    with pytest.raises(SipError):
        offered(message("multipart/mixed;boundary=b5", body))


def test_parts_can_be_read_one_by_one() -> None:
    both = several(part("x", ISUP + "Content-Disposition: signal\r\n"), part(sdp()))
    assert [(found.kind, found.disposition, found.handling) for found in parts(both)] == [
        ("application/isup", "signal", "required"),
        ("application/sdp", "", None),
    ]
    assert parts(both)[0].body == b"x"


@given(st.binary(max_size=120), st.text("multipart/mixed;boundary=\"b' ,<>", max_size=40))
def test_any_bytes_give_a_description_or_a_sip_error(data: bytes, kind: str) -> None:
    framed = b"--b\r\n" + data.replace(b"\n\n", b"\r\n--b\r\n")
    for made in (message("multipart/mixed;boundary=b", framed), message(kind.strip() or "x", data or b"x")):
        try:
            offered(made)
        except SipError as error:
            assert error.status in (400, 415)
