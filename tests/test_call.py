"""The story of a call, with a leg and a session made of wood."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any

import pytest

from bridge.audio.g711 import Law, translation
from bridge.call import Call
from bridge.config import Agent
from bridge.media.codecs import CODECS
from bridge.media.stats import MediaStats
from bridge.realtime import events as ev
from bridge.realtime.dialer import SessionFailed
from bridge.realtime.protocol import Abilities
from bridge.realtime.session_counts import SessionCounts
from bridge.records import CallRecord, EndReason
from bridge.sounds import MUSIC
from bridge.tools.offered import Offered
from tests.transfer.wooden import Party

own = ContextVar("own", default="nobody's")


class Leg:
    call_id, caller, dialled, codec = "abc", "", "600", CODECS["PCMU"]

    def __init__(self) -> None:
        self.told: list[str] = []
        self.on_connected: Callable[[], None]
        self.on_ended: Callable[[str, str], None]
        self.on_audio: Callable[[bytes], None]
        self.on_drained: Callable[[], None]
        self.on_talkspurt: Callable[[], None]
        self.queued_ms = 0
        self.on_digit: Callable[[str], None]
        self.drained = True
        self.stats = MediaStats()

    def ring(self) -> None:
        self.told.append("ring")

    def answer(self) -> None:
        self.told.append("answer")
        self.on_connected()

    def refuse(self, status: int, headers: Sequence[tuple[str, str]] = ()) -> None:
        self.told.append(f"refuse {status}")

    def close(self, reason: EndReason) -> None:
        self.told.append(f"close {reason.value}")

    def play(self, item_id: str, audio: bytes) -> bool:
        self.told.append(f"play {item_id}")
        return True

    can_play = True

    def pause(self) -> None: ...
    def unpause(self) -> None: ...

    def flush(self) -> tuple[Any, ...]:
        return ()

    def end_item(self, item_id: str) -> None:
        if item_id == "broken":
            raise RuntimeError("a fault of ours")

    def end_all(self) -> None: ...

    @property
    def format(self) -> Any:
        return self.codec.audio_format

    def record(self, tap: Any) -> None: ...


class Session:
    """Opens when told to; its reader gives the events of `feed`."""

    def __init__(self, on_event: Callable[[ev.Event], None]) -> None:
        self.on_event = on_event
        self.opened: asyncio.Future[ev.Ready] = asyncio.get_running_loop().create_future()
        self.feed: asyncio.Queue[ev.Event] = asyncio.Queue()
        self.closed = False
        self.greeted = 0
        self.audio_in_bytes = self.audio_dropped_bytes = 0
        self.response_active = self.caller_speaking = self.is_away = False
        self.abilities = Abilities()
        self.heard_ms = 0.0

    async def open(self, timeout_s: float) -> ev.Ready:
        return await self.opened

    async def run(self) -> None:
        while True:
            event = await self.feed.get()
            self.on_event(event)
            if isinstance(event, ev.Lost):
                return

    async def close(self) -> None:
        self.closed = True
        self.feed.put_nowait(ev.Lost(1000, ""))

    def release(self) -> None:
        self.on_event = lambda event: None

    def counts(self) -> SessionCounts:
        return SessionCounts()

    def append(self, audio: bytes) -> None: ...
    def greet(self) -> None:
        self.greeted += 1

    def user_text(self, words: str) -> None: ...
    def interrupted(self, heard: object, *, by_server: bool = True) -> list[ev.Truncated]:
        return []


class Bench:
    def __init__(self, **agent: Any) -> None:
        self.leg = Leg()
        profile = SimpleNamespace(
            name="test",
            agent=Agent.model_validate(agent),
            sounds={},
            music=MUSIC,
            offered=Offered(()),
            format_for=lambda audio: audio,
            lasting=lambda audio, variables, transcript, on_event, is_quiet: Session(on_event),
        )
        self.call = Call(self.leg, profile)  # type: ignore[arg-type]
        self.session: Any = self.call.session
        self.running: asyncio.Task[CallRecord] = asyncio.create_task(self.call.run())

    async def ready(self) -> Bench:
        self.session.opened.set_result(ev.Ready("s", "m", Law.PCMU, Law.PCMU))
        while "answer" not in self.leg.told:
            await asyncio.sleep(0)
        return self

    async def record(self) -> CallRecord:
        return await asyncio.wait_for(self.running, 5)


async def test_it_rings_opens_the_session_and_answers_only_then() -> None:
    bench = Bench()
    for _ in range(5):
        await asyncio.sleep(0)
    assert bench.leg.told == ["ring"]
    await bench.ready()
    assert bench.leg.told == ["ring", "answer"]
    bench.leg.on_ended("bye", "")
    record = await bench.record()
    assert (record.reason, record.answered) == (EndReason.CALLER_HUNG_UP, True)
    assert bench.leg.told[-1] == "close caller_hung_up" and bench.session.closed


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("cancelled", EndReason.CALLER_CANCELLED),
        ("bye", EndReason.CALLER_HUNG_UP),
        ("ack_timeout", EndReason.ACK_TIMEOUT),
        ("rtp_timeout", EndReason.RTP_TIMEOUT),
        ("transport_error", EndReason.SIGNALLING_LOST),
    ],
)
async def test_each_end_of_the_leg_has_its_reason(word: str, reason: EndReason) -> None:
    bench = await Bench().ready()
    bench.leg.on_ended(word, "")
    assert (await bench.record()).reason is reason


async def test_a_caller_who_gives_up_first_stops_the_opening() -> None:
    bench = Bench()
    await asyncio.sleep(0)
    bench.leg.on_ended("cancelled", "")
    record = await bench.record()
    assert (record.reason, record.answered) == (EndReason.CALLER_CANCELLED, False)
    assert bench.session.opened.cancelled() and bench.session.closed


async def test_a_session_that_fails_is_a_503() -> None:
    bench = Bench()
    bench.session.opened.set_exception(SessionFailed("invalid_api_key", "no"))
    record = await bench.record()
    assert (record.reason, record.detail) == (EndReason.SESSION_FAILED, "invalid_api_key")
    assert bench.leg.told == ["ring", "refuse 503", "close session_failed"]


async def test_the_first_reason_counts() -> None:
    bench = await Bench().ready()
    bench.call.end(EndReason.TIME_LIMIT)
    bench.leg.on_ended("bye", "")
    assert (await bench.record()).reason is EndReason.TIME_LIMIT


async def test_a_lost_session_ends_the_call() -> None:
    bench = await Bench().ready()
    bench.session.feed.put_nowait(ev.Lost(1011, "keepalive ping timeout"))
    record = await bench.record()
    assert (record.reason, record.detail) == (EndReason.SESSION_LOST, "1011 keepalive ping timeout")


async def test_a_fault_of_ours_ends_the_call_and_is_told() -> None:
    bench = await Bench().ready()
    bench.session.feed.put_nowait(ev.AudioEnd("broken"))
    with pytest.raises(RuntimeError, match="a fault of ours"):
        await bench.record()
    assert bench.leg.told[-1] == "close internal_error" and bench.session.closed


async def test_a_fatal_error_ends_the_call_even_after_a_flood_of_others() -> None:
    bench = await Bench().ready()
    for number in range(100):
        bench.session.feed.put_nowait(ev.SessionError(f"code{number}", "words"))
    bench.session.feed.put_nowait(ev.SessionError("insufficient_quota", "no credit", fatal=True))
    assert (await bench.record()).reason is EndReason.SESSION_FAILED
    assert len(bench.call.counts.session_errors) <= 33


async def test_what_is_no_error_code_becomes_no_label() -> None:
    bench = await Bench().ready()
    for code in ("weird_sk-KEY", "x" * 100, "Two words", "server_error"):
        bench.session.feed.put_nowait(ev.SessionError(code, "words"))
    bench.session.feed.put_nowait(ev.Lost(1000, ""))
    await bench.record()
    assert bench.call.counts.session_errors == {"other": 3, "server_error": 1}


async def test_a_failed_response_for_lack_of_credit_is_no_silent_call() -> None:
    bench = await Bench().ready()
    bench.session.feed.put_nowait(ev.ResponseEnded("r", "failed", "insufficient_quota"))
    assert (await bench.record()).reason is EndReason.SESSION_FAILED


async def test_a_caller_who_changes_his_law_is_translated_anew() -> None:
    bench = Bench()
    heard: list[bytes] = []
    bench.session.append = heard.append
    await bench.ready()
    code = bytes(range(256))
    bench.leg.on_audio(code)
    bench.leg.codec = CODECS["PCMA"]
    bench.leg.on_format()
    bench.leg.on_audio(code)
    played: list[bytes] = []
    bench.leg.play = lambda item_id, audio: bool(played.append(audio)) or True  # type: ignore[method-assign]
    bench.session.feed.put_nowait(ev.AudioDelta("i", code))
    bench.session.feed.put_nowait(ev.Lost(1000, ""))
    await bench.record()
    assert heard == [code, code.translate(translation(Law.PCMA, Law.PCMU))]
    assert played[0] == code.translate(translation(Law.PCMU, Law.PCMA))


async def test_keys_of_a_caller_who_waits_for_somebody_else_are_not_for_the_agent() -> None:
    bench = await Bench().ready()
    bench.call.hearing.close()
    bench.leg.on_digit("5")
    bench.call.hearing.open()
    bench.leg.on_digit("6")
    assert bench.call.counts.digits == 1
    bench.leg.on_ended("bye", "")
    await bench.record()


async def test_what_a_session_says_after_the_caller_was_joined_is_not_heard() -> None:
    bench = await Bench().ready()
    leg, other = Party(), Party()
    bench.call.leg = leg
    bench.call.join(other)  # type: ignore[arg-type]
    bench.session.feed.put_nowait(ev.AudioDelta("i", b"\x01"))
    bench.session.feed.put_nowait(ev.SessionError("insufficient_quota", "no credit", fatal=True))
    bench.session.feed.put_nowait(ev.Lost(1011, "gone"))
    for _ in range(10):
        await asyncio.sleep(0)
    assert leg.played == [] and not bench.running.done()
    other.on_ended("bye", "")
    assert (await bench.record()).reason is EndReason.TRANSFERRED
    assert other.closed == leg.closed == [EndReason.TRANSFERRED]


async def test_what_a_socket_brings_is_logged_as_the_call_s_own(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(Call, "_on_digit", lambda self, digit: seen.append(own.get()))
    token = own.set("of this call")
    bench = await Bench().ready()
    own.reset(token)
    bench.leg.on_digit("1")
    assert (seen, own.get()) == (["of this call"], "nobody's")
    bench.leg.on_ended("bye", "")
    await bench.record()
