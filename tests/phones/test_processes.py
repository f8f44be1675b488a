import asyncio
import os
import sys
from pathlib import Path

import pytest

from tests.phones.processes import Program


async def test_a_program_is_told_and_heard(tmp_path: Path) -> None:
    with Program(["cat"], tmp_path, typing=True) as echo:
        echo.type("first line")
        assert (await echo.says(r"(\w+) line"))[1] == "first"
        mark = len(echo.output())
        with pytest.raises(TimeoutError, match="first line"):
            await echo.says("first", within=0.1, after=mark)


async def test_waiting_for_a_word_ends_with_the_program(tmp_path: Path) -> None:
    with Program(["true"], tmp_path) as program:
        with pytest.raises(TimeoutError):
            await program.says("anything", within=60)


async def test_a_family_goes_together(tmp_path: Path) -> None:
    parent = "import subprocess, time; print(subprocess.Popen(['sleep', '600']).pid, flush=True); time.sleep(600)"
    with Program([sys.executable, "-c", parent], tmp_path, family=True) as program:
        child = int((await program.says(r"(\d+)\n"))[1])
        os.kill(child, 0)
    async with asyncio.timeout(5):
        while _lives(child):
            await asyncio.sleep(0.01)


def _lives(pid: int) -> bool:
    """Whether it is more than an entry that its new parent has yet to clear away."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
