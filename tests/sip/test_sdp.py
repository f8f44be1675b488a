"""Session descriptions: read, written, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.sip.errors import SipError
from bridge.sip.sdp import Connection, Media, Origin, SessionDescription

FULL = (
    b"v=0\r\no=jdoe 2890844526 2890842807 IN IP4 10.47.16.5\r\ns=SDP Seminar\r\ni=A Seminar\r\n"
    b"u=http://x\r\ne=j@x\r\np=+1\r\nc=IN IP4 10.47.16.5\r\nb=AS:128\r\nt=2873397496 2873404696\r\nr=7d 1h 0 25h\r\n"
    b"z=1 1h\r\nk=prompt\r\na=recvonly\r\na=group:BUNDLE a\r\n"
    b"m=audio 49170/2 RTP/AVP 0 96\r\ni=title\r\nc=IN IP6 ff15::101/3\r\nb=TIAS:1\r\nk=clear:x\r\n"
    b"a=rtpmap:96 L8/8000\r\na=sendonly\r\na=ice-ufrag:x:y\r\nm=video 0 RTP/SAVPF 99\r\n"
)


def parse(text: bytes) -> SessionDescription:
    return SessionDescription.parse(text)


def test_every_line_has_its_place() -> None:
    session = parse(FULL)
    assert session.origin == Origin("jdoe", "2890844526", "2890842807", "10.47.16.5")
    assert session.connection == Connection("10.47.16.5")
    assert session.times == ("2873397496 2873404696",)
    assert ("group", "BUNDLE a") in session.attributes
    audio, video = session.media
    assert (audio.kind, audio.port, audio.port_count, audio.formats) == ("audio", 49170, 2, ("0", "96"))
    assert session.connection_of(audio) == Connection("ff15::101", "IP6")
    assert session.connection_of(video) == session.connection
    assert (session.direction_of(audio), session.direction_of(video)) == ("sendonly", "recvonly")
    assert audio.encodings() == {"0": ("PCMU", 8000), "96": ("L8", 8000)}
    assert audio.attribute("ice-ufrag") == "x:y"
    assert audio.attribute("ptime") is None


def test_written_it_is_what_came_except_the_multicast_scope() -> None:
    assert bytes(parse(FULL)) == FULL.replace(b"ff15::101/3", b"ff15::101")
    assert parse(bytes(parse(FULL))) == parse(FULL)


def test_an_rtpmap_overrides_a_static_type() -> None:
    lines = (("rtpmap", "0 G729/8000/1"), ("rtpmap", "0 L16/8000"), ("rtpmap", "x"), ("rtpmap", None))
    media = Media("audio", 1, "RTP/AVP", ("0", "8", "9"), attributes=lines)
    assert media.encodings() == {"0": ("G729", 8000), "8": ("PCMA", 8000), "9": ("G722", 8000)}


def test_line_feeds_alone_and_no_times_are_tolerated() -> None:
    session = parse(b"v=0\no=- 1 1 IN IP4 h\ns=\nc=IN IP4 h\nm=audio 1 RTP/AVP 0\n\n")
    assert session.media[0].port == 1
    assert session.times == ()


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"v=1\r\n",
        b"v=0\r\n",
        b"v=0\r\ns=-\r\nm=audio 1 RTP/AVP 0\r\n",
        b"v=0\r\no=- 1 1 IN IP4\r\n",
        b"v=0\r\no=- 1 1 IN IP4 h\r\nc=IN IP4\r\n",
        b"v=0\r\no=- 1 1 IN IP4 h\r\nc=OUT IP4 h\r\n",
        b"v=0\r\no=- 1 1 IN IP4 h\r\nq=x\r\n",
        b"v=0\r\no=- 1 1 IN IP4 h\r\nm=audio 1 RTP/AVP\r\n",
        b"v=0\r\no=- 1 1 IN IP4 h\r\nm=audio 65536 RTP/AVP 0\r\n",
        b"v=0\r\no=- 1 1 IN IP4 h\r\nm=audio -1 RTP/AVP 0\r\n",
        b"v=0\r\no=- 1 1 IN IP4 h\r\nm=audio 1/x RTP/AVP 0\r\n",
        b"v=0\r\no=- 1 1 IN IP4 h\r\nm=audio 1 RTP/AVP 0\r\no=- 1 1 IN IP4 h\r\n",
        b"v=0\r\no=- 1 1 IN IP4 h\r\n\r\nm=audio 1 RTP/AVP 0\r\n",
        b"v=0\r\no=- 1 1 IN IP4 h\r\na=\x00\r\n",
        b"GET / HTTP/1.1\r\n",
    ],
)
def test_malformed_descriptions(text: bytes) -> None:
    with pytest.raises(SipError) as caught:
        parse(text)
    assert caught.value.status == 400
    assert caught.value.phrase.startswith("Malformed SDP")


def test_a_stream_that_is_off_may_lack_its_formats() -> None:
    session = parse(b"v=0\r\no=- 1 1 IN IP4 h\r\nc=IN IP4 h\r\nm=image 0 udptl\r\n")
    assert bytes(session).endswith(b"m=image 0 udptl\r\n")
    assert session.media[0].declined == Media("image", 0, "udptl", ("0",))


def test_the_first_of_several_connections_counts() -> None:
    head = b"v=0\r\no=- 1 1 IN IP4 h\r\nc=IN IP4 a\r\nc=IN IP4 b\r\n"
    session = parse(head + b"m=audio 1 RTP/AVP 0\r\nc=IN IP4 224.2.1.1/127/3\r\nc=IN IP4 224.2.1.2/127/3\r\n")
    assert (session.connection, session.media[0].connection) == (Connection("a"), Connection("224.2.1.1"))


@pytest.mark.parametrize(
    "tail",
    [
        b"m=audio 1 RTP/AVP 0\r\n" * 33,
        b"m=audio 1 RTP/AVP" + b" 0" * 129 + b"\r\n",
        b"a=x\r\n" * 2000,
    ],
)
def test_a_description_has_bounds(tail: bytes) -> None:
    with pytest.raises(SipError):
        parse(b"v=0\r\no=- 1 1 IN IP4 h\r\n" + tail)


def test_no_key_is_in_a_repr() -> None:
    stream = b"m=audio 1 RTP/SAVP 0\r\nk=clear:SECRET\r\na=crypto:1 X inline:SECRET\r\n"
    session = parse(b"v=0\r\no=- 1 1 IN IP4 h\r\nk=clear:SECRET\r\n" + stream)
    assert bytes(session).count(b"SECRET") == 3 and "SECRET" not in repr(session)


@given(st.binary(max_size=200))
def test_any_bytes_give_a_description_or_a_sip_error(data: bytes) -> None:
    for text in (data, b"v=0\r\no=- 1 1 IN IP4 h\r\n" + data, FULL + b"a=" + data):
        try:
            session = parse(text)
        except SipError:
            continue
        assert parse(bytes(session)) == session


@given(st.data())
def test_a_mutated_description_can_be_written_when_it_can_be_read(data: st.DataObject) -> None:
    text = bytearray(FULL)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text)))
        text[at : at + data.draw(st.integers(0, 5))] = data.draw(st.binary(max_size=5))
    try:
        session = parse(bytes(text))
    except SipError:
        return
    assert parse(bytes(session)) == session
