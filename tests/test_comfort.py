"""What a caller hears while nobody speaks: over a real queue on a clock of the test, and as packets of a real leg."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from bridge.audio.format import Format, Linear, silence_of
from bridge.audio.g711 import Law
from bridge.comfort import PIECE_MS, STEP_S, Comfort, Kind, owns
from bridge.media.playout import Heard, Playout
from bridge.sounds import MUSIC, TONE, Sound
from tests.legs.wooden import Bench as LegBench

SLOT_MS = 20


class Timer:
    def __init__(self, at: float, then: Callable[[], None]) -> None:
        self.at, self.then, self.cancelled = at, then, False

    def cancel(self) -> None:
        self.cancelled = True


class Clock:
    """The loop's clock, moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[Timer] = []

    def later(self, seconds: float, then: Callable[[], None]) -> Timer:
        self.timers = [timer for timer in self.timers if not timer.cancelled]
        self.timers.append(Timer(self.now + seconds, then))
        return self.timers[-1]

    @property
    def running(self) -> int:
        return sum(not timer.cancelled for timer in self.timers)

    def pass_to(self, now: float) -> None:
        self.now = now
        for timer in list(self.timers):
            if not timer.cancelled and timer.at <= now + 1e-9:
                timer.cancelled = True
                timer.then()


class Leg:
    """The queue of a leg, with its slots."""

    def __init__(self, audio_format: Format = Law.PCMU) -> None:
        self.format = audio_format
        self.playout = Playout(SLOT_MS * audio_format.bytes_per_ms, audio_format=audio_format)
        self.flushes = 0
        self.most_ms = 0

    @property
    def drained(self) -> bool:
        return self.playout.drained

    @property
    def queued_ms(self) -> int:
        return self.playout.queued_ms

    def play(self, item_id: str, audio: bytes) -> bool:
        taken = self.playout.push(item_id, audio)
        self.most_ms = max(self.most_ms, self.queued_ms)
        return taken

    def end_item(self, item_id: str) -> None:
        self.playout.end(item_id)

    def flush(self) -> tuple[Heard, ...]:
        self.flushes += 1
        return self.playout.flush()


