"""A Realtime server in a process of its own, to be killed (kill -9) and started again at the same port.

It is the built-in agent with a script. What it hears and says goes, as it happens, to a file that outlives it: one line
of JSON per event, written by one system call. As a program: `python -m tests.service.killed_server '{"port": ...}'`; it
listens as soon as it reads a line, so that its start takes no time of the test's.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import time
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson

from bridge.agent.script import Script
from bridge.agent.server import AgentServer, AgentSession
from tests.phones.processes import Program, free_port

Event = dict[str, Any]
ROOT = Path(__file__).parents[2]
ITEMS = 64
"""Spoken items of one server are numbered from its number times this on, so that a packet tells its server, too."""


@dataclass
class Lived:
    """One session as its server has written it down: (ns, event) each way, and how many spoken items came before."""

    server: int
    serial: int
    received: list[tuple[int, Event]] = field(default_factory=list)
    sent: list[tuple[int, Event]] = field(default_factory=list)

    def got(self, kind: str) -> list[Event]:
        """What the bridge sent of one kind."""
        return [event for _, event in self.received if event["type"] == kind]

    @cached_property
    def audio(self) -> bytes:
        """The caller's, all of it."""
        return b"".join(b64decode(event["audio"]) for event in self.got("input_audio_buffer.append"))

    @property
    def instructions(self) -> str:
        """What it was configured with; empty: it never was."""
        updates = self.got("session.update")
        return str(updates[-1]["session"].get("instructions", "")) if updates else ""


class KilledServer:
    """The parent's side. `server` counts from 1; its number is also the seed of its ids, so that none comes twice."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port(socket.SOCK_STREAM)
        self.url = f"ws://127.0.0.1:{self.port}/v1/realtime"
        self.server = 0
        self.killed_at: dict[int, int] = {}
        """Server → ns of its death."""
        self._folder = folder
        self._journal = folder / "journal"
        self._next: Program | None = None
        self._running: Program | None = None

    def __enter__(self) -> KilledServer:
        return self

    def __exit__(self, *_: object) -> None:
        for program in (self._next, self._running):
            if program is not None:
                program.stop()

    def prepare(self, script: str, *, apart: int = 0, **options: Any) -> None:
        """Let the next one get ready; `options` are those of AgentServer.

        `apart`: the items of each further session are numbered from so much on.
        """
        self.server += 1
        told = {"port": self.port, "script": script, "server": self.server, "journal": str(self._journal)}
        given = json.dumps(told | {"apart": apart, "options": {"seed": self.server} | options})
        command = [sys.executable, "-m", "tests.service.killed_server", given]
        environment = dict(os.environ) | {"PYTHONPATH": str(ROOT)}
        folder = self._folder / f"server-{self.server}"
        self._next = Program(command, folder, environment=environment, typing=True)

    async def start(self, script: str = "{}", **options: Any) -> None:
        """Let the one that is prepared listen, or a new one."""
        if self._next is None:
            self.prepare(script, **options)
        assert self._next is not None and self._running is None
        self._running, self._next = self._next, None
        await self._running.says("ready", 30)
        self._running.type("go")
        await self._running.says("listening", 30)

    def kill(self) -> int:
        """kill -9. When it was over, in ns."""
        assert self._running is not None
        self._running.process.kill()
        self._running.stop()
        self._running = None
        self.killed_at[self.running] = time.time_ns()
        return self.killed_at[self.running]

    @property
    def running(self) -> int:
        """The number of the one that runs, or was the last to."""
        return self.server - (self._next is not None)

    def sessions(self) -> list[Lived]:
        """All sessions so far, in order."""
        found: dict[tuple[int, int], Lived] = {}
        if not self._journal.exists():
            return []
        for line in self._journal.read_bytes().split(b"\n")[:-1]:
            server, serial, way, t_ns, event = orjson.loads(line)
            lived = found.setdefault((server, serial), Lived(server, serial))
            if way:
                getattr(lived, way).append((t_ns, event))
        return [found[key] for key in sorted(found)]

    async def until(self, met: Callable[[list[Lived]], bool], within: float = 10) -> list[Lived]:
        """Wait until what was written down is as wanted; it is another process that writes."""
        async with asyncio.timeout(within):
            while not met(sessions := self.sessions()):
                await asyncio.sleep(0.03)
        return sessions


# The child's side


class _Written(list[Any]):
    """A journal that is a file."""

    def __init__(self, write: Callable[[str, int, Event], None], way: str) -> None:
        self._write = write
        self._way = way

    def append(self, entry: tuple[int, Event]) -> None:
        self._write(self._way, *entry)


class _Sessions(list[Any]):
    """The server's list of its sessions: each gets a journal of ours as soon as it is in it."""

    def __init__(self, journal: int, server: int, apart: int) -> None:
        self._journal = journal
        self._server = server
        self._apart = apart
        self._count = 0

    def append(self, session: AgentSession) -> None:
        self._count += 1
        serial = self._count

        def write(way: str, t_ns: int, event: Event | None) -> None:
            os.write(self._journal, orjson.dumps([self._server, serial, way, t_ns, event]) + b"\n")

        session.received, session.sent = _Written(write, "received"), _Written(write, "sent")
        session.core.stage.audio_items = self._server * ITEMS + (serial - 1) * self._apart
        write("", 0, None)


async def _serve(port: int, script: str, server: int, journal: str, apart: int, options: dict[str, Any]) -> None:
    if options.get("keys") is not None:
        options["keys"] = set(options["keys"])
    agent = AgentServer(script=Script.parse(script), journal=True, **options)
    agent.sessions = _Sessions(os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND), server, apart)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await agent.start("127.0.0.1", port)
    print("listening", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(**json.loads(sys.argv[1])))
