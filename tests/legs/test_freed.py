"""A leg that is closed, or was never a call, is freed with its stream by reference counts alone."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from weakref import ref

import pytest

from bridge.legs.leg import LegRefused
from bridge.legs.wishes import Wishes
from bridge.media.control import ControlChannel
from bridge.media.endpoint import RtpEndpoint
from bridge.media.incoming import Incoming
from bridge.media.outgoing import Outgoing
from bridge.media.playout import Playout
from bridge.media.stream import MediaStream
from bridge.records import EndReason
from bridge.sip.outgoing import Failure
from tests.counted import alive, uncollected
from tests.legs.test_outgoing import Bench as Calling
from tests.legs.wooden import Bench

WHOLE = Wishes(echo_guard=True, inband_digits=True)


@pytest.fixture(autouse=True)
def counted() -> Iterator[None]:
    with uncollected():
        yield


def assert_freed(bench: Any) -> None:
    """Nothing is left of its leg."""
    leg, bench.leg = ref(bench.leg), SimpleNamespace(release=lambda: None)
    assert leg() is None, "still held, or in a cycle"
    assert alive(MediaStream, RtpEndpoint, Incoming, Outgoing, ControlChannel, Playout) == []


class Tap:
    """Listens to a leg."""

    def slot(self, ms: int, missed: int = 0) -> None: ...
    def sent(self, audio: bytes) -> None: ...
    def heard(self, audio: bytes) -> None: ...
    def follow(self, audio_format: object) -> None: ...


@pytest.mark.parametrize("srtp", ["off", "optional"])
@pytest.mark.parametrize("wishes", [Wishes(), WHOLE], ids=["plain", "whole"])
async def test_a_caller(wishes: Wishes, srtp: Any) -> None:
    with Bench(srtp=srtp) as bench:
        bench.leg._wishes = wishes
        bench.connected()
        stream = bench.leg.stream
        assert stream is not None
        bench.leg.record(Tap())
        bench.tick(3)
        bench.leg.play("a", bytes(1600))
        bench.leg.close(EndReason.CALLER_HUNG_UP)
        late(bench, stream)
        del stream
        assert_freed(bench)


def late(bench: Bench, stream: MediaStream) -> None:
    """What may come in the very turn of the end, or after it."""
    stream._tick(bench.now, 0)
    stream._endpoint.read()
    assert stream._endpoint.send(bytes(12)) is False
    stream._end_gap(bench.now)
    stream._on_timeout()
    stream.playout.flush()
    bench.leg.on_audio = lambda audio: None
    bench.leg.play("b", bytes(160))
    bench.leg.record(None)
    bench.leg.close(EndReason.CALLER_HUNG_UP)
    assert bench.leg.stats.counts()["packets_out"] >= 0


async def test_one_on_hold() -> None:
    with Bench() as bench:
        bench.connected()
        bench.leg.hold()
        bench.taken(direction="recvonly")
        bench.leg.close(EndReason.CALLER_HUNG_UP)
        bench.leg.on_audio = lambda audio: None
        bench.invitation.on_result = None  # type: ignore[assignment]
        assert_freed(bench)


async def test_one_who_is_refused() -> None:
    with Bench("18") as bench:
        with pytest.raises(LegRefused):
            bench.leg.prepare()
        assert_freed(bench)


async def test_one_who_gives_up_before_the_answer() -> None:
    with Bench() as bench:
        bench.prepared()
        bench.leg.ring()
        bench.leg.close(EndReason.CALLER_CANCELLED)
        assert_freed(bench)


async def test_one_whose_codec_changes() -> None:
    with Bench() as bench:
        bench.leg._wishes = WHOLE
        bench.connected()
        bench.reinvited(bench.offer("8 101"))
        bench.leg.close(EndReason.CALLER_HUNG_UP)
        assert_freed(bench)


@pytest.mark.parametrize("end", ["answered", "refused", "cancelled", "early media", "over by itself"])
async def test_somebody_who_is_called(end: str) -> None:
    with Calling() as bench:
        bench.dialled()
        leg: Any = bench.leg
        call = bench.call
        if end == "early media":
            call.on_early_media(bench.answer())
        if end in ("answered", "over by itself"):
            call.on_answered(bench.answer())
        if end == "over by itself":
            call.on_ended("bye")
        elif end == "refused":
            call.on_failed(Failure(486, "Busy Here", "busy"))
        else:
            leg.close(EndReason.CALLER_HUNG_UP)
        call.on_ringing(180)
        call.on_early_media(bench.answer())
        call.on_answered(bench.answer())
        call.on_failed(Failure(487, "Request Terminated", "cancelled"))
        call.on_ended("bye")
        del leg
        assert_freed(bench)
