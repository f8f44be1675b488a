"""What the system tells of a thread's share of the core."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

import bridge.core_time
from bridge.core_time import CoreTime


def test_work_is_counted_and_sleep_is_not() -> None:
    core = CoreTime()
    before, began = core(), time.thread_time()
    while time.thread_time() < began + 0.05:
        pass
    between = core()
    time.sleep(0.05)
    after = core()
    core.close()
    assert between[0] - before[0] == pytest.approx(0.05, abs=0.01)
    assert after[0] - between[0] < 0.02
    assert 0 <= before[1] <= between[1] <= after[1]


def test_the_file_is_given_back() -> None:
    before, core = len(os.listdir("/proc/self/fd")), CoreTime()
    core()
    core.close()
    core.close()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("words", [None, "", "0\n"])
def test_where_nobody_counts_the_waiting_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str | None
) -> None:
    path = tmp_path / "schedstat"
    if words is not None:
        path.write_text(words)
    monkeypatch.setattr(bridge.core_time, "_SCHEDSTAT", str(path))
    core = CoreTime()
    worked, waited = core()
    assert worked > 0 and waited == 0


def test_waiting_is_in_nanoseconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "schedstat"
    path.write_text("1 2500000000 3\n")
    monkeypatch.setattr(bridge.core_time, "_SCHEDSTAT", str(path))
    core = CoreTime()
    assert core()[1] == 2.5
    path.write_text("1 2600000000 4\n")
    assert core()[1] == pytest.approx(2.6)
    core.close()
