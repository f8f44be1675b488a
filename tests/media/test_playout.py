import random
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from bridge.audio.fade import faded
from bridge.audio.format import Format, Linear
from bridge.audio.g711 import Law, decode, translation
from bridge.media import item as items
from bridge.media.playout import REMEMBERED, Frame, Heard, Playout

SILENCE = b"\xff"


def audio(count: int, start: int = 0) -> bytes:
    """Bytes that differ from silence and from their neighbours."""
    return bytes((start + at) % 251 for at in range(count))


def fall(rest: bytes, law: Law = Law.PCMU) -> Frame:
    """The frame after a cut: what would have come next, ever softer, of no item."""
    return Frame("", faded(rest, law) + bytes((law.silence,)) * (160 - len(rest)), 0)


def drain(playout: Playout, slots: int) -> list[Frame]:
    return [frame for _ in range(slots) if (frame := playout.pull()) is not None]


def test_a_burst_leaves_frame_by_frame() -> None:
    playout = Playout()
    data = audio(1600)
    assert playout.push("a", data)
    frames = drain(playout, 10)
    assert b"".join(frame.payload for frame in frames) == data
    assert playout.sent_ms("a") == 200
    assert playout.pull() is None


def test_chunks_of_any_size_make_whole_frames() -> None:
    playout, data = Playout(), audio(1600)
    sizes, at = [1, 159, 161, 3, 500, 0, 776], 0
    for size in sizes:
        playout.push("a", data[at : at + size])
        at += size
    assert [frame.heard_bytes for frame in drain(playout, 9)] == [160] * 9
    playout.end("a")
    assert drain(playout, 2) == [Frame("a", data[1440:], 160)]


def test_the_last_frame_is_padded_and_the_padding_not_heard() -> None:
    playout = Playout(audio_format=Law.PCMA)
    playout.push("a", audio(250))
    playout.end("a")
    frames = drain(playout, 5)
    assert frames[1] == Frame("a", audio(90, 160) + b"\xd5" * 70, 90)
    assert (len(frames), playout.sent_ms("a"), playout.drained) == (2, 31, True)


def test_a_frame_never_holds_two_items() -> None:
    playout = Playout()
    playout.push("a", b"a" * 200)
    playout.end("a")
    playout.push("b", b"b" * 320)
    playout.end("b")
    frames = drain(playout, 4)
    assert [(frame.item_id, frame.heard_bytes) for frame in frames] == [("a", 160), ("a", 40), ("b", 160), ("b", 160)]
    assert frames[1].payload == b"a" * 40 + SILENCE * 120


class TestStart:
    def test_at_once_when_the_lead_is_there(self) -> None:
        playout = Playout(lead_ms=60)
        playout.push("a", audio(479))
        assert playout.pull() is None
        assert playout.playing is None
        playout.push("a", audio(1))
        assert playout.pull() is not None
        assert playout.playing == "a"

    def test_at_once_when_the_item_has_ended(self) -> None:
        playout = Playout(lead_ms=60)
        playout.push("a", audio(10))
        playout.end("a")
        assert playout.pull() == Frame("a", audio(10) + SILENCE * 150, 10)

    def test_after_the_leads_time_of_waiting(self) -> None:
        playout = Playout(lead_ms=60)
        playout.push("a", audio(320))
        assert [playout.pull() is None for _ in range(4)] == [True, True, True, False]

    def test_waiting_begins_with_the_first_byte(self) -> None:
        playout = Playout(lead_ms=60)
        playout.announce("a")
        drain(playout, 100)
        playout.push("a", audio(320))
        assert playout.pull() is None

    def test_at_once_without_a_lead(self) -> None:
        playout = Playout(lead_ms=0)
        playout.push("a", audio(160))
        assert playout.pull() is not None

    def test_each_item_needs_its_own(self) -> None:
        playout = Playout(lead_ms=60)
        playout.push("a", audio(480))
        playout.end("a")
        playout.push("b", audio(160))
        assert [frame.item_id for frame in drain(playout, 6)] == ["a", "a", "a"]


