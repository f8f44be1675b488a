"""What the machine is, and who else uses it meanwhile: figures mean little without both."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import resource
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


def busy_s(stat: str) -> float:
    """CPU seconds of `/proc/stat`'s text on all cores, interrupts and what the host has stolen included."""
    ticks = [int(field) for field in stat.split("\n", 1)[0].split()[1:9]]
    idle, waiting = ticks[3:5]
    return (sum(ticks) - idle - waiting) / os.sysconf("SC_CLK_TCK")


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

    Two ways to tell, and each misses something: the clocks of processes do not show those of other containers and those
    that have ended; the ticks of `/proc/stat` miss programs that wake with the tick, as a pacer does. What is left over
    of the idle time is no third way: on a virtual machine every wake-up takes some of that for itself. So the larger of
    the two counts. The other parameters are for tests.
    """

    def __init__(
        self,
        own: Callable[[], Collection[int]],
        clocks: Callable[[], dict[int, float]] = processes,
        stat: Callable[[], str] = lambda: Path("/proc/stat").read_text(),
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._own, self._clocks, self._stat, self._now = own, clocks, stat, now
        self._ended_s = _ended_s()
        self._before, self._busy_s, self._began = clocks(), busy_s(stat()), now()

    def cores(self) -> float:
        """Others' share since then, 1.0 for a whole core."""
        # Ours come first: asking for them reaps those that have ended, which else still have a clock.
        own, clocks, seconds = self._own(), self._clocks(), self._now() - self._began
        used = {pid: s - self._before.get(pid, 0.0) for pid, s in clocks.items()}
        ours = sum(used.get(pid, 0.0) for pid in own)
        by_clocks = sum(used.values()) - ours
        by_ticks = busy_s(self._stat()) - self._busy_s - ours - (_ended_s() - self._ended_s)
        return max(0.0, by_clocks, by_ticks) / seconds if seconds > 0 else 0.0


def _ended_s() -> float:
    """CPU seconds of our children that have ended."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ended.ru_utime + ended.ru_stime
