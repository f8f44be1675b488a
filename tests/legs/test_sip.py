"""The leg of an incoming call: what is answered when, and what flows then."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bridge.legs.leg import LegRefused
from bridge.media.ports import NoPort
from bridge.records import EndReason
from bridge.sip.errors import SipError
from bridge.sip.info import DTMF_RELAY
from bridge.sip.sdes import Crypto, Policy
from bridge.sip.sdp import SessionDescription
from tests.legs.wooden import Bench, description
from tests.media.phone import until

FRAME = bytes(160)


async def test_an_offer_is_answered_with_its_law() -> None:
    with Bench("8 0 101").prepared() as bench:
        bench.leg.ring()
        bench.leg.answer()
        assert bench.invitation.told == ["180", "200"]
        assert (bench.leg.codec.name, bench.ours.media[0].formats) == ("PCMA", ("8", "101"))


async def test_nothing_leaves_before_the_caller_has_shown_that_he_is_there() -> None:
    with Bench().prepared() as bench:
        bench.leg.answer()
        bench.tick(3)
        assert bench.phone.received() == []
        bench.invitation.on_confirmed(None)
        bench.tick(1)
        assert len(bench.phone.received()) == 1


async def test_a_delayed_offer_is_ours_and_the_ack_brings_the_law() -> None:
    with Bench(delayed=True).prepared() as bench:
        connected: list[str] = []
        bench.leg.on_connected = lambda: connected.append(bench.leg.codec.name)
        bench.leg.ring()
        bench.leg.answer()
        assert bench.invitation.told == ["180 offer", "200"]
        assert bench.ours.media[0].formats == ("0", "8", "9", "107", "101", "102") and connected == []
        bench.invitation.on_confirmed(bench.offer("8 96"))
        assert connected == ["PCMA"] and bench.leg.agreed is not None
        assert (bench.leg.agreed.telephone_event, bench.leg.agreed.receive_telephone_event) == ((96, 8000), (101, 8000))


async def test_an_ack_without_a_description_or_with_a_useless_one_is_the_end() -> None:
    with Bench(delayed=True).prepared() as bench:
        bench.leg.answer()
        bench.invitation.on_confirmed(None)
        bench.invitation.on_confirmed(bench.offer("18"))
        assert bench.ended == ["no_common_codec", "no_common_codec"]


class TestEarlyMedia:
    async def test_183_carries_the_answer_and_audio_flows_once_the_caller_speaks(self) -> None:
        with Bench().prepared() as bench:
            bench.leg.on_connected = lambda: bench.invitation.told.append("connected")
            bench.leg.progress()
            assert bench.invitation.told == ["183"]
            early = bench.invitation.sent
            bench.phone.to = ("127.0.0.1", bench.ours.media[0].port)
            bench.tick(2)
            assert bench.phone.received() == []
            bench.phone.send(FRAME)
            await until(lambda: bench.leg.stats.packets_in == 1)
            bench.tick(2)
            assert len(bench.phone.received()) == 2
            bench.leg.answer()
            assert bench.invitation.told == ["183", "200", "connected"] and bench.invitation.sent == early

    async def test_without_an_offer_it_only_rings(self) -> None:
        with Bench(delayed=True).prepared() as bench:
            bench.leg.progress()
            assert bench.invitation.told == ["180 offer"]

    async def test_keys_count_from_the_answer_on(self) -> None:
        with Bench().prepared() as bench:
            assert bench.invitation.on_info(DTMF_RELAY, b"Signal=1") == 200
            bench.leg.answer()
            assert bench.invitation.on_info(DTMF_RELAY, b"Signal=2") == 200
            assert bench.digits == ["2"]


class TestRefusal:
    @pytest.mark.parametrize(
        ("section", "warning"),
        [
            ("m=audio 4000 RTP/AVP 18\r\n", "305"),
            ("m=audio 4000 RTP/SAVP 0\r\n", "302"),
            ("m=audio 0 RTP/AVP 0\r\n", "304"),
            ("m=audio 4000 RTP/AVP 0\r\nc=IN IP4 240.1.2.3\r\n", "301"),
            ("m=audio 4000 RTP/AVP 0\r\nc=IN IP4 127.255.255.255\r\n", "301"),
            ("m=audio 4000 RTP/AVP 0\r\nc=IN IP6 2001:db8::1\r\n", "300"),
        ],
    )
    async def test_what_cannot_be_served_is_refused_and_holds_no_port(self, section: str, warning: str) -> None:
        with Bench(offer=description(section)) as bench:
            free = bench.pool.free
            with pytest.raises(LegRefused) as refused:
                bench.leg.prepare()
            assert (refused.value.status, refused.value.word) == (488, "no_common_codec")
            assert dict(refused.value.headers)["Warning"].startswith(f"{warning} 127.0.0.1 ")
            assert bench.pool.free == free

    async def test_no_port_is_a_503(self) -> None:
        with Bench() as bench:

            def none(host: str) -> None:
                raise NoPort("all 4 RTP ports are taken")

            bench.pool.open = none  # type: ignore[method-assign,assignment]
            with pytest.raises(LegRefused) as refused:
                bench.leg.prepare()
            assert (refused.value.status, refused.value.word) == (503, "no_rtp_port")


@settings(max_examples=200)
@given(
    st.sampled_from(["IP4", "IP6"]),
    st.text("0123456789abcdef:.%", min_size=1, max_size=20) | st.text(min_size=1, max_size=9),
    st.sampled_from(["127.0.0.1", "::1"]),
)
@example("IP6", "::%\udcff", "::1")
@example("IP6", "fe80::1%\udcff", "::1")
@example("IP4", "0.0.0.0", "127.0.0.1")
async def test_any_address_is_answered_or_refused(family: str, host: str, local: str) -> None:
    line = f"c=IN {family} {host}\r\n".encode("utf-8", "surrogateescape")
    head = b"v=0\r\no=- 1 1 IN IP4 h\r\ns=-\r\n"
    try:
        offer = SessionDescription.parse(head + line + b"t=0 0\r\nm=audio 4000 RTP/AVP 0\r\n")
    except SipError:
        return
    with Bench(offer=offer) as bench:
        bench.invitation.local_address, bench.invitation.source = local, (local, 5060)
        try:
            bench.leg.prepare()
        except LegRefused as refused:
            assert refused.status == 488
            return
        bench.leg.answer()  # and no packet: the address is anybody's


class TestPlace:
    @pytest.mark.parametrize(
        ("bind_host", "bound"),
        [("0.0.0.0", "0.0.0.0"), ("127.0.0.1", "127.0.0.1"), ("::", "0.0.0.0"), ("::1", "0.0.0.0")],
    )
    async def test_rtp_is_bound_where_the_signalling_is(self, bind_host: str, bound: str) -> None:
        with Bench(bind_host=bind_host).prepared() as bench:
            assert bench.leg._socket is not None
            assert bench.leg._socket.getsockname()[0] == bound

    async def test_ipv6_all_the_way(self) -> None:
        with Bench(offer=description("m=audio 4000 RTP/AVP 0\r\nc=IN IP6 ::1\r\n")) as bench:
            bench.invitation.source, bench.invitation.local_address = ("::1", 5060), "::1"
            bench.invitation.bind_host = "::"
            bench.prepared().leg.answer()
            assert b"c=IN IP6 ::1\r\n" in bench.invitation.sent
            assert bench.leg.stream is not None and bench.leg.stream.remote == ("::1", 4000)
            bench.invitation.on_confirmed(None)
            bench.tick(2)
            assert bench.leg.stats.packets_out == 2

    async def test_a_name_in_the_description_is_where_the_signalling_came_from(self) -> None:
        with Bench(offer=description("m=audio 4000 RTP/AVP 0\r\nc=IN IP4 phone.example\r\n")).prepared() as bench:
            assert bench.leg.stream is not None and bench.leg.stream.remote == ("127.0.0.1", 4000)


class TestSrtp:
    @pytest.mark.parametrize(
        ("srtp", "protocol", "answered"),
        [
            ("off", "RTP/AVP", "RTP/AVP"),
            ("off", "RTP/SAVP", None),
            ("optional", "RTP/AVP", "RTP/AVP"),
            ("optional", "RTP/SAVP", "RTP/SAVP"),
            ("required", "RTP/AVP", None),
            ("required", "RTP/SAVPF", "RTP/SAVPF"),
        ],
    )
    async def test_as_configured(self, srtp: Policy, protocol: str, answered: str | None) -> None:
        key = Crypto.new(1, "AES_CM_128_HMAC_SHA1_80")
        with Bench(srtp=srtp) as bench:
            bench.invitation.offer = bench.offer("0", f"crypto:{key.value}", protocol=protocol)
            if answered is None:
                with pytest.raises(LegRefused):
                    bench.leg.prepare()
                return
            bench.connected()
            assert bench.ours.media[0].protocol == answered
            bench.tick(1)
            [datagram] = [bench.phone.sock.recv(2048)]
            assert len(datagram) == (182 if answered.startswith("RTP/SAVP") else 172)

    @pytest.mark.parametrize(
        ("srtp", "protocol"), [("off", "RTP/AVP"), ("optional", "RTP/AVP"), ("required", "RTP/SAVP")]
    )
    async def test_our_first_offer(self, srtp: Policy, protocol: str) -> None:
        with Bench(delayed=True, srtp=srtp).prepared() as bench:
            bench.leg.answer()
            assert bench.ours.media[0].protocol == protocol
            bench.invitation.on_confirmed(bench.far_answer())
            assert bench.leg.agreed is not None
            assert (bench.leg.agreed.security is not None) == (srtp == "required")


async def test_the_end_says_why_and_lets_go() -> None:
    with Bench().connected() as bench:
        bench.leg.close(EndReason.RTP_TIMEOUT)
        assert bench.invitation.told[-1] == f'bye SIP;cause=408;text="{EndReason.RTP_TIMEOUT.value}"'
        bench.invitation.on_ended("bye")
        assert bench.ended == [] and bench.invitation.on_offer(None) == 481
        assert bench.invitation.on_info(DTMF_RELAY, b"Signal=1") == 481 and bench.digits == []
        assert bench.pool.free == bench.pool.size
        assert bench.leg.stats.packets_in == 0