class TestUnderrun:
    def started(self, size: int) -> Playout:
        playout = Playout(lead_ms=0)
        playout.push("a", audio(size))
        assert playout.pull() is not None
        return playout

    def test_less_than_a_frame_waits_for_the_rest_so_that_there_is_one_hole_and_no_scrap(self) -> None:
        playout = self.started(200)
        assert drain(playout, 50) == []
        playout.push("a", audio(120, 200))
        assert playout.pull() == Frame("a", audio(40, 160) + audio(120, 200), 160)
        assert (playout.underruns, playout.sent_ms("a")) == (1, 40)

    def test_the_end_releases_the_tail_at_once_and_is_no_underrun(self) -> None:
        playout = self.started(200)
        assert playout.pull() is None
        playout.end("a")
        assert playout.pull() == Frame("a", audio(40, 160) + SILENCE * 120, 40)
        assert (playout.underruns, playout.drained) == (0, True)

    def test_a_gap_counts_once_however_it_trickles(self) -> None:
        playout = self.started(160)
        drain(playout, 5)
        for _ in range(3):
            playout.push("a", audio(10))
            playout.pull()
        assert playout.underruns == 1
        playout.push("a", audio(160))
        drain(playout, 3)
        playout.push("a", audio(160))
        assert playout.underruns == 2

    def test_an_item_run_dry_is_still_playing(self) -> None:
        playout = self.started(160)
        drain(playout, 3)
        assert (playout.playing, playout.drained, playout.queued_ms) == ("a", False, 0)


class TestOrder:
    def test_items_play_in_the_order_first_pushed(self) -> None:
        playout = Playout(lead_ms=0)
        for item_id, byte in (("a", b"1"), ("b", b"2"), ("a", b"3"), ("c", b"4"), ("b", b"5")):
            playout.push(item_id, byte * 160)
        for item_id in "cba":
            playout.end(item_id)
        assert "".join(frame.item_id for frame in drain(playout, 10)) == "aabbc"

    def test_an_announced_item_keeps_its_place(self) -> None:
        playout = Playout(lead_ms=0)
        playout.announce("a")
        playout.push("b", audio(160))
        assert playout.pull() is None
        playout.push("a", audio(160))
        playout.end("a")
        assert [frame.item_id for frame in drain(playout, 3)] == ["a", "b"]

    def test_an_item_that_ends_without_audio_blocks_nobody(self) -> None:
        playout = Playout(lead_ms=0)
        playout.announce("a")
        playout.announce("b")
        playout.push("c", audio(160))
        playout.end("b")
        playout.end("a")
        assert [frame.item_id for frame in drain(playout, 2)] == ["c"]

    def test_the_end_of_all_ends_what_is_queued_and_no_more(self) -> None:
        told: list[str] = []
        playout = Playout(lead_ms=0, on_drained=lambda: told.append("drained"))
        playout.push("a", audio(160))
        playout.push("b", audio(100))
        playout.announce("c")
        playout.end_all()
        assert [frame.item_id for frame in drain(playout, 5)] == ["a", "b"]
        assert told == ["drained"]
        assert playout.push("d", audio(160))
        assert not playout.push("a", audio(160))


