"""What the machine is, and who else uses it meanwhile: figures mean little without both."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import subprocess
import time
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
_CPUCLOCK_SCHED = 2
"""The clock of the time on a core in a process's dynamic clock id (clock_getcpuclockid(3))."""


def described() -> dict[str, Any]:
    """CPU model, cores, kernel, Python, date and commit, for the head of the report."""
    return {
        "cpu": cpu_model(Path("/proc/cpuinfo").read_text()),
        "cores": os.cpu_count(),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
    }


def cpu_model(cpuinfo: str) -> str:
    """The name of the processor; of machines that do not tell it (many ARM ones), the architecture."""
    found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    return found[1].strip() if found else platform.machine()


def commit() -> str:
    """The commit that is measured, with a + behind it when files have changed since; empty without git."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return described.stdout.strip()


def cpu_s(pid: int) -> float:
    """CPU seconds of a process so far, all its threads, user and system, to the nanosecond."""
    return time.clock_gettime((~pid << 3) | _CPUCLOCK_SCHED)


def stolen_s(stat: str) -> float:
    """CPU seconds that the host has given to others while ours wanted to run, from `/proc/stat`'s text, all cores."""
    return int(stat.split("\n", 1)[0].split()[8]) / os.sysconf("SC_CLK_TCK")


def processes() -> dict[int, float]:
    """CPU seconds of every process that can be seen."""
    used = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):  # it has ended meanwhile
                used[int(name)] = cpu_s(int(name))
    return used


class Foreign:
    """How many cores others have used since it was made. `own`: the processes that are ours, ended ones left out.

    What the clocks of other processes show, and what the host says that it took away. The ticks of `/proc/stat` say
    nothing: they find a program that wakes with them always at work, or never. Who cannot be seen from here, in another
    container of the machine, shows in how long the service waits for its core. The other parameters are for tests.
    """

    def __init__(
        self,
        own: Callable[[], Collection[int]],
        clocks: Callable[[], dict[int, float]] = processes,
        stat: Callable[[], str] = lambda: Path("/proc/stat").read_text(),
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._own, self._clocks, self._stat, self._now = own, clocks, stat, now
        self._before, self._stolen_s, self._began = clocks(), stolen_s(stat()), now()

    def cores(self) -> float:
        """Others' share since then, 1.0 for a whole core."""
        # Ours come first: asking for them reaps those that have ended, which else still have a clock.
        own, clocks, seconds = self._own(), self._clocks(), self._now() - self._began
        used = {pid: s - self._before.get(pid, 0.0) for pid, s in clocks.items()}
        by_clocks = sum(used.values()) - sum(used.get(pid, 0.0) for pid in own)
        stolen = stolen_s(self._stat()) - self._stolen_s
        return max(0.0, by_clocks + stolen) / seconds if seconds > 0 else 0.0