class Bench:
    def __init__(self, audio_format: Format = Law.PCMU) -> None:
        self.clock = Clock()
        self.leg = Leg(audio_format)
        self.comfort = Comfort(lambda: self.leg, self.clock.later)  # type: ignore[arg-type, return-value]
        self.heard: list[tuple[str, bytes]] = []

    def start(self, kind: Kind = "tone", after_s: float = 0) -> Bench:
        self.comfort.start(kind, after_s)
        return self

    def hear(self, ms: int) -> bytes:
        """Let time pass; the audio of these slots. `heard` keeps which item each was of."""
        audio = b""
        for _ in range(ms // SLOT_MS):
            self.clock.pass_to(self.clock.now + SLOT_MS / 1000)
            frame = self.leg.playout.pull()
            payload = frame.payload if frame is not None else silence_of(SLOT_MS, self.leg.format)
            self.heard.append((frame.item_id if frame is not None else "-", payload))
            audio += payload
        return audio

    @property
    def items(self) -> list[str]:
        """The kinds of what was heard, one after the other: agent, comfort or -."""
        kinds = ["comfort" if owns(item) else item for item, _ in self.heard]
        return [kind for at, kind in enumerate(kinds) if at == 0 or kinds[at - 1] != kind]


def agent_says(leg: Leg, ms: int, item: str = "agent") -> None:
    leg.play(item, b"\x55" * (ms * leg.format.bytes_per_ms))
    leg.end_item(item)


@pytest.mark.parametrize("audio_format", [Law.PCMU, Law.PCMA, Linear(16000), Linear(24000)], ids=lambda one: one.name)
@pytest.mark.parametrize(("kind", "sound"), [("tone", TONE), ("music", MUSIC)])
def test_it_plays_on_and_on_without_a_hole_or_a_seam(kind: Kind, sound: Sound, audio_format: Format) -> None:
    bench = Bench(audio_format).start(kind)
    whole = sound.in_format(audio_format)
    assert bench.hear(42_000) == (whole * 15)[: 42_000 * audio_format.bytes_per_ms]
    assert bench.leg.playout.underruns == 0 and bench.items == ["comfort"]


@pytest.mark.parametrize("ptime_ms", [10, 20, 30, 40, 60])
def test_pieces_join_in_packets_of_any_length(ptime_ms: int) -> None:
    bench = Bench().start("music")
    bench.leg.playout.frame_bytes = ptime_ms * 8
    heard = b""
    while bench.clock.now < 6:
        bench.clock.pass_to(bench.clock.now + ptime_ms / 1000)
        frame = bench.leg.playout.pull()
        assert frame is not None and frame.heard_bytes == ptime_ms * 8, "no packet is filled up with silence"
        heard += frame.payload
    assert heard == MUSIC.in_format(Law.PCMU)[: len(heard)]


def test_little_of_it_waits_at_a_time() -> None:
    bench = Bench().start("music")
    bench.hear(5000)
    assert bench.leg.most_ms <= 2 * PIECE_MS
    for _ in range(100):  # he holds us: nothing leaves
        bench.clock.pass_to(bench.clock.now + STEP_S)
    assert bench.leg.queued_ms <= 2 * PIECE_MS


def test_a_loop_that_stalls_for_half_a_second_is_not_heard() -> None:
    bench = Bench().start("music")
    bench.hear(3000)
    for _ in range(500 // SLOT_MS):
        frame = bench.leg.playout.pull()
        assert frame is not None and owns(frame.item_id)


def test_it_waits_until_the_agent_has_been_heard() -> None:
    bench = Bench()
    agent_says(bench.leg, 1000)
    bench.start()
    assert bench.comfort.is_on and not bench.comfort.is_playing
    bench.hear(3000)
    assert bench.items[0] == "agent" and "comfort" in bench.items and bench.leg.flushes == 0
    assert sum(item == "agent" for item, _ in bench.heard) == 1000 // SLOT_MS
    began = next(at for at, (item, _) in enumerate(bench.heard) if owns(item))
    assert 1000 <= began * SLOT_MS <= 1000 + STEP_S * 1000 and bench.comfort.is_playing


def test_it_waits_for_an_agent_whose_words_are_still_coming() -> None:
    bench = Bench().start("tone", after_s=1)
    bench.leg.playout.announce("agent")
    bench.hear(3000)
    assert not bench.comfort.is_playing and bench.items == ["-"]


def test_it_begins_after_the_time_that_was_asked_for() -> None:
    bench = Bench().start("tone", after_s=2)
    bench.hear(1980)
    assert bench.items == ["-"] and not bench.comfort.is_playing
    bench.hear(200)
    assert bench.items == ["-", "comfort"]


def test_stop_is_silence_at_once_and_what_the_agent_says_then_is_heard_whole() -> None:
    bench = Bench().start("music")
    bench.hear(1000)
    bench.comfort.stop()
    agent_says(bench.leg, 400)
    assert bench.leg.flushes == 1 and not bench.comfort.is_on and not bench.comfort.is_playing
    bench.hear(1000)
    assert bench.items == ["comfort", "", "agent", "-"], "a fall to silence of one packet lies between"
    assert sum(item == "agent" for item, _ in bench.heard) == 400 // SLOT_MS
    assert sum(item == "" for item, _ in bench.heard) == 1
    assert bench.clock.running == 0


def test_stop_before_it_played_leaves_what_the_agent_says_alone() -> None:
    bench = Bench()
    agent_says(bench.leg, 400)
    bench.start()
    bench.comfort.stop()
    bench.comfort.stop()
    bench.hear(1000)
    assert bench.leg.flushes == 0 and bench.items == ["agent", "-"] and bench.clock.running == 0


def test_stopped_twice_it_does_not_cut_what_the_agent_says_between() -> None:
    bench = Bench().start()
    bench.hear(1000)
    bench.comfort.stop()
    agent_says(bench.leg, 400)
    bench.comfort.stop()
    bench.hear(600)
    assert sum(item == "agent" for item, _ in bench.heard) == 400 // SLOT_MS


def test_even_when_nobody_stopped_it_the_agent_waits_for_one_piece_or_two_at_most() -> None:
    bench = Bench().start("music")
    bench.hear(1000)
    agent_says(bench.leg, 2000)
    bench.hear(2 * PIECE_MS + 2000)
    assert sum(item == "agent" for item, _ in bench.heard) == 2000 // SLOT_MS


def test_started_again_it_goes_on_and_another_kind_takes_its_place() -> None:
    bench = Bench().start("music")
    bench.hear(1000)
    bench.start("music")
    assert bench.leg.flushes == 0 and bench.clock.running == 1
    bench.start("tone")
    assert bench.leg.flushes == 1 and bench.clock.running == 1
    bench.hear(SLOT_MS)
    assert bench.hear(300) == TONE.in_format(Law.PCMU)[: 300 * 8]


def test_after_a_stop_it_begins_at_the_beginning() -> None:
    bench = Bench().start("music")
    bench.hear(1000)
    bench.comfort.stop()
    bench.hear(100)
    bench.start("music")
    assert bench.hear(500) == MUSIC.in_format(Law.PCMU)[: 500 * 8]


def test_a_sound_of_the_users_own_of_any_length_goes_round() -> None:
    pcm = b"".join(number.to_bytes(2, "little") for number in range(3333))
    bench = Bench(Linear(16000)).start(Sound.of_pcm("own", pcm, 16000))
    assert bench.hear(2000) == (pcm * 10)[:64_000]


def test_music_is_the_agents_own_where_it_has_some() -> None:
    bench, own = Bench(), Sound.of_pcm("own", b"\1\2" * 8000, 8000)
    bench.comfort = Comfort(lambda: bench.leg, bench.clock.later, music=own)  # type: ignore[arg-type, return-value]
    bench.start("music")
    assert bench.hear(100) == own.in_format(Law.PCMU)[:800]
    bench.start("tone")
    bench.hear(SLOT_MS)
    assert bench.hear(100) == TONE.in_format(Law.PCMU)[:800]


def test_when_the_caller_changes_it_plays_to_the_new_one() -> None:
    bench = Bench().start("music")
    bench.hear(1000)
    former, bench.leg = bench.leg, Leg(Law.PCMA)
    agent_says(bench.leg, 200)
    bench.hear(1000)
    assert sum(item == "agent" for item, _ in bench.heard) == 200 // SLOT_MS, "what the new one hears is not cut"
    assert bench.leg.queued_ms > 0
    bench.comfort.stop()
    assert (former.flushes, bench.leg.flushes) == (0, 1)


def test_what_the_new_one_hears_of_the_agent_is_not_cut_by_a_stop() -> None:
    bench = Bench().start("music")
    bench.hear(1000)
    bench.leg = Leg()
    agent_says(bench.leg, 500)
    bench.clock.pass_to(bench.clock.now + STEP_S)
    assert not bench.comfort.is_playing
    bench.comfort.stop()
    bench.heard.clear()
    bench.hear(1000)
    assert bench.items == ["agent", "-"] and len(bench.heard) == 50
    assert sum(item == "agent" for item, _ in bench.heard) == 500 // SLOT_MS


def test_in_another_format_it_goes_on_where_it_was() -> None:
    bench = Bench().start("music")
    bench.hear(PIECE_MS)
    queued_ms = bench.leg.queued_ms
    bench.leg.format = Linear(24000)
    bench.leg.playout.change(Linear(24000), SLOT_MS * 48)
    bench.hear(queued_ms)
    at = (PIECE_MS + queued_ms) * 48
    assert bench.hear(300) == MUSIC.in_format(Linear(24000))[at : at + 300 * 48]


def test_a_leg_that_takes_nothing_yet_is_asked_again() -> None:
    bench = Bench()
    take, bench.leg.play = bench.leg.play, lambda item_id, audio: False  # type: ignore[method-assign]
    bench.start()
    bench.hear(1000)
    assert not bench.comfort.is_playing
    bench.leg.play = take  # type: ignore[method-assign]
    bench.hear(1000)
    assert bench.comfort.is_playing and bench.items == ["-", "comfort"]


def test_its_items_are_told_from_the_agents() -> None:
    bench = Bench().start()
    bench.hear(1000)
    agent_says(bench.leg, 100, "item_1")
    cut = [heard.item_id for heard in bench.leg.flush()]
    assert [item for item in cut if not owns(item)] == ["item_1"] and len(cut) > 1


# Over a real leg


@pytest.fixture
def phone_call() -> Iterator[LegBench]:
    with LegBench() as bench:
        yield bench


async def test_a_phone_hears_it_byte_for_byte_and_then_the_agent(phone_call: LegBench) -> None:
    clock, leg = Clock(), phone_call.connected().leg
    comfort = Comfort(lambda: leg, clock.later)  # type: ignore[arg-type]
    comfort.start("music")
    heard = b""

    def listen(slots: int) -> None:
        nonlocal heard
        for _ in range(slots):
            clock.pass_to(clock.now + SLOT_MS / 1000)
            phone_call.tick()
            heard += b"".join(packet.payload for packet in phone_call.phone.received())

    listen(1)
    silence = len(heard) - len(heard.lstrip(b"\xff"))
    listen(150)
    comfort.stop()
    leg.play("agent", b"\x55" * 800)
    leg.end_item("agent")
    music, agent = heard[silence:], len(heard)
    listen(20)
    assert music == MUSIC.in_format(Law.PCMU)[: len(music)] and len(music) >= 145 * 160
    assert heard[agent:].count(b"\x55") == 800 and leg.stream is not None
    assert leg.stream.playout.underruns == 0
