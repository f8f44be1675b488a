"""Offer and answer: codecs, events, holds, declined streams."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.sip.errors import SipError
from bridge.sip.offer_answer import Negotiated, accept, answer, continued, offer
from bridge.sip.sdp import SessionDescription


def describe(*media: str, connection: str = "IN IP4 192.0.2.1", session: str = "") -> SessionDescription:
    """A description with m= sections given as text."""
    head = f"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc={connection}\r\nt=3 4\r\n{session}"
    return SessionDescription.parse((head + "".join(media)).encode())


def audio(formats: str = "0 8", *attributes: str, port: int = 4000, protocol: str = "RTP/AVP") -> str:
    return f"m=audio {port} {protocol} {formats}\r\n" + "".join(f"a={line}\r\n" for line in attributes)


def answered(*media: str, **options: object) -> tuple[SessionDescription, Negotiated]:
    return answer(describe(*media), "192.0.2.10", 5000, session_id=7, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("formats", "attributes", "codec", "payload_type"),
    [
        ("0 8", (), "PCMU", 0),
        ("8 0", (), "PCMA", 8),
        ("9 18 8", ("rtpmap:9 G722/8000",), "PCMA", 8),
        ("96 8", ("rtpmap:96 pcmu/8000",), "PCMU", 96),
        ("97 0", ("rtpmap:97 PCMU/16000",), "PCMU", 0),
        ("0 8", ("rtpmap:0 G729/8000",), "PCMA", 8),
        ("x 200 8", ("rtpmap:200 PCMU/8000",), "PCMA", 8),
    ],
)
def test_the_first_codec_of_the_offer_wins(
    formats: str, attributes: tuple[str, ...], codec: str, payload_type: int
) -> None:
    description, negotiated = answered(audio(formats, *attributes))
    assert (negotiated.codec, negotiated.send_payload_type, negotiated.receive_payload_type) == (
        codec,
        payload_type,
        payload_type,
    )
    assert description.media[0].formats == (str(payload_type),)
    assert description.media[0].encoding(str(payload_type)) == (codec, 8000)


def test_our_preference_can_rule() -> None:
    assert answered(audio("0 8"), preferences=(8, 0), prefer_ours=True)[1].codec == "PCMA"
    assert answered(audio("0 8"), preferences=(8, 0))[1].codec == "PCMU"
    assert answered(audio("0 8"), preferences=(8,))[1].codec == "PCMA"


def test_what_is_negotiated() -> None:
    text = audio("8 97 101", "rtpmap:97 telephone-event/16000", "rtpmap:101 Telephone-Event/8000", "ptime:30")
    description, negotiated = answered(text)
    assert negotiated == Negotiated("PCMA", 8, 8, 101, "192.0.2.1", 4000, "sendrecv", 30)
    assert (description.origin.session_id, description.origin.version) == ("7", "0")
    assert description.times == ("3 4",)
    assert description.media[0].formats == ("8", "101")
    assert description.media[0].port == 5000
    assert ("fmtp", "101 0-15") in description.media[0].attributes
    assert description.connection is not None and description.connection.host == "192.0.2.10"


def test_no_events_when_none_are_offered() -> None:
    description, negotiated = answered(audio("0"))
    assert negotiated.telephone_event is None
    assert description.media[0].formats == ("0",)


@pytest.mark.parametrize(
    ("lines", "ptime"),
    [((), 20), (("ptime:30",), 30), (("ptime:60", "maxptime:40"), 40), (("ptime:x",), 20), (("ptime:0",), 20)],
)
def test_packet_time(lines: tuple[str, ...], ptime: int) -> None:
    assert answered(audio("0", *lines))[1].ptime_ms == ptime


@pytest.mark.parametrize(
    ("offered", "ours", "sends", "receives"),
    [
        ("sendrecv", "sendrecv", True, True),
        ("sendonly", "recvonly", False, True),
        ("recvonly", "sendonly", True, False),
        ("inactive", "inactive", False, False),
    ],
)
def test_hold(offered: str, ours: str, sends: bool, receives: bool) -> None:
    description, negotiated = answered(audio("0", offered))
    assert (negotiated.direction, negotiated.sends, negotiated.receives) == (ours, sends, receives)
    assert description.direction_of(description.media[0]) == ours


@pytest.mark.parametrize(
    ("offered", "ours"),
    [("sendrecv", "recvonly"), ("sendonly", "recvonly"), ("recvonly", "inactive"), ("inactive", "inactive")],
)
@pytest.mark.parametrize("nowhere", ["IN IP4 0.0.0.0", "IN IP6 ::"])
def test_old_hold(nowhere: str, offered: str, ours: str) -> None:
    description = describe(audio("0", offered), connection=nowhere)
    assert answer(description, "192.0.2.10", 5000, session_id=1)[1].direction == ours


def test_direction_and_connection_of_the_session_and_of_the_stream() -> None:
    description = describe(audio("0"), session="a=sendonly\r\n")
    assert answer(description, "h", 5000, session_id=1)[1].direction == "recvonly"
    own = audio("0").replace("\r\n", "\r\nc=IN IP4 192.0.2.99\r\n", 1)
    assert answered(own)[1].remote_host == "192.0.2.99"


def test_every_stream_is_answered_in_its_place() -> None:
    video, image = "m=video 4002 RTP/AVP 99\r\n", "m=image 4004 udptl t38\r\n"
    secure, second = audio("0", protocol="RTP/SAVP"), audio("8", port=4006)
    description, negotiated = answered(video, secure, audio("8"), second, image)
    assert [(media.kind, media.port, media.protocol, media.formats) for media in description.media] == [
        ("video", 0, "RTP/AVP", ("99",)),
        ("audio", 0, "RTP/SAVP", ("0",)),
        ("audio", 5000, "RTP/AVP", ("8",)),
        ("audio", 0, "RTP/AVP", ("8",)),
        ("image", 0, "udptl", ("t38",)),
    ]
    assert negotiated.remote_port == 4000


@pytest.mark.parametrize(
    ("media", "code"),
    [
        ("", 304),
        ("m=video 4002 RTP/AVP 99\r\n", 304),
        (audio("0", port=0), 304),
        (audio("9 18"), 305),
        (audio("0", protocol="RTP/SAVP"), 302),
        (audio("0", protocol="RTP/AVPF"), 302),
        (audio("0").replace("\r\n", "\r\nc=IN IP4 239.1.1.1/9\r\n", 1), 301),
    ],
)
def test_what_cannot_be_served_is_488_with_a_warning(media: str, code: int) -> None:
    with pytest.raises(SipError) as caught:
        answered(media)
    assert caught.value.status == 488
    name, value = caught.value.headers[0]
    assert name == "Warning" and value.startswith(f"{code} 192.0.2.10 ")


def test_no_connection_at_all() -> None:
    text = b"v=0\r\no=- 1 1 IN IP4 h\r\ns=-\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"
    with pytest.raises(SipError):
        answer(SessionDescription.parse(text), "h", 1, session_id=1)


def test_both_ends_agree() -> None:
    ours = offer("2001:db8::2", 4000, (8, 0), session_id=1)
    theirs, remote = answer(ours, "2001:db8::1", 5000, session_id=2)
    local = accept(ours, theirs)
    assert (local.codec, remote.codec) == ("PCMA", "PCMA")
    assert (local.telephone_event, remote.telephone_event) == (101, 101)
    assert (local.remote_host, local.remote_port) == ("2001:db8::1", 5000)
    assert b"o=- 2 0 IN IP6 2001:db8::1\r\n" in bytes(theirs)


def test_an_answer_with_other_payload_types_goes_both_ways() -> None:
    ours = offer("h", 4000, session_id=1)
    negotiated = accept(ours, describe(audio("96", "rtpmap:96 PCMA/8000")))
    assert (negotiated.send_payload_type, negotiated.receive_payload_type) == (96, 8)
    assert negotiated.telephone_event is None


@pytest.mark.parametrize(
    ("mine", "theirs", "direction"),
    [
        ("sendrecv", "recvonly", "sendonly"),
        ("sendrecv", "sendonly", "recvonly"),
        ("sendonly", "sendrecv", "sendonly"),
        ("recvonly", "recvonly", "inactive"),
        ("inactive", "sendrecv", "inactive"),
    ],
)
def test_an_answer_cannot_allow_more_than_was_offered(mine: str, theirs: str, direction: str) -> None:
    ours = offer("h", 4000, session_id=1, direction=mine)
    assert accept(ours, describe(audio("0", theirs))).direction == direction


@pytest.mark.parametrize("media", [(), (audio("0", port=0),), (audio("9"),), (audio("0"), audio("0"))])
def test_an_answer_without_audio_of_ours_is_refused(media: tuple[str, ...]) -> None:
    with pytest.raises(SipError):
        accept(offer("h", 4000, session_id=1), describe(*media))


def test_the_origin_goes_on_only_when_something_changes() -> None:
    first = bytes(offer("192.0.2.10", 4000, session_id=5, version=2))
    assert continued(first, bytes(offer("192.0.2.10", 4000, session_id=99, version=77))) == first
    changed = SessionDescription.parse(continued(first, bytes(offer("192.0.2.10", 4002, session_id=99))))
    assert (changed.origin.session_id, changed.origin.version, changed.media[0].port) == ("5", "3", 4002)


@given(st.lists(st.sampled_from(["0", "8", "9", "96", "101", "x", "300"]), min_size=1), st.text("av0:=/ 8", max_size=9))
def test_any_offer_gets_an_answer_or_488(formats: list[str], attribute: str) -> None:
    try:
        description, negotiated = answered(audio(" ".join(formats), f"rtpmap:{attribute}"))
    except SipError as error:
        assert error.status == 488
        return
    assert negotiated.codec in ("PCMU", "PCMA")
    assert SessionDescription.parse(bytes(description)) == description


@pytest.mark.parametrize(
    ("host", "local", "warning"),
    [
        ("IN IP6 2001:db8::1", "192.0.2.1", "300"),
        ("IN IP4 192.0.2.1", "2001:db8::1", "300"),
        ("IN IP4 255.255.255.255", "192.0.2.1", "301"),
    ],
)
def test_an_address_that_our_socket_cannot_reach_is_refused(host: str, local: str, warning: str) -> None:
    text = f"v=0\r\no=- 1 1 IN IP4 x\r\ns=-\r\nc={host}\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"
    with pytest.raises(SipError) as refused:
        answer(SessionDescription.parse(text.encode()), local, 5000, session_id=1)
    assert refused.value.status == 488
    assert dict(refused.value.headers)["Warning"].startswith(warning)
