"""Programs that a test starts: each in a folder of its own, ended by its process id, its words kept for the report."""

import asyncio
import contextlib
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self


class NotReady(Exception):
    """A program ended, or did not get ready in time; the text is what it said."""


def free_port(kind: socket.SocketKind = socket.SOCK_DGRAM, host: str = "127.0.0.1") -> int:
    """A port that was free a moment ago."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def free_signalling_port(host: str = "127.0.0.1") -> int:
    """A port that was free a moment ago for UDP and TCP alike."""
    for _ in range(100):
        if not taken(port := free_port(host=host), socket.SOCK_STREAM, host):
            return port
    raise NotReady("no port is free for both UDP and TCP")


def free_port_range(count: int, host: str = "127.0.0.1") -> int:
    """The first of `count` UDP ports in a row, even, that were all free a moment ago."""
    for _ in range(200):
        first = (free_port(host=host) + 1) & ~1
        if first + count < 65536 and all(not taken(port, host=host) for port in range(first, first + count)):
            return first
    raise NotReady(f"no {count} free UDP ports in a row")


def taken(port: int, kind: socket.SocketKind = socket.SOCK_DGRAM, host: str = "127.0.0.1") -> bool:
    """Whether somebody holds that port: how a test sees a program come up without sending it anything."""
    with socket.socket(socket.AF_INET, kind) as probe:
        if kind == socket.SOCK_STREAM:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
        return False


class Program:
    """One child process. Its output goes to `log`; leaving the `with` block ends it."""

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        *,
        environment: Mapping[str, str] | None = None,
        typing: bool = False,
        family: bool = False,
    ) -> None:
        """`typing`: it takes commands on its standard input, by `type`; `family`: it has children that end with it."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._family = family
        self.log = folder / "output.log"
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                env=dict(environment) if environment is not None else None,
                stdin=subprocess.PIPE if typing else subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=family,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self, grace: float = 3.0) -> None:
        """SIGTERM, after `grace` seconds SIGKILL; always reaped."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(grace)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()
        if self._family:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        if self.process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()

    def said(self, last: int = 4000) -> str:
        """The end of its output."""
        return self.log.read_bytes()[-last:].decode("utf-8", "replace")

    def type(self, line: str) -> None:
        """Give it one line, as somebody at its terminal would."""
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    async def says(self, pattern: str, within: float = 10.0, *, after: int = 0) -> re.Match[str]:
        """Wait until its output matches; `after`: only what comes behind so many characters. TimeoutError tells it."""
        deadline = time.monotonic() + within
        # Another process writes it: there is no event to wait for.
        while (found := re.compile(pattern).search(self.output(), after)) is None:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise TimeoutError(f"it never said {pattern!r}: {self.said()}")
            await asyncio.sleep(0.02)
        return found

    def output(self) -> str:
        """All of its output so far."""
        return self.log.read_bytes().decode("utf-8", "replace")

    def wait_for_port(self, port: int, kind: socket.SocketKind = socket.SOCK_DGRAM, within: float = 10.0) -> None:
        """Block until the program holds `port`; NotReady when it ends or `within` seconds pass."""
        deadline = time.monotonic() + within
        while not taken(port, kind):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise NotReady(f"port {port} never opened: {self.said()}")
            time.sleep(0.01)

    async def ended(self, within: float) -> int:
        """Its exit code; TimeoutError after `within` seconds. The loop runs on meanwhile."""
        async with asyncio.timeout(within):
            # No event tells of a child's end on every platform.
            while (code := self.process.poll()) is None:
                await asyncio.sleep(0.02)
        return code
