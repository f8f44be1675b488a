"""The transcripts of the service: one JSON file per call, written by one thread after the call is over.

A disk that fails costs files, never calls, and is complained of once.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

import structlog

from bridge.config import Transcripts as Settings
from bridge.realtime.transcript import Entry
from bridge.records import CallRecord, Counts

log = structlog.get_logger("sipbridge.transcripts")

MOST_WAITING = 500
"""Transcripts that may wait for the disk."""
CLOSE_S = 5.0
SAME_NAMES = 100
LINES_LOGGED = 200
CHARACTERS_LOGGED = 16_000
LOGGED_CALL_ID = 128
ADVICE = "look at the disk of transcripts.folder"


@dataclass(frozen=True, slots=True)
class _Kept:
    """A transcript on its way to the disk."""

    record: CallRecord
    began: datetime
    entries: Sequence[Entry]
    about: Mapping[str, object]


class Transcripts:
    """Writes them. The fields that count are for metrics: `dropped` is the loop's, the others are the thread's."""

    def __init__(
        self,
        settings: Settings,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        write: Callable[[Path, bytes], None] | None = None,
    ) -> None:
        """`write` makes a file, in the thread; it raises FileExistsError rather than touching another's."""
        self.written = 0
        self.failed = 0
        self.dropped = 0
        """Transcripts for which too much waited already."""
        self._folder = settings.folder
        self._now = now
        self._write = write or _create
        self._queue: SimpleQueue[_Kept | None] = SimpleQueue()
        self._handed = 0  # counted by the loop
        self._thread: Thread | None = None  # before the first transcript
        self._closed = False
        self._complained = False  # and nothing was written since

    @property
    def waiting(self) -> int:
        """Transcripts that wait for the disk."""
        return self._handed - self.written - self.failed

    def keep(self, record: CallRecord, entries: Sequence[Entry], about: Mapping[str, object]) -> None:
        """Keep what was said in a call that is over; returns at once. `about` stands at the file's beginning."""
        if self._folder is None or self._closed or not record.answered:
            return
        if self.waiting >= MOST_WAITING:
            self.dropped += 1
            return
        began = self._now() - timedelta(seconds=record.setup_s + record.talk_s)
        self._handed += 1
        self._queue.put(_Kept(record, began, entries, about))
        if self._thread is None:
            # A daemon: a disk that hangs must not keep the process from ending.
            self._thread = Thread(target=self._run, name="transcripts", daemon=True)
            self._thread.start()

    def close(self, timeout_s: float = CLOSE_S) -> None:
        """Write what waits, for `timeout_s` at most. It blocks: in the loop use `asyncio.to_thread`."""
        self._closed = True
        if self._thread is None:
            return
        self._queue.put(None)
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            log.warning("transcripts.unwritten", files=self.waiting, advice=ADVICE)

    # In the thread

    def _run(self) -> None:
        assert self._folder is not None  # else the thread was not begun
        while (kept := self._queue.get()) is not None:
            path = self._folder / _name(kept.began, kept.record.agent, kept.record.call_id)
            try:
                self._put(path, _content(kept))
            except OSError as error:
                self._fail(path, error)
            else:
                self.written += 1
                self._complained = False

    def _put(self, path: Path, content: bytes) -> None:
        """A new file; a second call of the same second, agent and Call-ID gets a number."""
        plain = path
        for number in range(2, SAME_NAMES):
            try:
                return self._write(path, content)
            except FileExistsError:
                path = plain.with_stem(f"{plain.stem}-{number}")
        return self._write(path, content)

    def _fail(self, path: Path, error: OSError) -> None:
        self.failed += 1
        if not self._complained:
            self._complained = True
            log.warning("transcripts.failed", file=path.name, detail=error.strerror or str(error), advice=ADVICE)


def _content(kept: _Kept) -> bytes:
    """What the call was, then its entries in order; times in ms from the call's begin."""
    record = kept.record
    head = {
        "call": record.call_id[:LOGGED_CALL_ID],
        "agent": record.agent,
        "began": f"{kept.began.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "seconds": round(record.talk_s, 1),
        "reason": record.reason.value,
    }
    told = head | dict(kept.about) | {"entries": [_as_written(entry) for entry in kept.entries]}
    return json.dumps(told, ensure_ascii=False, indent=1).encode(errors="replace")


def cost_told(counts: Counts, currency: str, *, priced: bool) -> dict[str, object]:
    """Tokens and cost of a call, for its log line and its file; nothing that is empty."""
    told: dict[str, object] = {"tokens": dict(counts.tokens)} if counts.tokens else {}
    if priced and (counts.cost or counts.unpriced):
        told |= {"cost": round(counts.cost, 6), "currency": currency}
    return told | ({"unpriced": counts.unpriced} if counts.unpriced else {})


def lines(entries: Sequence[Entry]) -> list[str]:
    """For one log line: the newest entries as `12.3 agent: words`, what nobody heard in brackets."""
    told: list[str] = []
    size = 0
    for entry in reversed(entries):
        unheard = f" [unheard: {entry.unheard}]" if entry.unheard else ""
        line = f"{entry.at_ms / 1000:.1f} {entry.role}: {entry.text}{unheard}"
        size += len(line)
        if len(told) == LINES_LOGGED or size > CHARACTERS_LOGGED:
            told.append(f"... {len(entries) - len(told)} entries before")
            break
        told.append(line)
    return told[::-1]


def _as_written(entry: Entry) -> dict[str, Any]:
    """Without what says nothing; `heard` only where it is not all of the text."""
    told = {name: value for name, value in asdict(entry).items() if value != "" and value is not False}
    if entry.role != "agent":
        for name in ("heard", "heard_ms", "received_ms"):
            told.pop(name, None)
    return told


def _create(path: Path, content: bytes) -> None:
    """A new file that only its owner can read; none at all rather than a part of one."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(handle, "wb") as file:
            file.write(content)
    except OSError:
        with suppress(OSError):
            path.unlink()
        raise


def _name(began: datetime, agent: str, call_id: str) -> str:
    """Time in UTC, agent, and a hash: the peer chose the Call-ID, and may have written anything."""
    mark = hashlib.sha256(call_id.encode("utf-8", "surrogatepass")).hexdigest()[:6]
    return f"{began.astimezone(UTC):%Y%m%dT%H%M%SZ}-{re.sub('[^A-Za-z0-9_-]', '_', agent)[:64]}-{mark}.json"
