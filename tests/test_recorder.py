"""The recorder: files that others can read, also after a kill, and a disk that is full, slow or gone."""

from __future__ import annotations

import hashlib
import math
import os
import re
import shutil
import signal
import stat
import struct
import subprocess
import sys
import wave
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from threading import Event

import pytest

from bridge import recorder as module
from bridge.audio.format import Format, Linear
from bridge.audio.g711 import Law, decode
from bridge.audio.wav import WavWriter
from bridge.config.recording import Recording as Settings
from bridge.recorder import MEGABYTE, Recorder
from bridge.recording import Recording

NOW = datetime(2026, 11, 26, 21, 45, tzinfo=UTC)
CALLER, AGENT = b"\x21", b"\xa3"
PLENTY = 10**12

WRITES_FOR_EVER = """
import sys, time
from pathlib import Path
from bridge.audio.g711 import Law
from bridge.config.recording import Recording as Settings
from bridge.recorder import Recorder
recorder = Recorder(Settings(folder=Path(sys.argv[1]), min_free_megabytes=0))
made = recorder.begin("a", "b", Law.PCMU)
for number in range(500):
    made.slot(20)
    made.sent(b"\\xa3" * 160)
    made.heard(b"\\x21" * 160)
while recorder.waiting:
    time.sleep(0.01)
print("ready", flush=True)
time.sleep(60)
"""
MEETS_A_LIMIT = """
import resource, sys
from pathlib import Path
from bridge.audio.g711 import Law
from bridge.config.recording import Recording as Settings
from bridge.recorder import Recorder
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
recorder = Recorder(Settings(folder=Path(sys.argv[1]), min_free_megabytes=0))
made = recorder.begin("a", "b", Law.PCMU)
for number in range(1000):
    made.slot(20)
    made.sent(b"\\xa3" * 160)
made.close()
recorder.close()
print(recorder.failed, recorder.bytes)
"""


def recorder_in(folder: Path, free: int = PLENTY, **settings: float) -> Recorder:
    made = Settings.model_validate({"folder": folder, **settings})
    return Recorder(made, now=lambda: NOW, free=lambda folder: free)


def begun(recorder: Recorder, agent: str = "reception", call: str = "c", audio_format: Format = Law.PCMU) -> Recording:
    made = recorder.begin(agent, call, audio_format)
    assert made is not None
    return made


