"""The recordings of the service: one thread that decodes and writes them as stereo WAV.

What the disk does not take in time becomes silence, so that what follows still stands at its moment. A disk that fails
ends recordings, never calls.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
from array import array
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import cast

import structlog

from bridge.audio._audioop import audioop
from bridge.audio.format import Format
from bridge.audio.g711 import Law, decode
from bridge.audio.wav import WavWriter
from bridge.config.recording import Recording as Settings
from bridge.recording import Batch, Recording

log = structlog.get_logger("sipbridge.recording")

MOST_WAITING = 32 << 20
"""Bytes that may wait for the disk, of all calls together."""
LOOK_S = 5.0
"""How often the free space is looked at, in seconds."""
CLOSE_S = 5.0
SAME_NAMES = 100
MEGABYTE = 1_000_000
LOGGED_CALL_ID = 128
ADVICE = "look at the disk of recording.folder"
_STEREO_BYTES = 4
_Resampling = tuple[int, tuple[tuple[int, int], ...]] | None


class Recorder:
    """All recordings of the service, and the one thread that writes them; it begins with the first recording.

    The fields that count are for metrics; each is written by the loop alone or by the thread alone.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        create: Callable[[Path, int], WavWriter] | None = None,
        free: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free,
    ) -> None:
        """`create` opens a file of a rate in Hz, `free` tells the bytes of free space; both are asked in the thread."""
        self.started = 0
        self.refused = 0
        """Calls not recorded because the disk was too full or too slow when they began."""
        self.limited = 0
        """Recordings that ended at max_minutes or max_megabytes, before their calls."""
        self.failed = 0
        """Recordings that ended by an error of the disk, or because it had too little free space."""
        self.dropped_ms = 0
        """Audio that is missing: silence where the disk was too slow, cut out where a caller's clock ran fast."""
        self.bytes = 0
        """PCM written."""
        self._settings = settings
        self._now = now
        self._create = create or _create
        self._free = free
        self._queue: SimpleQueue[Batch | None] = SimpleQueue()
        self._handed = 0  # bytes, counted by the loop
        self._written = 0  # bytes, counted by the thread
        self._thread: Thread | None = None  # before the first recording
        self._closed = False
        self._files: set[_File] = set()  # open ones, the thread's
        self._looked_at = time.monotonic()
        self._short = False
        if settings.folder is not None:
            self._look(settings.folder)

    @property
    def waiting(self) -> int:
        """Bytes that wait for the disk."""
        return self._handed - self._written

    def begin(self, agent: str, call_id: str, audio_format: Format) -> Recording | None:
        """Record a call from here; None when nothing is to be recorded, or nothing can be (`refused`)."""
        folder = self._settings.folder
        if folder is None or self._closed:
            return None
        self._start()
        if self._short or self.waiting > MOST_WAITING // 2:
            self.refused += 1
            return None
        self.started += 1
        file = _File(folder / _name(self._now(), agent, call_id), audio_format.rate, call_id[:LOGGED_CALL_ID])
        by_size = self._settings.max_megabytes * MEGABYTE * 1000 // (_STEREO_BYTES * audio_format.rate)
        return Recording(self, file, audio_format, min(round(self._settings.max_minutes * 60_000), by_size))

    def close(self, timeout_s: float = CLOSE_S) -> None:
        """Write what waits, for `timeout_s` at most. It blocks: in the loop use `asyncio.to_thread`."""
        self._closed = True
        if self._thread is None:
            return
        self._queue.put(None)
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            log.warning("recording.unwritten", bytes=self.waiting, advice="the disk of recording.folder is too slow")

    # From the loop

    def hand_over(self, batch: Batch) -> bool:
        """Give audio to the thread; False when too much waits already."""
        if self._closed or self.waiting + batch.size > MOST_WAITING:
            return False
        self._handed += batch.size
        self._queue.put(batch)
        return True

    def finish(self, batch: Batch) -> None:
        """Give the thread the last of a file."""
        self._queue.put(batch)

    def _start(self) -> None:
        if self._thread is None:
            # A daemon: a disk that hangs must not keep the process from ending.
            self._thread = Thread(target=self._run, name="recording", daemon=True)
            self._thread.start()

    # In the thread

    def _run(self) -> None:
        while True:
            try:
                batch = self._queue.get(timeout=LOOK_S)
            except Empty:
                self._look_again()
                continue
            if batch is None:
                break
            self._take(batch)
            self._look_again()
        for file in tuple(self._files):
            self._finish(file)

    def _take(self, batch: Batch) -> None:
        file = cast(_File, batch.file)
        try:
            if not file.failed:
                self.bytes += file.write(batch, self._create)
                self._files.add(file)
                if batch.last:
                    self._finish(file)
        except (OSError, ValueError) as error:
            self._fail(file, error)
        finally:
            self._written += batch.size

    def _finish(self, file: _File) -> None:
        self._files.discard(file)
        try:
            file.close()
        except OSError as error:
            self._fail(file, error)

    def _fail(self, file: _File, error: Exception) -> None:
        self._give_up(file)
        detail = getattr(error, "strerror", None) or str(error)
        log.warning("recording.failed", call=file.call_id, file=file.path.name, detail=detail, advice=ADVICE)

    def _give_up(self, file: _File) -> None:
        self.failed += 1
        file.failed = True
        self._files.discard(file)
        with suppress(OSError):
            file.close()

    def _look_again(self) -> None:
        folder = self._settings.folder
        if folder is not None and time.monotonic() - self._looked_at >= LOOK_S:
            self._look(folder)
            for file in tuple(self._files) if self._short else ():
                self._give_up(file)

    def _look(self, folder: Path) -> None:
        self._looked_at = time.monotonic()
        try:
            free = self._free(folder)
        except OSError:
            free = 0
        short = free < self._settings.min_free_megabytes * MEGABYTE
        if short and not self._short:
            advice = "make room in recording.folder, or lower recording.min_free_megabytes"
            log.warning("recording.disk_full", free_megabytes=free // MEGABYTE, advice=advice)
        elif self._short and not short:
            log.info("recording.disk_has_room", free_megabytes=free // MEGABYTE)
        self._short = short


class _File:
    """One WAV file; it belongs to the thread, only `failed` is read by the loop."""

    def __init__(self, path: Path, rate: int, call_id: str) -> None:
        self.path = path
        self.rate = rate
        self.call_id = call_id
        self.failed = False
        self._writer: WavWriter | None = None  # before the first batch
        self._from_rate = rate  # of the leg
        self._resampling: list[_Resampling] = [None, None]  # of each channel, where that is not the file's

    def write(self, batch: Batch, create: Callable[[Path, int], WavWriter]) -> int:
        """Write one batch; the bytes of PCM. OSError, or ValueError for what no WAV file can hold."""
        if self._writer is None:
            self._writer = self._open(create)
        before = self._writer.data_bytes
        for left_ms in range(batch.silence_ms, 0, -1000):  # by the second: an hour would be 100 MB
            self._writer.write(bytes(_STEREO_BYTES * (self.rate * min(left_ms, 1000) // 1000)))
        if batch.format.rate != self._from_rate:
            self._from_rate, self._resampling = batch.format.rate, [None, None]
        left, right = (self._pcm(audio, batch.format, at) for at, audio in enumerate((batch.caller, batch.agent)))
        frames = array("h", bytes(2 * len(left)))
        frames[0::2], frames[1::2] = array("h", left), array("h", right)
        self._writer.write(frames.tobytes())
        return self._writer.data_bytes - before

    def close(self) -> None:
        """State the final size; OSError from the disk."""
        if self._writer is not None:
            self._writer.close()

    def _open(self, create: Callable[[Path, int], WavWriter]) -> WavWriter:
        """A new file; a second call of the same second, agent and Call-ID gets a number."""
        plain = self.path
        for number in range(2, SAME_NAMES):
            try:
                return create(self.path, self.rate)
            except FileExistsError:
                self.path = plain.with_stem(f"{plain.stem}-{number}")
        return create(self.path, self.rate)

    def _pcm(self, audio: bytes, audio_format: Format, channel: int) -> bytes:
        pcm = decode(audio, audio_format) if isinstance(audio_format, Law) else audio
        if audio_format.rate != self.rate:
            # Linear interpolation, which needs no further library: this is for people to listen to.
            state = self._resampling[channel]
            pcm, self._resampling[channel] = audioop.ratecv(pcm, 2, 1, audio_format.rate, self.rate, state)
        return pcm


def _create(path: Path, rate: int) -> WavWriter:
    """A new stereo file that only its owner can read. FileExistsError rather than touching another's."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    return WavWriter(path, rate, 2)


def _name(now: datetime, agent: str, call_id: str) -> str:
    """Time in UTC, agent, and a hash: the peer chose the Call-ID, and may have written anything."""
    mark = hashlib.sha256(call_id.encode("utf-8", "surrogatepass")).hexdigest()[:6]
    return f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{re.sub('[^A-Za-z0-9_-]', '_', agent)[:64]}-{mark}.wav"
