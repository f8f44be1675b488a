"""Programs pinned to cores: the service, and the caller and the server with the JSON lines that they say."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from tests.bench.machine import ROOT

Json = dict[str, Any]
_GRACE_S = 5.0


class ProgramFailed(Exception):
    """A program ended before its time, or did not say what was waited for; the text has its last words."""


@contextlib.contextmanager
def on_cores(cores: Sequence[int]) -> Iterator[None]:
    """Children started inside run on these cores only, from their first instruction on, with all their threads."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Pinned:
    """A child process on chosen cores, in the project's folder. Its standard error goes to a file.

    It ends with the `with` block. `environ` is its whole environment; default: ours.
    """

    def __init__(
        self, command: Sequence[str], cores: Sequence[int], log: Path, environ: Mapping[str, str] | None = None
    ) -> None:
        self._log = log
        with log.open("ab") as errors, on_cores(cores):
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environ,
                cwd=ROOT,
            )
        self._said = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Of the process, until it is stopped."""
        return self._process.pid

    @property
    def runs(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def tell(self, number: signal.Signals) -> None:
        """Send it a signal; ProgramFailed when it has ended."""
        if not self.runs:
            raise ProgramFailed(self.last_words())
        self._process.send_signal(number)

    def line(self, within_s: float) -> Json:
        """The next JSON line that it prints."""
        deadline = time.monotonic() + within_s
        while b"\n" not in self._said:
            if not self._read(deadline - time.monotonic()):
                raise ProgramFailed(self.last_words())
        line, _, self._said = self._said.partition(b"\n")
        told = json.loads(line)
        if not isinstance(told, dict):
            raise ProgramFailed(f"no JSON object: {line[:200]!r}")
        return told

    def report(self, within_s: float) -> Json:
        """End it by SIGTERM; the JSON line that it says then."""
        self.tell(signal.SIGTERM)
        return self.line(within_s)

    def stop(self) -> None:
        """End it whatever it does, and reap it."""
        if self.runs:
            self._process.terminate()
            try:
                self._process.wait(_GRACE_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def last_words(self) -> str:
        """The end of what it wrote to its standard error."""
        words = self._log.read_bytes()[-2000:].decode("utf-8", "replace")
        return f"{' '.join(map(str, self._process.args))} (exit {self._process.poll()}): {words}"  # type: ignore[arg-type]

    def _read(self, within_s: float) -> bool:
        """Take in what it has printed; False at the end of it, or when nothing comes in time."""
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, within_s))
        piece = os.read(self._process.stdout.fileno(), 1 << 16) if ready else b""
        self._said += piece
        return bool(piece)
