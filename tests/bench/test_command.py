"""The benchmark's command line: nonsense is refused before anything starts, and what was measured is never lost."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bench import machine
from tests.bench.__main__ import main

COMMAND = [sys.executable, "-m", "tests.bench"]


@pytest.mark.parametrize(
    "options",
    [
        ["--calls", "0"],
        ["--calls", "10,-5"],
        ["--seconds", "0"],
        ["--seconds", "nan"],
        ["--cases", "soak"],
        ["--soak-minutes", "-1"],
        ["--soak-minutes", "nan", "--cases", "soak"],
        ["--soak-minutes", "1", "--soak-calls", "0"],
        ["--json", "/"],
        ["--json", "/dev/full"],
        ["--json", "/proc/x.json"],
        ["--json", "/etc/passwd/x.json"],
        ["--cases", ","],
        ["--cases", "nonsense"],
        ["--service-core", "4096"],
        ["--service-core", "1", "--load-cores", "1"],
    ],
)
def test_nonsense_is_refused(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(options)
    assert left.value.code == 2 and "error: " in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_told_to_stop_it_stops_everything_and_tells_what_it_has(tmp_path: Path, number: signal.Signals) -> None:
    path = tmp_path / "bench.json"
    options = ["--plain", "--cases", "append-20,append-40", "--calls", "2", "--seconds", "1", "--json", str(path)]
    with subprocess.Popen(
        [*COMMAND, *options], cwd=machine.ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as bench:
        assert bench.stderr is not None and bench.stdout is not None
        while not (line := bench.stderr.readline()).startswith("bench: append-40"):
            assert line, "it ended by itself"
        assert within(30, lambda: bool(children_of(bench.pid)))
        children = children_of(bench.pid)
        bench.send_signal(number)
        said, _ = bench.communicate(timeout=60)
    assert bench.returncode == 128 + number
    assert within(30, lambda: not any(map(runs, children)))
    assert "append-20" in said
    assert [row["case"] for row in json.loads(path.read_text())["rows"]] == ["append-20"]


def within(seconds: float, holds: Callable[[], bool]) -> bool:
    """Whether it comes to hold in that time: what was killed takes a moment to be gone."""
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.05)
    return holds()


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def children_of(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
