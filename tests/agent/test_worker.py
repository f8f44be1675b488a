"""Child processes: they answer, die, hang and end with their parent, and nothing of them is left."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import textwrap
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from bridge.agent.worker import Pool, Worker

MODULE = "tests.agent.broken_worker"


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    one = Worker(MODULE, 5)
    yield one
    await one.close()


def alive(pid: int) -> bool:
    """Running; a zombie that nobody collected counts, too."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def until(test: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not test():
            await asyncio.sleep(0.01)


async def test_an_answer_comes_back_whole(worker: Worker) -> None:
    payload = bytes(range(256)) * 4096
    answer = await worker.ask({"do": "answer"}, payload)
    assert answer is not None
    assert answer[1] == payload[::-1]


async def test_one_child_serves_many_requests(worker: Worker) -> None:
    pids = {(await worker.ask({"do": "answer"}))[0]["pid"] for _ in range(5)}  # type: ignore[index]
    assert pids == {worker.pid}


async def test_what_a_library_prints_is_no_answer(worker: Worker) -> None:
    answer = await worker.ask({"do": "print"}, b"ab")
    assert answer is not None
    assert answer[1] == b"ba"


async def test_a_dead_child_is_replaced_and_the_request_repeated(worker: Worker, tmp_path: Path) -> None:
    first = await worker.ask({"do": "answer"})
    answer = await worker.ask({"do": "die once", "mark": str(tmp_path / "mark")})
    assert first is not None
    assert answer is not None
    assert answer[0]["pid"] != first[0]["pid"]
    assert worker.restarts == 1
    assert not alive(first[0]["pid"])


async def test_a_request_that_kills_is_given_up(worker: Worker) -> None:
    assert await worker.ask({"do": "die"}) is None
    assert await worker.ask({"do": "answer"}) is not None


async def test_a_child_that_was_killed_meanwhile_is_replaced(worker: Worker) -> None:
    await worker.ask({"do": "answer"})
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    assert await worker.ask({"do": "answer"}) is not None


async def test_a_child_that_hangs_is_killed(worker: Worker) -> None:
    await worker.ask({"do": "answer"})
    pid = worker.pid
    worker._timeout = 0.2
    assert await worker.ask({"do": "hang"}) is None
    assert pid is not None
    assert not alive(pid)
    worker._timeout = 5
    assert await worker.ask({"do": "answer"}) is not None


async def test_close_leaves_nothing_behind(worker: Worker) -> None:
    await worker.ask({"do": "answer"})
    pid = worker.pid
    await worker.close()
    assert pid is not None
    assert not alive(pid)
    assert worker.pid is None


async def test_a_cancelled_request_does_not_answer_the_next() -> None:
    pool = Pool(MODULE, 1, 5)
    await pool.warm()
    hanging = asyncio.create_task(pool.ask({"do": "hang"}))
    await asyncio.sleep(0.02)
    hanging.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await hanging
    answer = await pool.ask({"do": "answer"}, b"next")
    assert answer is not None
    assert answer[1] == b"txen"
    await pool.close()


async def test_a_pool_works_side_by_side_and_makes_the_rest_wait() -> None:
    pool = Pool(MODULE, 2, 5)
    answers = await asyncio.gather(*(pool.ask({"do": "answer"}, bytes([n])) for n in range(10)))
    assert [answer[1] for answer in answers if answer is not None] == [bytes([n]) for n in range(10)]
    assert len({answer[0]["pid"] for answer in answers if answer is not None}) == 2
    await pool.close()


@pytest.mark.parametrize("busy", [False, True])
async def test_the_child_ends_with_a_parent_that_is_killed(busy: bool) -> None:
    program = f"""
        import asyncio
        from bridge.agent.worker import Worker
        async def main():
            worker = Worker("{MODULE}", 100)
            answer = await worker.ask({{"do": "answer"}})
            print(answer[0]["pid"], flush=True)
            await worker.ask({{"do": "hang"}}) if {busy} else await asyncio.sleep(100)
        asyncio.run(main())
    """
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", textwrap.dedent(program), stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    child = int(await parent.stdout.readline())
    assert alive(child)
    parent.kill()
    await parent.communicate()
    await until(lambda: not alive(child) or _state(child) == "Z")


def _state(pid: int) -> str:
    """The state letter in /proc: an orphan's zombie is the business of process 1."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"
