"""Transcripts on disk: who may read them, what stands in them, and a disk that is full, slow or gone."""

from __future__ import annotations

import errno
import json
import stat
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event

import pytest
from structlog.testing import capture_logs

from bridge import transcripts as module
from bridge.config import Transcripts as Settings
from bridge.realtime.transcript import Entry
from bridge.recorder import _name as recording_name
from bridge.records import CallRecord, Counts, EndReason
from bridge.transcripts import Transcripts, cost_told, lines

NOW = datetime(2026, 11, 26, 21, 45, 30, tzinfo=UTC)
SAID = (
    Entry("u1", "caller", "When do you open?", 4180, heard="When do you open?"),
    Entry("a1", "agent", "We...[interrupted]", 6500, 4000, 900, cut=True, heard="We", unheard="open at nine."),
    Entry("f1", "tool", 'look({}) -> {"ok": true}', 7000, heard='look({}) -> {"ok": true}'),
)
MEETS_A_LIMIT = """
import resource, sys
from pathlib import Path
from bridge.transcripts import _create
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    _create(Path(sys.argv[1]) / "call.json", bytes(100_000))
except OSError as error:
    print(error.strerror)
"""


def record(call_id: str = "c1@pbx", *, answered: bool = True) -> CallRecord:
    return CallRecord(call_id, "the shop", EndReason.CALLER_HUNG_UP, "", "PCMU", answered, 5.0, 25.0)


def kept(
    folder: Path, *calls: str, entries: Sequence[Entry] = SAID, about: Mapping[str, object] | None = None
) -> list[Path]:
    """The files after these calls."""
    writer = Transcripts(Settings(folder=folder), now=lambda: NOW)
    for call_id in calls:
        writer.keep(record(call_id), entries, about or {})
    writer.close()
    assert (writer.written, writer.failed, writer.waiting) == (len(calls), 0, 0)
    return sorted(folder.iterdir())


def test_a_file_has_the_name_of_a_recording_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    (path,) = kept(tmp_path, "c1@pbx")
    assert path.stem == Path(recording_name(NOW - timedelta(seconds=30), "the shop", "c1@pbx")).stem
    assert path.suffix == ".json" and path.name.startswith("20261126T214500Z-the_shop-")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_tells_the_call_and_its_entries_in_order(tmp_path: Path) -> None:
    (path,) = kept(tmp_path, "c1@pbx", about={"tokens": {"text_in": 3}, "cost": 0.5})
    assert json.loads(path.read_text()) == {
        "call": "c1@pbx",
        "agent": "the shop",
        "began": "2026-11-26T21:45:00Z",
        "seconds": 25.0,
        "reason": "caller_hung_up",
        "tokens": {"text_in": 3},
        "cost": 0.5,
        "entries": [
            {"item_id": "u1", "role": "caller", "text": "When do you open?", "at_ms": 4180},
            {
                "item_id": "a1",
                "role": "agent",
                "text": "We...[interrupted]",
                "at_ms": 6500,
                "received_ms": 4000,
                "heard_ms": 900,
                "cut": True,
                "heard": "We",
                "unheard": "open at nine.",
            },
            {"item_id": "f1", "role": "tool", "text": 'look({}) -> {"ok": true}', "at_ms": 7000},
        ],
    }


def test_what_begins_at_zero_and_is_heard_to_its_end_is_told_so(tmp_path: Path) -> None:
    (path,) = kept(tmp_path, "c", entries=[Entry("a1", "agent", "Hi.", 0, 0, 0, heard="Hi.")])
    (entry,) = json.loads(path.read_text())["entries"]
    assert (entry["at_ms"], entry["received_ms"], entry["heard_ms"]) == (0, 0, 0)


def test_the_peer_chooses_neither_path_nor_size_nor_encoding(tmp_path: Path) -> None:
    odd = "../../etc/passwd" + "x" * 20_000 + "\ud800"
    (path,) = kept(tmp_path, odd, entries=[Entry("u1", "caller", "\ud800ü", 1)])
    assert path.parent == tmp_path
    told = json.loads(path.read_text())
    assert len(told["call"]) == 128
    assert told["entries"][0]["text"] == "?ü"