class TestFlush:
    def test_what_was_heard_of_every_item_cut(self) -> None:
        playout = Playout()
        playout.push("done", audio(320))
        playout.end("done")
        playout.push("air", audio(8000))
        playout.push("waits", audio(801))
        playout.end("waits")
        playout.announce("none")
        drain(playout, 5)
        assert playout.flush() == (
            Heard("air", 60, 1000, False),
            Heard("waits", 0, 100, True),
            Heard("none", 0, 0, False),
        )
        assert playout.pull() == fall(audio(8000)[480:520])
        assert playout.pull() is None
        assert (playout.drained, playout.queued_ms, playout.playing) == (True, 0, None)
        assert playout.flush() == ()
        assert [playout.sent_ms(item_id) for item_id in ("done", "air", "waits")] == [40, 60, 0]

    def test_an_open_item_heard_so_far_is_in_it(self) -> None:
        playout = Playout()
        playout.push("a", audio(480))
        drain(playout, 5)
        assert playout.flush() == (Heard("a", 60, 60, False),)

    def test_milliseconds_are_rounded_down(self) -> None:
        playout = Playout(lead_ms=0)
        playout.push("a", audio(487))
        drain(playout, 8)
        assert playout.flush() == (Heard("a", 60, 60, False),)

    def test_audio_that_comes_too_late_is_refused_and_counted(self) -> None:
        playout = Playout()
        playout.push("a", audio(800))
        playout.flush()
        assert not playout.push("a", audio(800))
        playout.end("a")
        playout.announce("a")
        assert (playout.dropped_late, playout.drained, playout.pull()) == (1, True, None)
        assert playout.push("b", audio(800))

    def test_audio_after_its_end_is_refused(self) -> None:
        playout = Playout(lead_ms=0)
        playout.push("a", audio(320))
        playout.end("a")
        assert not playout.push("a", audio(160))
        assert len(drain(playout, 5)) == 2
        assert not playout.push("a", audio(160))
        assert playout.dropped_late == 2


class TestDrained:
    def test_is_told_once_with_the_last_byte_of_the_last_item(self) -> None:
        told: list[str] = []
        playout = Playout(lead_ms=0, on_drained=lambda: told.append("drained"))
        for item_id in "ab":
            playout.push(item_id, audio(320))
            playout.end(item_id)
        drain(playout, 3)
        assert told == []
        drain(playout, 5)
        assert told == ["drained"]

    def test_an_end_that_comes_after_the_audio_tells_it(self) -> None:
        told: list[str] = []
        playout = Playout(lead_ms=0, on_drained=lambda: told.append("drained"))
        playout.push("a", audio(160))
        drain(playout, 5)
        assert told == []
        playout.end("a")
        playout.end("a")
        assert told == ["drained"]

    def test_ending_nothing_tells_nothing(self) -> None:
        told: list[str] = []
        playout = Playout(on_drained=lambda: told.append("drained"))
        playout.end_all()
        playout.end("a")
        assert told == []

    def test_a_flush_is_no_drain(self) -> None:
        told: list[str] = []
        playout = Playout(on_drained=lambda: told.append("drained"))
        playout.push("a", audio(160))
        playout.flush()
        playout.end("a")
        assert told == []


class TestPutBack:
    @pytest.mark.parametrize("sizes", [[480], [100, 380], [200, 10, 270]])
    def test_a_frame_that_did_not_leave_is_next_again(self, sizes: list[int]) -> None:
        playout, data, at = Playout(lead_ms=0), audio(480), 0
        for size in sizes:
            playout.push("a", data[at : at + size])
            at += size
        playout.end("a")
        seen = b""
        for attempt in range(6):
            frame = playout.pull()
            assert frame is not None
            if attempt % 2:
                seen += frame.payload
            else:
                playout.put_back(frame)
        assert seen == data
        assert (playout.sent_ms("a"), playout.drained, playout.pull()) == (60, True, None)

    def test_the_last_frame_of_an_item_too(self) -> None:
        playout = Playout(lead_ms=0)
        playout.push("a", audio(200))
        playout.end("a")
        frame = drain(playout, 2)[-1]
        playout.put_back(frame)
        assert (playout.drained, playout.sent_ms("a"), playout.queued_ms) == (False, 20, 5)
        assert playout.flush() == (Heard("a", 20, 25, True),)
        playout.put_back(frame)
        assert playout.pull() is None

    def test_not_after_a_flush(self) -> None:
        playout = Playout(lead_ms=0)
        playout.push("a", audio(320))
        (frame,) = drain(playout, 1)
        playout.flush()
        playout.put_back(frame)
        assert playout.pull() == fall(audio(320)[160:200])
        assert (playout.pull(), playout.drained, playout.sent_ms("a")) == (None, True, 20)

    def test_once_per_pull(self) -> None:
        playout = Playout(lead_ms=0)
        playout.push("a", audio(320))
        frame = drain(playout, 2)[-1]
        playout.put_back(frame)
        playout.put_back(frame)
        assert playout.sent_ms("a") == 20