def speak(made: Recording, ms: int, frame: int = 160) -> None:
    for _ in range(ms // 20):
        made.slot(20)
        made.sent(AGENT * frame)
        made.heard(CALLER * frame)


def tracks(path: Path) -> tuple[int, list[int], list[int]]:
    """Rate, left and right, as Python's own reader has them."""
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (2, 2)
        samples = memoryview(file.readframes(file.getnframes())).cast("h").tolist()
        return file.getframerate(), samples[0::2], samples[1::2]


def test_a_file_has_the_caller_left_and_the_agent_right(tmp_path: Path) -> None:
    for law in Law:
        recorder = recorder_in(tmp_path)
        made = begun(recorder, law.name, audio_format=law)
        speak(made, 2000)
        made.close()
        recorder.close()
        left, right = (struct.unpack("<h", decode(code, law))[0] for code in (CALLER, AGENT))
        assert tracks(made.path) == (8000, [left] * 16000, [right] * 16000)
        assert (recorder.started, recorder.bytes, recorder.failed, recorder.waiting) == (1, 64000, 0, 0)


def test_linear_audio_is_kept_as_it_is(tmp_path: Path) -> None:
    recorder = recorder_in(tmp_path)
    made = begun(recorder, audio_format=Linear(16000))
    made.slot(20)
    made.sent(struct.pack("<320h", *range(320)))
    made.heard(struct.pack("<320h", *range(-320, 0)))
    made.close()
    recorder.close()
    assert tracks(made.path) == (16000, list(range(-320, 0)), list(range(320)))


def test_another_rate_is_put_into_the_one_of_the_file(tmp_path: Path) -> None:
    def tone(rate: int) -> bytes:
        return struct.pack(f"<{rate}h", *(round(9000 * math.sin(math.tau * 400 * at / rate)) for at in range(rate)))

    recorder = recorder_in(tmp_path)
    made = begun(recorder, audio_format=Linear(16000))
    for rate in (16000, 8000, 48000, 16000):
        made.follow(Linear(rate))
        pcm = tone(rate)
        for at in range(50):
            made.slot(20)
            made.sent(pcm[at * rate // 25 : (at + 1) * rate // 25])
    made.close()
    recorder.close()
    rate, _, agent = tracks(made.path)
    assert (rate, len(agent)) == (16000, pytest.approx(4 * 16000, abs=8))
    for second in range(4):
        part = agent[second * 16000 + 100 : second * 16000 + 15900]
        crossings = sum(a < 0 <= b for a, b in pairwise(part))
        assert crossings == pytest.approx(400 * len(part) / 16000, abs=2)


def test_the_name_has_nothing_that_a_stranger_wrote(tmp_path: Path) -> None:
    hostile = ["../../etc/passwd", "+4930123456@10.0.0.1", "a\0b", "\udcff", "x" * 20_000, "", "$(reboot)\n"]
    recorder = recorder_in(tmp_path)
    for call in hostile:
        made = begun(recorder, "front desk/1", call)
        speak(made, 40)
        made.close()
        mark = hashlib.sha256(call.encode("utf-8", "surrogatepass")).hexdigest()[:6]
        assert made.path == tmp_path / f"20261126T214500Z-front_desk_1-{mark}.wav"
    recorder.close()
    assert len(list(tmp_path.iterdir())) == len(hostile)
    assert recorder.failed == 0


def test_only_the_owner_can_read_a_file_and_none_is_written_over(tmp_path: Path) -> None:
    recorder = recorder_in(tmp_path)
    first, second = begun(recorder), begun(recorder)
    (tmp_path / "elsewhere").write_text("kept")
    third_name = f"{first.path.stem}-3.wav"
    (tmp_path / third_name).symlink_to(tmp_path / "elsewhere")
    third = begun(recorder)
    for made in (first, second, third):
        speak(made, 40)
        made.close()
    recorder.close()
    names = {path.name for path in tmp_path.iterdir() if not path.is_symlink()} - {"elsewhere"}
    assert names == {first.path.name, f"{first.path.stem}-2.wav", f"{first.path.stem}-4.wav"}
    assert {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in names} == {0o600}
    assert (tmp_path / "elsewhere").read_text() == "kept"


def test_without_a_folder_nothing_is_recorded() -> None:
    recorder = Recorder(Settings())
    assert recorder.begin("a", "b", Law.PCMU) is None
    assert (recorder.started, recorder.refused, recorder._thread) == (0, 0, None)
    recorder.close()


@pytest.mark.parametrize(
    ("limits", "seconds"), [({"max_minutes": 0.05}, 3), ({"max_megabytes": 1}, 31.25), ({"max_minutes": 60}, 32)]
)
def test_a_recording_ends_at_its_limits(tmp_path: Path, limits: dict[str, float], seconds: float) -> None:
    recorder = recorder_in(tmp_path, **limits)
    made = begun(recorder)
    speak(made, 32_000)
    made.close()
    recorder.close()
    assert len(tracks(made.path)[1]) == seconds * 8000
    assert made.path.stat().st_size <= 44 + recorder._settings.max_megabytes * MEGABYTE
    assert (recorder.limited, recorder.failed, recorder.dropped_ms) == (seconds < 32, 0, 0)


def test_a_killed_process_leaves_what_it_had_but_for_the_last_seconds(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", WRITES_FOR_EVER, tmp_path], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGKILL)
    (path,) = tmp_path.iterdir()
    _, left, right = tracks(path)
    assert 8 * 8000 <= len(left) == len(right) <= 10 * 8000
    assert set(left) == {struct.unpack("<h", decode(CALLER, Law.PCMU))[0]}
    if shutil.which("soxi"):
        told = subprocess.run(["soxi", "-s", path], capture_output=True, check=True, text=True)
        assert int(told.stdout) == len(left)


def test_a_disk_that_takes_no_more_ends_the_recording_and_leaves_a_file_that_can_be_read(tmp_path: Path) -> None:
    command = [sys.executable, "-c", MEETS_A_LIMIT, tmp_path]
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    assert done.stdout.split()[-2] == "1"
    assert "recording.failed" in done.stdout + done.stderr
    (path,) = tmp_path.iterdir()
    assert 8000 <= len(tracks(path)[2]) <= 25_000


class Faulty(WavWriter):
    """A file on a disk that breaks after some writes, or at the first."""

    def __init__(self, path: Path, good: int) -> None:
        super().__init__(path, 8000, 2)
        self.good = good

    def write(self, pcm: bytes) -> None:
        self.good -= 1
        if self.good < 0:
            raise OSError(28, "No space left on device")
        super().write(pcm)


def test_an_error_of_the_disk_is_one_warning_with_the_next_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings(folder=tmp_path)
    recorder = Recorder(settings, create=lambda path, rate: Faulty(path, 2), free=lambda folder: PLENTY)
    made = begun(recorder, call="secret/../id")
    speak(made, 10_000)
    made.close()
    recorder.close()
    said = capsys.readouterr().out
    assert said.count("recording.failed") == 1
    assert "No space left on device" in said
    assert "look at the disk of recording.folder" in said
    assert (recorder.failed, recorder.waiting) == (1, 0)
    assert len(tracks(made.path)[1]) == 8000


def test_a_folder_that_has_gone_ends_the_recording_not_the_thread(tmp_path: Path) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    recorder = recorder_in(folder)
    folder.rmdir()
    lost = begun(recorder)
    speak(lost, 2000)
    lost.close()
    while recorder.failed == 0:
        os.sched_yield()
    folder.mkdir()
    kept = begun(recorder)
    speak(kept, 2000)
    kept.close()
    recorder.close()
    assert recorder.failed == 1
    assert len(tracks(kept.path)[1]) == 16000


def test_too_little_free_space_refuses_and_ends_recordings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_S", 0.01)
    free = 500 * MEGABYTE
    recorder = Recorder(Settings(folder=tmp_path), now=lambda: NOW, free=lambda folder: free)
    made = begun(recorder)
    speak(made, 2000)
    free -= 1
    while recorder.failed == 0:
        os.sched_yield()
    assert recorder.begin("a", "b", Law.PCMU) is None
    assert (recorder.started, recorder.refused) == (1, 1)
    speak(made, 2000)
    assert made._over
    free += 1
    while recorder._short:
        os.sched_yield()
    begun(recorder).close()
    recorder.close()
    assert recorder.failed == 1


def test_a_full_disk_is_known_before_the_first_call(tmp_path: Path) -> None:
    recorder = recorder_in(tmp_path, free=499 * MEGABYTE)
    assert recorder.begin("a", "b", Law.PCMU) is None
    assert recorder.refused == 1
    recorder.close()


class Slow(WavWriter):
    """A file on a disk that takes nothing until it may."""

    may = Event()

    def write(self, pcm: bytes) -> None:
        self.may.wait(20)
        super().write(pcm)


def test_a_slow_disk_costs_audio_but_no_alignment_and_no_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 64_000)
    Slow.may.clear()
    recorder = Recorder(
        Settings(folder=tmp_path), create=lambda path, rate: Slow(path, rate, 2), free=lambda folder: PLENTY
    )
    made = begun(recorder)
    speak(made, 10_000)
    assert recorder.waiting <= 64_000
    assert recorder._queue.qsize() <= 8
    assert recorder.begin("a", "b", Law.PCMU) is None, "a disk that is behind gets no more"
    Slow.may.set()
    while recorder.waiting:
        os.sched_yield()
    speak(made, 2000)
    made.close()
    recorder.close()
    _, left, right = tracks(made.path)
    assert len(left) == len(right) == 12 * 8000
    assert 4000 <= recorder.dropped_ms <= 6500
    assert left.count(0) == right.count(0) == recorder.dropped_ms * 8
    assert 0 not in left[-16000:] + left[:16000]


def test_closing_waits_no_longer_than_it_may(tmp_path: Path) -> None:
    Slow.may.clear()
    recorder = Recorder(
        Settings(folder=tmp_path), create=lambda path, rate: Slow(path, rate, 2), free=lambda folder: PLENTY
    )
    speak(begun(recorder), 2000)
    recorder.close(timeout_s=0.05)
    assert recorder.waiting > 0
    assert recorder.begin("a", "b", Law.PCMU) is None
    Slow.may.set()
    recorder.close()
    assert recorder.waiting == 0


def test_closing_completes_files_whose_calls_still_run(tmp_path: Path) -> None:
    recorder = recorder_in(tmp_path)
    made = begun(recorder)
    speak(made, 3300)
    recorder.close()
    assert len(tracks(made.path)[1]) >= 2300 * 8
    speak(made, 2000)  # nobody takes it any more
    assert recorder._queue.qsize() == 0


def test_names_carry_the_time_in_utc(tmp_path: Path) -> None:
    recorder = Recorder(Settings(folder=tmp_path), free=lambda folder: PLENTY)
    made = begun(recorder)
    assert re.fullmatch(r"\d{8}T\d{6}Z-reception-[0-9a-f]{6}\.wav", made.path.name)
    told = datetime.strptime(made.path.name[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    assert abs((datetime.now(UTC) - told).total_seconds()) < 3600
    recorder.close()
