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
    assert description.media[0].encodings() == {str(payload_type): (codec, 8000)}


def test_our_preference_can_rule() -> None:
    assert answered(audio("0 8"), preferences=(("PCMA",), ("PCMU",)))[1].codec == "PCMA"
    assert answered(audio("0 8"), preferences=(("PCMA", "PCMU"),))[1].codec == "PCMU"
    assert answered(audio("0 8"), preferences=(("PCMA",),))[1].codec == "PCMA"


OPUS = "rtpmap:111 opus/48000/2"


@pytest.mark.parametrize(
    ("formats", "preferences", "codec"),
    [
        ("111 9 0", (("PCMU", "PCMA"), ("G722",), ("OPUS",)), ("PCMU", 0)),
        ("111 9", (("PCMU", "PCMA"), ("G722",), ("OPUS",)), ("G722", 9)),
        ("111", (("PCMU", "PCMA"), ("G722",), ("OPUS",)), ("OPUS", 111)),
        ("0 9 111", (("OPUS",), ("G722",), ("PCMU",)), ("OPUS", 111)),
    ],
)
def test_wider_codecs_by_tiers(formats: str, preferences: tuple[tuple[str, ...], ...], codec: tuple[str, int]) -> None:
    description, negotiated = answered(audio(formats, OPUS), preferences=preferences)
    assert (negotiated.codec, negotiated.send_payload_type) == codec
    assert negotiated.receives_as == ((codec[1], codec[0]),)
    assert description.media[0].formats == (str(codec[1]),)


def test_opus_is_written_with_two_channels_and_asks_for_mono() -> None:
    description, _ = answered(audio("111", OPUS), preferences=(("OPUS",),))
    assert ("rtpmap", "111 opus/48000/2") in description.media[0].attributes
    assert "stereo=0" in str(description.media[0].attribute("fmtp"))


@pytest.mark.parametrize(
    ("events", "codec", "agreed"),
    [
        (("101 telephone-event/8000", "102 telephone-event/48000"), "OPUS", (102, 48000)),
        (("101 telephone-event/8000",), "OPUS", (101, 8000)),
        (("102 telephone-event/48000",), "PCMU", None),
        (("102 telephone-event/48000", "101 telephone-event/8000"), "PCMU", (101, 8000)),
    ],
)
def test_events_are_those_of_the_codecs_clock(
    events: tuple[str, ...], codec: str, agreed: tuple[int, int] | None
) -> None:
    attributes = (OPUS, *(f"rtpmap:{event}" for event in events))
    description, negotiated = answered(audio("0 111 101 102", *attributes), preferences=((codec,),))
    assert negotiated.telephone_event == negotiated.receive_telephone_event == agreed
    wanted = f"{agreed[0]} telephone-event/{agreed[1]}" if agreed else None
    assert (wanted in description.media[0].values("rtpmap")) == (agreed is not None)


def test_an_offer_of_ours_has_events_of_every_clock() -> None:
    ours = offer("h", 4000, (("OPUS",), ("G722", "PCMU")), session_id=1)
    assert ours.media[0].formats == ("107", "9", "0", "102", "101")
    assert {"102 telephone-event/48000", "101 telephone-event/8000"} <= set(ours.media[0].values("rtpmap"))
    agreed = accept(ours, describe(audio("107 0 101", "rtpmap:107 opus/48000/2", "rtpmap:101 telephone-event/48000")))
    assert (agreed.codec, agreed.telephone_event, agreed.receive_telephone_event) == (
        "OPUS",
        (101, 48000),
        (102, 48000),
    )
    assert agreed.receives_as == ((107, "OPUS"), (9, "G722"), (0, "PCMU"))


@pytest.mark.parametrize(
    ("attributes", "ptime_ms"),
    [
        ((), 20), (("ptime:10",), 10), (("ptime:30",), 30), (("ptime:40",), 40), (("ptime:60",), 60), (("ptime:50",),
        40), (("ptime:5",), 10), (("ptime:200",), 60), (("maxptime:10",), 10), (("ptime:60", "maxptime:30"), 30),
        (("maxptime:150",), 20), (("ptime:x", "maxptime:0"), 20),
    ],
)  # fmt: skip
def test_packets_are_as_long_as_the_peer_wants(attributes: tuple[str, ...], ptime_ms: int) -> None:
    assert answered(audio("0", *attributes))[1].ptime_ms == ptime_ms


