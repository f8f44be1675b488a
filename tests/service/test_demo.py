"""`sipbridge demo`, the first thing anybody sees: question, interruption, truncation, farewell, recording."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import wave
from pathlib import Path


def demo(folder: Path) -> subprocess.CompletedProcess[str]:
    wishes = ["demo", "--port", "0", "--seconds", "0", "--keep", str(folder / "demo.wav")]
    return subprocess.run([sys.executable, "-m", "bridge", *wishes], capture_output=True, text=True, timeout=110)


def tracks(path: Path) -> tuple[list[int], list[int]]:
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getframerate()) == (2, 8000)
        samples = memoryview(file.readframes(file.getnframes())).cast("h")
    return list(samples[0::2]), list(samples[1::2])


def loud_seconds(track: list[int]) -> float:
    return sum(max(map(abs, track[at : at + 160])) > 500 for at in range(0, len(track) - 160, 160)) / 50


async def test_the_demonstration_shows_and_records_an_interruption(tmp_path: Path) -> None:
    done = await asyncio.to_thread(demo, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    told = [
        'the caller says: "Tell me a story."',
        'the agent understood: "tell me a story"',
        'the caller says (interrupting): "What time is it?"',
        "told the session: truncate item_",
        'the agent understood: "what time is it"',
        'the caller says: "Goodbye."',
        "the agent uses the tool hang_up",
        "the other side hung up",
    ]
    places = [done.stdout.find(words) for words in told]
    assert places == sorted(places) and places[0] > 0, f"{places}\n{done.stdout}"
    heard = re.search(r"the caller has heard (\d+) ms", done.stdout)
    assert heard and 2500 < int(heard[1]) < 6000, "the interruption comes three seconds into the story"
    caller, agent = tracks(tmp_path / "demo.wav")
    assert loud_seconds(caller) > 1.5 and loud_seconds(agent) > 8
