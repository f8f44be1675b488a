"""The built-in agent as a child process, for agents with `provider: builtin`.

A process of its own: its speech recognition and synthesis never hold up a call, and its crash ends no more than the
sessions it served; it is started again at the same address.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import sys
from collections.abc import Mapping
from typing import Any

import structlog

log = structlog.get_logger("sipbridge.builtin")

START_TIMEOUT_S = 20.0
RESTART_PAUSE_S = 1.0


_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL", re.IGNORECASE)


class BuiltinAgentFailed(Exception):
    """The built-in agent did not start; the text says what to do."""


class BuiltinAgent:
    """Keeps one `sipbridge agent` running."""

    def __init__(
        self,
        log_level: str = "warning",
        pipelines: Mapping[str, Mapping[str, Any]] | None = None,
        *,
        plain: bool = True,
    ) -> None:
        """`pipelines`: `config.Pipeline.revealed()` by name; a session's model `pipeline-NAME` chooses one.

        `plain` False: nobody will ask for the built-in parts alone, so that their packages need not be there.
        """
        self._log_level = log_level
        # Keys stand in it: it goes through the child's standard input, never into a command line or a file.
        self._first_line = json.dumps({"plain": plain, "pipelines": dict(pipelines or {})}).encode() + b"\n"
        self.url = ""
        """Where it listens; set by `start`."""
        self.restarts = 0
        self._process: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[None] | None = None

    async def start(self) -> str:
        """Start it on a free port of the loopback interface; returns its URL. Raises BuiltinAgentFailed."""
        await self._launch("127.0.0.1:0")
        self._keeper = asyncio.create_task(self._keep())
        return self.url

    async def close(self) -> None:
        """End it: it leaves when its standard input closes."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait({self._keeper})
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(3):
                await process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _launch(self, listen: str) -> None:
        command = (
            sys.executable,
            "-m",
            "bridge",
            "agent",
            "--listen",
            listen,
            "--log-level",
            self._log_level,
            "--attached",
        )
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, env=_environment())
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                self._process.stdin.write(self._first_line)
                await self._process.stdin.drain()
                line = (await self._process.stdout.readline()).decode().strip()
        except (TimeoutError, ConnectionError):
            line = ""
        if not line.startswith("ws://"):
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
            raise BuiltinAgentFailed("the built-in agent did not start: run `sipbridge agent` to see why")
        self.url = line

    async def _keep(self) -> None:
        while self._process is not None:
            status = await self._process.wait()
            log.error("builtin.died", status=status, advice="it is started again; its calls wait for it")
            self.restarts += 1
            await asyncio.sleep(RESTART_PAUSE_S)
            listen = self.url.removeprefix("ws://").partition("/")[0]
            try:
                await self._launch(listen)
            except BuiltinAgentFailed as failure:
                log.error("builtin.failed", detail=str(failure))


def _environment() -> dict[str, str]:
    """Ours without what looks like a secret: the child needs none of the keys of other providers."""
    return {name: value for name, value in os.environ.items() if not _SECRET.search(name)}