@pytest.mark.parametrize(
    ("attributes", "rtcp", "muxed"),
    [
        ((), ("192.0.2.1", 4001, False), False),
        (("rtcp-mux",), ("192.0.2.1", 4000, True), True),
        (("rtcp:4711",), ("192.0.2.1", 4711, False), False),
        (("rtcp:4711 IN IP4 192.0.2.1",), ("192.0.2.1", 4711, False), False),
        (("rtcp:4711 IN IP4 203.0.113.9",), ("192.0.2.1", 4001, False), False),
        (("rtcp:9 IN IP4 0.0.0.0", "rtcp-mux"), ("192.0.2.1", 4000, True), True),
        (("rtcp:99999",), ("192.0.2.1", 4001, False), False),
    ],
)
def test_where_reports_go(attributes: tuple[str, ...], rtcp: tuple[str, int, bool], muxed: bool) -> None:
    description, negotiated = answered(audio("0", *attributes))
    assert negotiated.rtcp == rtcp
    assert (description.media[0].attribute("rtcp-mux") is not None) == muxed


@pytest.mark.parametrize(("payload_type", "taken"), [(63, True), (64, False), (72, False), (95, False), (96, True)])
def test_payload_types_that_look_like_rtcp_are_passed_over(payload_type: int, taken: bool) -> None:
    media = audio(f"{payload_type} 8", f"rtpmap:{payload_type} PCMU/8000")
    assert answered(media)[1].codec == ("PCMU" if taken else "PCMA")


def test_a_peer_may_want_no_reports() -> None:
    media = audio("0").replace("a=", "b=RS:0\r\nb=RR:0\r\na=", 1)
    if "b=RS" not in media:
        media += "b=RS:0\r\nb=RR:0\r\n"
    assert answered(media)[1].rtcp is None


def test_what_is_negotiated() -> None:
    text = audio("8 97 101", "rtpmap:97 telephone-event/16000", "rtpmap:101 Telephone-Event/8000", "ptime:30")
    description, negotiated = answered(text)
    assert negotiated == Negotiated(
        "PCMA", 8, 8, (101, 8000), "192.0.2.1", 4000, "sendrecv", 30, receives_as=((8, "PCMA"),),
        receive_telephone_event=(101, 8000), rtcp=("192.0.2.1", 4001, False),
    )  # fmt: skip
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
        (audio("0", protocol="UDP/TLS/RTP/SAVPF"), 302),
        (audio("0", protocol="TCP/RTP/AVP"), 302),
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
    ours = offer("2001:db8::2", 4000, (("PCMA",), ("PCMU",)), session_id=1)
    theirs, remote = answer(ours, "2001:db8::1", 5000, session_id=2)
    local = accept(ours, theirs)
    assert (local.codec, remote.codec) == ("PCMA", "PCMA")
    assert (local.telephone_event, remote.telephone_event) == ((101, 8000), (101, 8000))
    assert (local.remote_host, local.remote_port) == ("2001:db8::1", 5000)
    assert b"o=- 2 0 IN IP6 2001:db8::1\r\n" in bytes(theirs)


def test_an_answer_with_other_payload_types_goes_both_ways() -> None:
    ours = offer("h", 4000, session_id=1)
    negotiated = accept(ours, describe(audio("96", "rtpmap:96 PCMA/8000")))
    assert (negotiated.send_payload_type, negotiated.receive_payload_type) == (96, 8)
    assert negotiated.receives_as == ((0, "PCMU"), (8, "PCMA"))
    assert (negotiated.telephone_event, negotiated.receive_telephone_event) == (None, (101, 8000))


def test_each_side_names_its_own_payload_type_of_events() -> None:
    ours = offer("h", 4000, session_id=1)
    negotiated = accept(ours, describe(audio("0 96", "rtpmap:96 telephone-event/8000")))
    assert (negotiated.telephone_event, negotiated.receive_telephone_event) == ((96, 8000), (101, 8000))


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
        ("IN IP4 240.0.0.1", "192.0.2.1", "301"),
        ("IN IP4 0.0.0.9", "192.0.2.1", "301"),
        ("IN IP6 127.0.0.1", "192.0.2.1", "301"),
        ("IN IP6 127.0.0.1", "2001:db8::1", "301"),
        ("IN IP4 2001:db8::1", "2001:db8::2", "301"),
        ("IN IP6 ff02::1", "2001:db8::2", "301"),
        ("IN IP6 fe80::1%eth0", "2001:db8::2", "301"),
        ("IN IP6 ::%eth0", "2001:db8::2", "301"),
        ("IN IP6 ::ffff:192.0.2.9", "2001:db8::2", "301"),
    ],
)
def test_an_address_that_our_socket_cannot_reach_is_refused(host: str, local: str, warning: str) -> None:
    text = f"v=0\r\no=- 1 1 IN IP4 x\r\ns=-\r\nc={host}\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"
    with pytest.raises(SipError) as refused:
        answer(SessionDescription.parse(text.encode()), local, 5000, session_id=1)
    assert refused.value.status == 488
    assert dict(refused.value.headers)["Warning"].startswith(warning)