def test_a_second_call_of_the_same_name_gets_a_number(tmp_path: Path) -> None:
    names = [path.name for path in kept(tmp_path, "c1@pbx", "c1@pbx", "c1@pbx")]
    plain = names[-1].removesuffix(".json")
    assert names == [f"{plain}-2.json", f"{plain}-3.json", f"{plain}.json"]


def test_without_a_folder_or_an_answer_nothing_is_kept(tmp_path: Path) -> None:
    writer = Transcripts(Settings())
    writer.keep(record(), SAID, {})
    answered = Transcripts(Settings(folder=tmp_path))
    answered.keep(record(answered=False), SAID, {})
    answered.close()
    answered.keep(record(), SAID, {})
    assert (writer.waiting, answered.waiting, list(tmp_path.iterdir())) == (0, 0, [])


def test_a_disk_that_fails_is_complained_of_once_until_it_works_again(tmp_path: Path) -> None:
    full = [True, True, False, True, True]

    def write(path: Path, content: bytes) -> None:
        if full.pop(0):
            raise OSError(errno.ENOSPC, "No space left on device")

    with capture_logs() as logged:
        writer = Transcripts(Settings(folder=tmp_path), write=write)
        for _ in range(5):
            writer.keep(record(), SAID, {})
        writer.close()
    assert [entry["event"] for entry in logged] == ["transcripts.failed"] * 2
    assert logged[0]["detail"] == "No space left on device"
    assert (writer.written, writer.failed, writer.waiting) == (1, 4, 0)


def test_a_file_that_does_not_fit_leaves_no_part_of_itself(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEETS_A_LIMIT, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "File too large"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_vanishes_costs_files_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    writer = Transcripts(Settings(folder=folder))
    folder.rmdir()
    with capture_logs() as logged:
        writer.keep(record(), SAID, {})
        writer.close()
    assert writer.failed == 1
    assert logged[0]["event"] == "transcripts.failed"


def test_a_disk_that_hangs_holds_up_nobody_and_what_waits_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 3)
    hanging = Event()

    def write(path: Path, content: bytes) -> None:
        hanging.wait(10)

    writer = Transcripts(Settings(folder=tmp_path), write=write)
    for _ in range(5):
        writer.keep(record(), SAID, {})
    assert (writer.waiting, writer.dropped) == (3, 2)
    with capture_logs() as logged:
        writer.close(timeout_s=0)
    assert logged[0] | {"files": 3} == logged[0]
    assert logged[0]["event"] == "transcripts.unwritten"
    hanging.set()
    writer.close()
    assert (writer.written, writer.failed, writer.waiting) == (3, 0, 0)


# Lines


def test_a_line_tells_when_who_and_what_nobody_heard() -> None:
    assert lines(SAID) == [
        "4.2 caller: When do you open?",
        "6.5 agent: We...[interrupted] [unheard: open at nine.]",
        '7.0 tool: look({}) -> {"ok": true}',
    ]


def test_lines_are_bounded_and_the_newest_stay() -> None:
    many = lines([Entry(f"u{number}", "caller", f"word {number}", 0) for number in range(1000)])
    assert len(many) == module.LINES_LOGGED + 1
    assert (many[0], many[-1]) == ("... 800 entries before", "0.0 caller: word 999")
    long = lines([Entry("u", "caller", "x" * 5000, 0)] * 10)
    assert len(long) == 4 and long[0] == "... 7 entries before"


def test_cost_is_told_where_there_are_prices() -> None:
    counts = Counts()
    assert cost_told(counts, "USD", priced=True) == {}
    counts.note_usage({"text_in": 3}, 0.1234567)
    assert cost_told(counts, "USD", priced=True) == {"tokens": {"text_in": 3}, "cost": 0.123457, "currency": "USD"}
    assert cost_told(counts, "USD", priced=False) == {"tokens": {"text_in": 3}}
    counts.note_usage({}, None)
    assert cost_told(counts, "USD", priced=True)["unpriced"] == 1
