"""Messages: a torture table (in the spirit of RFC 4475), byte-exact echoes, no surprise errors."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.sip.errors import SipError
from bridge.sip.message import MAX_LINES, Request, Response, parse

from .stack import invite

LINES = {
    "Via": "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKx",
    "From": "From: <sip:a@h>;tag=1",
    "To": "To: <sip:b@h>",
    "Call-ID": "Call-ID: c",
    "CSeq": "CSeq: 1 INVITE",
    "Contact": "Contact: <sip:a@192.0.2.1>",
}


FLOOD = {f"X{number}": "X: y" for number in range(MAX_LINES)}
"""As many header lines as there may be, and beside the others too many."""


def text(start: str = "INVITE sip:b@h SIP/2.0", body: bytes = b"", **lines: str | None) -> bytes:
    """A small INVITE with lines replaced (`Call_ID=...`), removed (None) or added."""
    kept: dict[str, str | None] = {**LINES, **{name.replace("_", "-"): line for name, line in lines.items()}}
    head = "\r\n".join([start, *(line for line in kept.values() if line is not None), "", ""])
    return head.encode("utf-8", "surrogateescape") + body


VALID = {
    "plain": text(),
    "compact": text(
        Via="v: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKx",
        From="f: <sip:a@h>;tag=1",
        To="t: <sip:b@h>",
        Call_ID="i: c",
        Contact="m: <sip:a@192.0.2.1>",
        Length="l: 0",
    ),
    "any case": text(Via="vIA: sip/2.0/udp 192.0.2.1;BRANCH=z9hG4bKx", CSeq="cSEQ:   0001  INVITE"),
    "folded": text(To="TO :\r\n <sip:b@h>\r\n\t;x=y", From='From: "a\r\n b"\r\n  <sip:a@h>;tag=1'),
    "spaces in Via": text(Via="Via: SIP / 2.0\t/ UDP  192.0.2.1 : 5060 ; branch = z9hG4bKx"),
    "several Vias in a line": text(Via="Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKx , SIP/2.0/TCP p;branch=y"),
    "unknown headers": text(X="X-Nonsense: ,;=:<>@", Y="Weird!%*_+`'~: "),
    "empty header": text(X="Supported:"),
    "escapes in the user": text("INVITE sip:%73%00b@h SIP/2.0"),
    "semicolons in the user": text("INVITE sip:1;phone-context=x:p@h;user=phone SIP/2.0"),
    "IPv6": text("INVITE sip:b@[2001:db8::1]:5070 SIP/2.0", Via="Via: SIP/2.0/UDP [2001:db8::9];branch=z9hG4bKx"),
    "quoted angle brackets": text(From='From: "a <sip:x@y> \\" b" <sip:a@h>;tag=1'),
    "latin-1 display name": text(From='From: "Jos\udce9" <sip:a@h>;tag=1'),
    "no tag, RFC 2543": text(Via="Via: SIP/2.0/UDP 192.0.2.1", From="From: sip:a@h"),
    "bare line feeds": text().replace(b"\r\n", b"\n"),
    "leading empty lines": b"\r\n\r\n" + text(),
    "unknown method": text("NEW-METHOD sip:b@h SIP/2.0", CSeq="CSeq: 1 NEW-METHOD"),
    "unknown scheme": text("INVITE nobodyknows:thing SIP/2.0"),
    "lower-case version": text("INVITE sip:b@h sip/2.0"),
    "long values": text(X="X: " + "v" * 8000, Call_ID="Call-ID: " + "c" * 500),
    "zero Max-Forwards": text(M="Max-Forwards: 0"),
    "comma in Contact": text(Contact="Contact: <sip:a,b@192.0.2.1>;q=1, <sip:c@h>"),
    "body is cut": text(Length="Content-Length: 2", body=b"abcd"),
}

INVALID = {
    "Missing Via": text(Via=None),
    "Missing From": text(From=None),
    "Missing To": text(To=None),
    "Missing Call-ID": text(Call_ID=None),
    "Missing CSeq": text(CSeq=None),
    "Missing Contact": text(Contact=None),
    "Missing end of headers": text().removesuffix(b"\r\n"),
    "Malformed Via": text(Via="Via: SIP/2.0/UDP"),
    "Malformed host in Via": text(Via="Via: SIP/2.0/UDP [::g];branch=z9hG4bKx"),
    "Malformed port in Via": text(Via="Via: SIP/2.0/UDP h:99999;branch=z9hG4bKx"),
    "Malformed From": text(From="From: <sip:a@h>tag=1"),
    "Malformed To": text(To='To: "x <sip:b@h>'),
    "Malformed URI": text(To="To: <b@h>"),
    "Malformed Call-ID": text(Call_ID="Call-ID: a b"),
    "Malformed CSeq": text(CSeq="CSeq: 36893488147419103232 INVITE"),
    "CSeq does not match the method": text(CSeq="CSeq: 1 BYE"),
    "Malformed Max-Forwards": text(M="Max-Forwards: 300"),
    "Malformed Content-Length": text(L="Content-Length: -1"),
    "Body shorter than Content-Length": text(L="Content-Length: 5", body=b"abcd"),
    "Repeated Call-ID": text(X="i: d"),
    "Repeated CSeq": text(X="CSeq: 2 INVITE"),
    "Malformed header line": text(X="no colon here"),
    "Control character in header": text(X="X: a\x00b"),
    "Malformed Request-URI": text("INVITE <sip:b@h> SIP/2.0"),
    "Unterminated quoted string": text(Contact='Contact: "x <sip:a@h>'),
    "Malformed parameter in From": text(From="From: <sip:a@h>;tag=1;=x"),
    "Version Not Supported": text("INVITE sip:b@h SIP/7.0"),
}


@pytest.mark.parametrize("name", VALID)
def test_odd_but_legal_requests_are_understood(name: str) -> None:
    message = parse(VALID[name])
    assert isinstance(message, Request)
    assert message.cseq.number == 1
    assert message.via.host in ("192.0.2.1", "2001:db8::9")


@pytest.mark.parametrize("phrase", INVALID)
def test_malformed_requests_are_refused_with_what_is_wrong(phrase: str) -> None:
    with pytest.raises(SipError) as caught:
        parse(INVALID[phrase])
    assert caught.value.phrase == phrase
    assert caught.value.status == (505 if phrase == "Version Not Supported" else 400)
    assert caught.value.request is not None


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not_sip"),
        (b"\x00\x01\x02", "not_sip"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "not_sip"),
        (b"INVITE sip:b@h\r\n\r\n", "not_sip"),
        (b"IN\xffVITE sip:b@h SIP/2.0\r\n\r\n", "not_sip"),
        (b"SIP/2.0 200 OK\r\n" + text(**FLOOD).partition(b"\r\n")[2], "too_many_headers"),
        (b"SIP/3.0 200 OK\r\n\r\n", "version"),
        (b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP h\r\n\r\n", "missing_from"),
        (b"SIP/2.0 99 No\r\n\r\n", "not_sip"),
    ],
)
def test_what_cannot_be_answered_has_a_word_for_the_counter(data: bytes, reason: str) -> None:
    with pytest.raises(SipError) as caught:
        parse(data)
    assert caught.value.reason == reason
    assert caught.value.request is None


@pytest.mark.parametrize("more", [0, 1, 5000])
def test_a_flood_of_headers_is_answered_from_the_first_of_them(more: int) -> None:
    flood = dict(list(FLOOD.items())[len(LINES) :])
    assert isinstance(parse(text(**flood)), Request)
    with pytest.raises(SipError) as caught:
        parse(text(**flood, **{f"Y{number}": "Y: z\r\n z" for number in range(more + 1)}))
    error = caught.value
    assert (error.status, error.phrase, error.reason) == (513, "Too many headers", "too_many_headers")
    assert error.request is not None and len(list(error.request.lines)) == MAX_LINES
    assert bytes(error.request.response(513)).count(b"\r\n") == 8


def test_who_needs_more_lines_to_be_answered_is_not() -> None:
    with pytest.raises(SipError) as caught:
        parse(text(Via=None, **FLOOD, Via_2=LINES["Via"]))
    assert caught.value.request is not None
    with pytest.raises(SipError, match="Missing Via"):
        caught.value.request.stamped(("192.0.2.1", 5060))


def test_answers_echo_bytes_as_they_came() -> None:
    lines = {
        "Via": "v :  SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKx;Weird=Yes",
        "Via-2": "VIA: SIP/2.0/TCP p;branch=y,\r\n SIP/2.0/UDP q",
        "From": 'f: "Jos\udce9+%2B"   <sip:a+b@h>;tag=1+%2b',
        "To": "To:<sip:b@h>  ;x",
        "Call-ID": "i:c+%2B@h",
        "CSeq": "CSEQ: 01 INVITE",
        "RR": "Record-Route: <sip:p;lr>;x=Y",
    }
    request = parse(text(**{name.replace("-", "_"): line for name, line in lines.items()}))
    assert isinstance(request, Request)
    sent = bytes(request.response(180, tag="t")).decode("utf-8", "surrogateescape").split("\r\n")
    for name, line in lines.items():
        for piece in line.split("\r\n"):
            assert (piece + ";tag=t" if name == "To" else piece) in sent


def test_trying_has_no_tag_and_no_route_and_echoes_the_timestamp() -> None:
    request = parse(text(T="Timestamp: 54.1", RR="Record-Route: <sip:p;lr>"))
    assert isinstance(request, Request)
    answer = request.response(100, tag="t")
    assert answer.to.tag is None
    assert answer.header("Record-Route") is None
    assert answer.header("Timestamp") == "54.1"


def test_a_tag_of_the_peer_is_kept() -> None:
    request = parse(text(To="To: <sip:b@h>;tag=mine"))
    assert isinstance(request, Request)
    assert request.response(200, tag="other").to.tag == "mine"


def test_record_route_is_for_answers_that_make_dialogs() -> None:
    request = parse(text(RR="Record-Route: <sip:p;lr>"))
    assert isinstance(request, Request)
    assert request.response(200).header("Record-Route") == "<sip:p;lr>"
    assert request.response(486).header("Record-Route") is None


def test_the_stamp_replaces_what_the_peer_claims() -> None:
    request = parse(text(Via="Via: SIP/2.0/UDP h;rport=1;received=9.9.9.9;branch=z9hG4bKx, SIP/2.0/UDP q"))
    assert isinstance(request, Request)
    stamped = request.stamped(("192.0.2.7", 999))
    first, second = stamped.headers("Via")
    assert "rport=999" in first and "received=192.0.2.7" in first and "9.9.9.9" not in first
    assert second == "SIP/2.0/UDP q"


def test_headers_of_our_own_cannot_break_out_of_their_line() -> None:
    request = parse(text())
    assert isinstance(request, Request)
    for name, value in [("X", "a\r\nY: b"), ("X\r\nY", "b"), ("X", "a\0")]:
        with pytest.raises(ValueError, match="not a header"):
            request.response(200, headers=[(name, value)])


def test_a_message_survives_writing_and_reading() -> None:
    request = parse(invite().encode())
    assert parse(bytes(request)) == request
    assert isinstance(request, Request)
    response = request.response(200, tag="x", body=b"abc")
    again = parse(bytes(response))
    assert isinstance(again, Response)
    assert (again.status, again.phrase, again.body) == (200, "OK", b"abc")


def test_what_is_longer_than_declared_is_cut() -> None:
    assert parse(VALID["body is cut"]).body == b"ab"
    assert parse(text(body=b"abcd")).body == b"abcd"


def test_phrases_are_printable() -> None:
    request = parse(text())
    assert isinstance(request, Request)
    answer = bytes(request.response(200)).replace(b"200 OK", b"200 O\x1b[2J\xff")
    parsed = parse(answer)
    assert isinstance(parsed, Response)
    assert parsed.phrase == "O\ufffd[2J\ufffd"


@given(st.binary(max_size=400))
def test_any_bytes_give_a_message_or_a_sip_error(data: bytes) -> None:
    try:
        parse(data)
    except SipError as error:
        assert error.reason


@given(st.data())
def test_any_mutation_gives_a_message_or_a_sip_error(data: st.DataObject) -> None:
    seed = bytearray(data.draw(st.sampled_from([*VALID.values(), *INVALID.values(), invite().encode()])))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(seed)))
        cut = data.draw(st.integers(0, 8))
        seed[at : at + cut] = data.draw(st.binary(max_size=8))
    try:
        message = parse(bytes(seed))
    except SipError as error:
        if error.request is not None:
            bytes(error.request.response(error.status, error.phrase, tag="t"))
        return
    if isinstance(message, Request):
        bytes(message.stamped(("192.0.2.1", 5060)).response(200, tag="t"))


def test_what_has_no_via_cannot_be_stamped() -> None:
    with pytest.raises(SipError) as caught:
        parse(text(Via=None))
    request = caught.value.request
    assert request is not None
    with pytest.raises(SipError, match="Missing Via"):
        request.stamped(("192.0.2.7", 999))
