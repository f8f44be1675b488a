"""A call of ours as a leg: on a wooden call, with a real phone's RTP on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from bridge.config import Media
from bridge.legs.dialog import MOST_WAITING
from bridge.legs.leg import LegRefused
from bridge.legs.outgoing import OutgoingLeg, cannot_dial
from bridge.media.pacer import PERIOD, SlotClock
from bridge.media.ports import PortPool
from bridge.records import EndReason
from bridge.sip.errors import SipError
from bridge.sip.outgoing import Failure
from bridge.sip.sdp import SessionDescription
from bridge.sip.uri import Uri
from tests.legs.wooden import description
from tests.media.phone import HOST, Phone
from tests.media.test_ports import free_range

TARGET = Uri.parse("sip:200@127.0.0.1:5070")


class Call:
    """What a leg uses of the signalling of a call of ours."""

    def __init__(self) -> None:
        self.id = "second"
        self.path = SimpleNamespace(peer=("127.0.0.1", 5070))
        self.dialog = SimpleNamespace(local_tag="ours", remote_tag="theirs")
        self.told: list[str] = []
        self.infos: list[bytes] = []
        self.awaits_ack = False
        self.on_ringing: Callable[[int], None]
        self.on_early_media: Callable[[SessionDescription], None]
        self.on_answered: Callable[[SessionDescription | None], None]
        self.on_failed: Callable[[Failure], None]
        self.on_ended: Callable[[str], None]

    def hang_up(self, headers: list[tuple[str, str]]) -> None:
        self.told.append(f"hang up {headers[0][1]}")

    def info(self, kind: str, body: bytes, on_result: Callable[[int], None] = lambda status: None) -> None:
        self.infos.append(body)

    def cancel(self, word: str) -> None:
        self.told.append(f"cancel {word}")


class UserAgent:
    """Places calls; the last one's offer and settings are kept."""

    def __init__(self) -> None:
        self.call = Call()
        self.asked_for: list[str] = []
        self.refuses = False
        self.settings: dict[str, Any] = {}

    def local_address_for(self, host: str, advertise: str | None = None) -> str:
        self.asked_for.append(host)
        return advertise or HOST

    def invite(self, target: str, **settings: Any) -> Call:
        if self.refuses:
            raise SipError(416)
        self.settings = {"target": target} | settings
        return self.call


class Bench:
    def __init__(self, ports: int = 4) -> None:
        self.agent, self.slots, self.phone = UserAgent(), SlotClock(early=0), Phone()
        self.pool = PortPool(*free_range(ports))
        media = Media(rtp_timeout_s=1)
        agent: Any = self.agent
        self.leg = OutgoingLeg(agent, pacer=self.slots, ports=self.pool, media=media)
        self.audio: list[bytes] = []
        self.leg.on_audio = self.audio.append
        self.now = 1000.0

    @property
    def call(self) -> Call:
        return self.agent.call

    def dialled(self, ring_limit_s: float = 5, **more: Any) -> Bench:
        self.leg.dial(TARGET, ring_limit_s=ring_limit_s, **more)
        return self

    def answer(self, formats: str = "0 101", host: str = "127.0.0.1") -> SessionDescription:
        lines = f"m=audio {self.phone.address[1]} RTP/AVP {formats}\r\na=rtpmap:101 telephone-event/8000\r\n"
        answer = description(lines)
        return SessionDescription.parse(bytes(answer).replace(b"IN IP4 127.0.0.1", f"IN IP4 {host}".encode()))

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_: object) -> None:
        self.leg.release()
        self.phone.sock.close()


async def test_the_offer_has_its_own_port_and_both_laws() -> None:
    with Bench() as bench:
        bench.dialled(caller="<sip:a@b>", headers=[("X", "y")])
        settings = bench.agent.settings
        assert (settings["target"], settings["caller"], settings["headers"]) == (str(TARGET), "<sip:a@b>", [("X", "y")])
        offer = SessionDescription.parse(settings["sdp"])
        assert b"RTP/AVP 0 8 9 107 101 102" in bytes(offer)
        assert bench.pool.free == bench.pool.size - 1
        assert bench.leg.call_id == "second"


async def test_an_address_of_its_own_stands_in_offer_and_invite() -> None:
    with Bench() as bench:
        bench.dialled(advertise="203.0.113.7")
        offer = SessionDescription.parse(bench.agent.settings["sdp"])
        assert bytes(offer).count(b"IN IP4 203.0.113.7") == 2
        assert bench.agent.settings["advertise"] == "203.0.113.7"


async def test_answered_it_is_a_leg_like_any_other() -> None:
    with Bench() as bench:
        bench.dialled()
        connected: list[str] = []
        bench.leg.on_connected = lambda: connected.append(bench.leg.codec.name)
        bench.call.on_answered(bench.answer("8 101"))
        assert await bench.leg.outcome() == "" and connected == ["PCMA"]
        assert str(bench.leg.replaces) == "second;to-tag=theirs;from-tag=ours"


@pytest.mark.parametrize("early", [False, True])
async def test_an_answer_that_we_cannot_use_ends_it(early: bool) -> None:
    with Bench() as bench:
        bench.dialled()
        if early:
            bench.call.on_early_media(bench.answer("18"))
            assert bench.leg.stream is None, "the answer may bring better"
        bench.call.on_answered(bench.answer("18") if early else None)
        assert await bench.leg.outcome() == "no_common_codec"
        assert bench.call.told == ['hang up SIP;cause=488;text="no_common_codec"']
        assert bench.pool.free == bench.pool.size