class TestPause:
    def test_nothing_is_heard_or_counted_until_it_goes_on_where_it_stopped(self) -> None:
        playout, data = Playout(lead_ms=0), audio(1600)
        playout.push("a", data)
        drain(playout, 3)
        playout.pause()
        playout.pause()
        assert drain(playout, 50) == [fall(data[480:520])]
        assert (playout.paused, playout.sent_ms("a"), playout.queued_ms, playout.drained) == (True, 60, 140, False)
        playout.resume()
        assert b"".join(frame.payload for frame in drain(playout, 7)) == data[480:]
        assert playout.sent_ms("a") == 200

    def test_audio_that_comes_meanwhile_waits_and_is_no_underrun(self) -> None:
        playout, data = Playout(lead_ms=0), audio(1600)
        playout.push("a", data[:480])
        drain(playout, 2)
        playout.pause()
        drain(playout, 20)
        playout.push("a", data[480:])
        playout.end("a")
        playout.resume()
        assert b"".join(frame.payload for frame in drain(playout, 8)) == data[320:]
        assert (playout.underruns, playout.drained) == (0, True)

    def test_a_flush_tells_what_was_heard_before_the_pause_and_falls_only_once(self) -> None:
        playout = Playout(lead_ms=0)
        playout.push("a", audio(1600))
        drain(playout, 3)
        playout.pause()
        assert len(drain(playout, 5)) == 1
        assert playout.flush() == (Heard("a", 60, 200, False),)
        assert (playout.pull(), playout.paused, playout.drained) == (None, False, True)
        playout.push("b", audio(320))
        assert len(drain(playout, 2)) == 2

    def test_a_pause_that_ends_before_the_next_slot_is_not_heard(self) -> None:
        playout, data = Playout(lead_ms=0), audio(480)
        playout.push("a", data)
        drain(playout, 1)
        playout.pause()
        playout.resume()
        assert b"".join(frame.payload for frame in drain(playout, 2)) == data[160:]

    def test_an_item_that_has_not_begun_needs_no_fall(self) -> None:
        playout = Playout(lead_ms=60)
        playout.push("a", audio(160))
        playout.pause()
        assert drain(playout, 5) == []


class TestFall:
    def test_it_is_five_milliseconds_ever_softer(self) -> None:
        loud = bytes((0x80, 0x00) * 20)  # the loudest sample of either sign in turn
        samples = memoryview(decode(faded(loud, Law.PCMU), Law.PCMU)).cast("h")
        levels = [abs(sample) for sample in samples]
        assert len(levels) == 40
        assert levels == sorted(levels, reverse=True)
        assert levels[0] > 30000 > 1000 > levels[-1]

    def test_it_is_as_long_as_what_is_left(self) -> None:
        playout = Playout(lead_ms=0)
        playout.push("a", audio(170))
        drain(playout, 1)
        playout.flush()
        assert drain(playout, 3) == [fall(audio(170)[160:])]


class TestChange:
    def test_another_packet_length_goes_on_with_the_next_byte(self) -> None:
        playout, data = Playout(lead_ms=0), audio(1600)
        playout.push("a", data)
        first = drain(playout, 2)
        playout.change(Law.PCMU, 480)
        second = drain(playout, 2)
        assert [len(frame.payload) for frame in first + second] == [160, 160, 480, 480]
        assert b"".join(frame.payload for frame in first + second) == data[:1280]
        assert playout.sent_ms("a") == 160

    def test_another_law_is_put_on_what_waits(self) -> None:
        playout, data = Playout(lead_ms=0), audio(480)
        playout.push("a", data)
        drain(playout, 1)
        playout.change(Law.PCMA, 160)
        assert drain(playout, 1)[0].payload == data[160:320].translate(translation(Law.PCMU, Law.PCMA))

    def test_a_wider_format_keeps_the_milliseconds(self) -> None:
        playout = Playout(lead_ms=0)
        playout.push("a", audio(1600))
        drain(playout, 3)
        playout.change(Linear(16000), 640)
        assert (playout.sent_ms("a"), playout.queued_ms) == (60, 140)
        playout.end("a")
        frames = drain(playout, 8)
        assert [len(frame.payload) for frame in frames] == [640] * 7
        assert (playout.sent_ms("a"), playout.drained) == (200, True)