BROWSER = (
    "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"
    "a=group:BUNDLE 0 1 2\r\na=extmap-allow-mixed\r\na=msid-semantic: WMS x\r\na=ice-lite\r\na=setup:actpass\r\n"
    "a=fingerprint:sha-256 AA:BB\r\n"
    "m=video 4002 RTP/AVP 96\r\na=mid:0\r\na=rtcp-fb:96 nack pli\r\na=rtpmap:96 VP8/90000\r\n"
    "m=audio 4000 RTP/AVP 111 0\r\na=mid:1\r\na=candidate:1 1 udp 2130706431 192.0.2.1 4000 typ host\r\n"
    "a=ice-ufrag:x\r\na=ice-pwd:y\r\na=rtcp-mux\r\na=rtcp:9 IN IP4 0.0.0.0\r\na=extmap:1 urn:x\r\na=msid:a b\r\n"
    "a=ssrc:1 cname:x\r\na=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10\r\n"
    "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:2\r\na=sctp-port:5000\r\n"
    "m=image 0 udptl\r\n"
)


def test_what_a_browser_adds_is_passed_over() -> None:
    description, negotiated = answer(SessionDescription.parse(BROWSER.encode()), "192.0.2.10", 5000, session_id=1)
    assert (negotiated.codec, negotiated.remote_port) == ("PCMU", 4000)
    assert [(media.kind, media.port, media.formats) for media in description.media] == [
        ("video", 0, ("96",)),
        ("audio", 5000, ("0",)),
        ("application", 0, ("webrtc-datachannel",)),
        ("image", 0, ("0",)),
    ]
    names = {name for media in (description, *description.media) for name, _ in media.attributes}
    assert names == {"rtpmap", "ptime", "sendrecv", "rtcp-mux"}
    assert SessionDescription.parse(bytes(description)) == description


def test_a_profile_with_feedback_is_answered_in_kind() -> None:
    assert answered(audio("0", protocol="RTP/AVPF"))[0].media[0].protocol == "RTP/AVPF"


@pytest.mark.parametrize(
    ("offered", "ours"),
    [("sendrecv", "sendonly"), ("recvonly", "sendonly"), ("sendonly", "inactive"), ("inactive", "inactive")],
)
def test_while_we_hold_the_answer_lets_nothing_in(offered: str, ours: str) -> None:
    assert answered(audio("0", offered), direction="sendonly")[1].direction == ours


def test_an_old_hold_has_one_spelling() -> None:
    held = describe(audio("0"), connection="IN IP6 0:0:0:0:0:0:0:0")
    negotiated = answer(held, "2001:db8::1", 5000, session_id=1)[1]
    assert (negotiated.remote_host, negotiated.direction) == ("::", "recvonly")


def test_an_offer_within_a_session_keeps_every_stream_in_its_place() -> None:
    first, _ = answered("m=video 4002 RTP/AVP 99\r\n", audio("8", protocol="RTP/AVPF"), "m=image 4004 udptl t38\r\n")
    again = offer("192.0.2.10", 5000, (("PCMA",), ("PCMU",)), session_id=7, previous=first, events={8000: 96})
    assert [(media.kind, media.port, media.protocol, media.formats) for media in again.media] == [
        ("video", 0, "RTP/AVP", ("99",)),
        ("audio", 5000, "RTP/AVPF", ("8", "0", "96")),
        ("image", 0, "udptl", ("t38",)),
    ]
    theirs = describe("m=video 0 RTP/AVP 99\r\n", audio("0", protocol="RTP/AVPF"), "m=image 0 udptl t38\r\n")
    assert accept(again, theirs).codec == "PCMU"
    with pytest.raises(SipError):
        accept(again, describe(audio("0"), "m=video 0 RTP/AVP 99\r\n", "m=image 0 udptl t38\r\n"))