async def test_a_failure_has_its_word_and_gives_the_port_back() -> None:
    with Bench() as bench:
        bench.dialled()
        failure = Failure(486, "Busy Here", "busy")
        bench.call.on_failed(failure)
        assert await bench.leg.outcome() == "busy" and bench.leg.failure is failure
        assert bench.pool.free == bench.pool.size


async def test_a_far_end_that_says_nothing_gets_no_more_than_its_time() -> None:
    """Its transaction lives for 32 s more, the leg does not."""
    with Bench() as bench:
        bench.dialled(ring_limit_s=0.02)
        assert await asyncio.wait_for(bench.leg.outcome(), 1) == "no_answer"
        assert bench.call.told[0] == "cancel no_answer"
        assert bench.leg.failure == Failure(487, "Request Terminated", "no_answer")
        assert bench.pool.free == bench.pool.size


async def test_early_media_is_heard_and_silence_before_the_answer_is_no_fault() -> None:
    with Bench() as bench:
        bench.dialled()
        ringing: list[int] = []
        bench.leg.on_ringing = ringing.append
        bench.call.on_ringing(183)
        bench.call.on_early_media(bench.answer())
        stream = bench.leg.stream
        assert stream is not None and ringing == [183]
        bench.leg.on_ended("rtp_timeout", "")
        assert not bench.leg.is_over and bench.call.told == []
        bench.call.on_early_media(bench.answer("8"))
        assert bench.leg.stream is stream
        bench.call.on_answered(bench.answer())
        assert await bench.leg.outcome() == "" and bench.leg.stream is stream


async def test_silence_after_early_media_counts_from_the_answer() -> None:
    clock = [1000.0]
    with Bench() as bench:
        bench.dialled()
        bench.call.on_early_media(bench.answer())
        assert bench.leg.stream is not None
        bench.leg.stream._clock = lambda: clock[0]
        ended: list[str] = []
        bench.leg.on_ended = lambda word, detail: ended.append(word)

        def pass_on(seconds: float) -> None:
            clock[0] += seconds
            bench.slots.run(lambda: clock[0] + PERIOD)

        bench.leg.stream.start()
        pass_on(2)
        assert ended == ["rtp_timeout"]
        bench.call.on_answered(bench.answer())
        pass_on(0.5)
        assert ended == ["rtp_timeout"]
        pass_on(1)
        assert ended == ["rtp_timeout"] * 2


@pytest.mark.parametrize("word", ["bye", "rtp_timeout", "fault"])
async def test_who_leaves_before_anybody_listens_is_over(word: str) -> None:
    with Bench() as bench:
        bench.dialled()
        bench.call.on_answered(bench.answer())
        bench.leg.on_ended(word, "")
        assert await bench.leg.outcome() == "hung_up" and bench.leg.is_over
        assert bench.pool.free == bench.pool.size


async def test_given_up_it_says_so_and_forgets_its_phone() -> None:
    with Bench() as bench:
        bench.dialled().leg.give_up()
        assert await bench.leg.outcome() == "cancelled"
        assert bench.call.told == ['hang up SIP;cause=200;text="caller_hung_up"'] and bench.pool.free == bench.pool.size


async def test_no_port_and_nowhere_to_call() -> None:
    with Bench(ports=2) as bench:
        sockets = [bench.pool.open(HOST) for _ in range(bench.pool.size)]
        with pytest.raises(LegRefused, match="no_rtp_port"):
            bench.dialled()
        for sock in sockets:
            bench.pool.release(sock)
        bench.agent.refuses = True
        with pytest.raises(SipError):
            bench.dialled()
        assert bench.pool.free == bench.pool.size
    with pytest.raises(LegRefused, match="no_way_out"):
        cannot_dial(TARGET, 5)


async def test_our_address_is_the_one_that_faces_the_next_hop() -> None:
    with Bench() as bench:
        bench.leg.dial(Uri.parse("sip:200@pbx.example"), ring_limit_s=5, routes=["<sip:192.0.2.7;lr>"])
        assert bench.agent.asked_for == ["192.0.2.7"]


async def test_a_name_in_the_answer_is_where_the_answer_came_from() -> None:
    with Bench() as bench:
        bench.leg.dial(Uri.parse("sip:200@pbx.example"), ring_limit_s=5)
        bench.call.path = SimpleNamespace(peer=("127.0.0.9", 5060))
        bench.call.on_answered(bench.answer(host="media.pbx.example"))
        assert bench.leg.stream is not None and bench.leg.stream.remote[0] == "127.0.0.9"


@pytest.mark.parametrize("formats", ["0 101", "0"], ids=["rtp", "info"])
async def test_keys_that_wait_are_bounded(formats: str) -> None:
    """Who is joined to a stranger must not be buried in his keys."""
    with Bench() as bench:
        bench.dialled()
        bench.call.on_answered(bench.answer(formats))
        for _ in range(3 * MOST_WAITING):
            bench.leg.send_digits("5")
        assert bench.leg.stream is not None
        assert max(len(bench.leg.stream.keypad), len(bench.leg._unsent)) == MOST_WAITING
        bench.leg.close(EndReason.TRANSFERRED)