def test_the_cap_refuses_the_whole_push_and_leaves_the_rest() -> None:
    playout = Playout(cap_ms=1000)
    assert playout.push("a", audio(7000))
    assert not playout.push("a", audio(1001))
    assert playout.push("a", audio(1000))
    assert (playout.refused, playout.queued_ms) == (1, 1000)
    playout.pull()
    assert playout.push("b", audio(160))


def test_memory_of_finished_items_is_bounded() -> None:
    playout = Playout(lead_ms=0)
    for number in range(3 * REMEMBERED):
        playout.push(str(number), audio(8))
        playout.end(str(number))
        playout.pull()
    assert len(playout._past) == REMEMBERED
    assert not playout._items
    assert playout.sent_ms(str(3 * REMEMBERED - 1)) == 1


class PlayoutModel(RuleBasedStateMachine):
    """Any story of pushes, ends, pulls and flushes, checked byte for byte against what was pushed."""

    def __init__(self) -> None:
        super().__init__()
        self.playout = Playout(frame_bytes=16, lead_ms=4, cap_ms=200)
        self.pushed: dict[str, bytes] = {}
        self.seen: dict[str, bytes] = {}
        self.order: list[str] = []
        self.over: set[str] = set()
        self.ended: set[str] = set()
        self.names = 0
        self.paused = False
        self.falls = False  # whether the next frame may be the fall to silence

    @rule()
    def pause(self) -> None:
        self.falls = not self.paused or self.falls
        self.playout.pause()
        self.paused = True

    @rule()
    def resume(self) -> None:
        self.playout.resume()
        self.paused = self.falls = False

    @rule(new=st.booleans(), size=st.integers(0, 60), seed=st.integers(0, 255), pick=st.integers(0, 5))
    def push(self, new: bool, size: int, seed: int, pick: int) -> None:
        if new or not self.order:
            self.names += 1
            item_id = f"item{self.names}"
        else:
            item_id = self.order[-1 - pick % len(self.order)]
        data = random.Random(seed).randbytes(size)
        if not self.playout.push(item_id, data):
            assert item_id in self.over | self.ended or self.queued() + size > 1600
            return
        assert item_id not in self.over | self.ended
        if item_id not in self.pushed:
            self.order.append(item_id)
            self.pushed[item_id] = self.seen[item_id] = b""
        self.pushed[item_id] += data

    @rule(pick=st.integers(0, 5))
    @precondition(lambda self: self.order)
    def end(self, pick: int) -> None:
        item_id = self.order[-1 - pick % len(self.order)]
        self.playout.end(item_id)
        self.ended.add(item_id)

    @rule(slots=st.integers(1, 12), fails=st.booleans())
    def pull(self, slots: int, fails: bool) -> None:
        for _ in range(slots):
            frame = self.playout.pull()
            if frame is None:
                continue
            assert len(frame.payload) == 16
            if not frame.item_id:
                assert frame.heard_bytes == 0
                assert self.falls
                self.falls = False
                continue
            self.falls = False
            assert not self.paused
            assert frame.heard_bytes > 0
            assert frame.payload[frame.heard_bytes :] == SILENCE * (16 - frame.heard_bytes)
            if fails:
                self.playout.put_back(frame)
                continue
            assert frame.item_id not in self.over
            self.seen[frame.item_id] += frame.payload[: frame.heard_bytes]
            assert self.pushed[frame.item_id].startswith(self.seen[frame.item_id])
            for earlier in self.order[: self.order.index(frame.item_id)]:
                assert earlier in self.over or (earlier in self.ended and self.seen[earlier] == self.pushed[earlier])

    @rule()
    def flush(self) -> None:
        cut = [item for item in self.order if item not in self.over and not self.is_heard(item)]
        self.falls = not self.paused or self.falls
        self.paused = False
        heard = self.playout.flush()
        assert [item.item_id for item in heard] == cut
        for item in heard:
            assert item.sent_ms == len(self.seen[item.item_id]) // 8 <= item.received_ms
            assert item.received_ms == len(self.pushed[item.item_id]) // 8
            assert item.ended == (item.item_id in self.ended)
        self.over.update(self.order)

    def is_heard(self, item_id: str) -> bool:
        return item_id in self.ended and self.seen[item_id] == self.pushed[item_id]

    def queued(self) -> int:
        return sum(len(self.pushed[item]) - len(self.seen[item]) for item in self.order if item not in self.over)

    @invariant()
    def ledger_agrees_with_the_wire(self) -> None:
        assert self.playout.queued_ms == self.queued() // 8
        for item_id in self.order[-5:]:
            assert self.playout.sent_ms(item_id) == len(self.seen[item_id]) // 8


