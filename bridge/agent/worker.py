"""Child processes that listen and speak: one request, one answer, over pipes; a dead or stuck one is replaced.

A frame is two lengths (4 bytes each, big endian), a JSON object of the first length, bytes of the second.
"""

import asyncio
import contextlib
import json
import struct
import sys
from typing import Any

import structlog

LENGTHS = struct.Struct(">II")
# No answer of a worker is longer; more means that it speaks nonsense.
MAX_FRAME = 64 << 20

_log = structlog.get_logger("sipbridge.agent")


def frame(header: dict[str, Any], payload: bytes = b"") -> bytes:
    """One frame in bytes."""
    head = json.dumps(header).encode()
    return LENGTHS.pack(len(head), len(payload)) + head + payload


class Worker:
    """One child `python -m module`. Started at the first request, and again after it died or got stuck."""

    def __init__(self, module: str, timeout: float) -> None:
        self.restarts = -1
        self._module = module
        self._timeout = timeout
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        """Process id; None while there is no child."""
        return None if self._process is None else self._process.pid

    async def ask(self, header: dict[str, Any], payload: bytes = b"") -> tuple[dict[str, Any], bytes] | None:
        """The answer, or None when the child died twice or took longer than the time-out (seconds)."""
        for _ in range(2):
            try:
                return await asyncio.wait_for(self._exchange(header, payload), self._timeout)
            except TimeoutError:
                _log.warning("worker.stalled", module=self._module)
                await self.close()
                return None
            except (OSError, asyncio.IncompleteReadError, ValueError):
                _log.warning("worker.died", module=self._module)
                await self.close()
        return None

    async def close(self) -> None:
        """End the child; its exit is collected here. A child in the middle of its work is killed."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        # Reads to the end of the pipe and waits: nothing of the child is left behind.
        await process.communicate()

    async def _exchange(self, header: dict[str, Any], payload: bytes) -> tuple[dict[str, Any], bytes]:
        if self._process is None:
            await self._start()
        process = self._process
        assert process is not None and process.stdin is not None and process.stdout is not None
        process.stdin.write(frame(header, payload))
        await process.stdin.drain()
        head, body = LENGTHS.unpack(await process.stdout.readexactly(LENGTHS.size))
        if head + body > MAX_FRAME:
            raise ValueError("a worker's frame is too long")
        answer = json.loads(await process.stdout.readexactly(head))
        return answer, await process.stdout.readexactly(body)

    async def _start(self) -> None:
        self.restarts += 1
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            self._module,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=1 << 20,
        )


class Pool:
    """A few workers of one kind; requests wait for a free one."""

    def __init__(self, module: str, size: int, timeout: float) -> None:
        self.workers = [Worker(module, timeout) for _ in range(size)]
        self._free: asyncio.Queue[Worker] = asyncio.Queue()
        for worker in self.workers:
            self._free.put_nowait(worker)

    async def ask(self, header: dict[str, Any], payload: bytes = b"") -> tuple[dict[str, Any], bytes] | None:
        """As `Worker.ask`, by the first worker that is free."""
        worker = await self._free.get()
        try:
            return await worker.ask(header, payload)
        except asyncio.CancelledError:
            # Its answer would be taken for that of the next request.
            await worker.close()
            raise
        finally:
            self._free.put_nowait(worker)

    async def warm(self) -> None:
        """Start all children, so that the first caller does not wait for them."""
        await asyncio.gather(*(worker.ask({"do": "nothing"}) for worker in self.workers))

    async def close(self) -> None:
        await asyncio.gather(*(worker.close() for worker in self.workers))
