"""The built-in agent as a child process, for agents with `provider: builtin`.

A process of its own: its speech recognition and synthesis never hold up a call, and its crash ends no more than the
sessions it served; it is started again at the same address.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys

import structlog

log = structlog.get_logger("sipbridge.builtin")

START_TIMEOUT_S = 20.0
RESTART_PAUSE_S = 1.0


class BuiltinAgentFailed(Exception):
    """The built-in agent did not start; the text says what to do."""


class BuiltinAgent:
    """Keeps one `sipbridge agent` running."""

    def __init__(self, log_level: str = "warning") -> None:
        self._log_level = log_level
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
        self._process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                line = (await self._process.stdout.readline()).decode().strip()
        except TimeoutError:
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
            log.error("builtin.died", status=status, advice="it is started again; its calls were lost")
            self.restarts += 1
            await asyncio.sleep(RESTART_PAUSE_S)
            listen = self.url.removeprefix("ws://").partition("/")[0]
            try:
                await self._launch(listen)
            except BuiltinAgentFailed as failure:
                log.error("builtin.failed", detail=str(failure))