TestPlayoutModel = PlayoutModel.TestCase
TestPlayoutModel.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)


class TestChangeOfMuch:
    """What waits may be minutes, and a caller may change his codec as often as he likes."""

    def test_it_is_converted_in_its_turn_and_only_then(self, monkeypatch: pytest.MonkeyPatch) -> None:
        converted: list[int] = []
        real = items.converter

        def counting(source: Format, target: Format) -> Any:
            made = real(source, target)
            assert made is not None

            def convert(audio: bytes) -> bytes:
                converted.append(len(audio))
                return bytes(made(audio))

            convert.finish = made.finish  # type: ignore[attr-defined]
            return convert

        monkeypatch.setattr(items, "converter", counting)
        playout = Playout(lead_ms=0)
        playout.push("a", audio(8000) * 60)
        drain(playout, 5)
        for audio_format, frame in (
            (Linear(16000), 640),
            (Linear(24000), 960),
            (Law.PCMA, 160),
            (Linear(16000), 640),
        ) * 50:
            playout.change(audio_format, frame)
        assert converted == []
        assert (playout.sent_ms("a"), playout.queued_ms) == (100, 59_900)
        frames = drain(playout, 50)
        assert sum(converted) <= 8 * (50 * 20 + 2 * items.PIECE_MS)
        assert max(converted) == 8 * items.PIECE_MS
        assert [len(frame.payload) for frame in frames] == [640] * 50
        assert (playout.sent_ms("a"), playout.queued_ms) == (1100, 58_900)

    def test_to_and_fro_is_the_very_bytes(self) -> None:
        playout, data = Playout(lead_ms=0), audio(16_000)
        playout.push("a", data)
        drain(playout, 3)
        for audio_format, frame in ((Linear(24000), 960), (Law.PCMA, 160), (Linear(16000), 640), (Law.PCMU, 160)):
            playout.change(audio_format, frame)
        playout.push("a", data)
        playout.end("a")
        assert b"".join(frame.payload for frame in drain(playout, 197)) == data[480:] + data
        assert playout.drained

    def test_every_sample_is_heard_however_often_it_changes(self) -> None:
        playout, heard_ms = Playout(lead_ms=0), 0.0
        playout.push("a", audio(8000))
        for audio_format, frame in ((Linear(24000), 960), (Law.PCMU, 160), (Linear(16000), 640), (Law.PCMA, 80)):
            heard_ms += sum(frame.heard_bytes for frame in drain(playout, 7)) / playout._bytes_per_ms
            playout.change(audio_format, frame)
            playout.push("a", audio(801 * audio_format.bytes_per_ms // 8))
        playout.end("a")
        heard_ms += sum(frame.heard_bytes for frame in drain(playout, 2000)) / playout._bytes_per_ms
        assert playout.drained
        assert heard_ms == pytest.approx(1000 + 4 * 100.125, abs=1)
