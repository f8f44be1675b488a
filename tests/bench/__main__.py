"""`python -m tests.bench`: how many calls one core carries, and how well. `--list` shows the cases."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.bench import carried, compiled, interruptions, machine, memory, ratio, set_ups, soak
from tests.bench.cases import CASES, Ask, Case, named
from tests.bench.programs import ProgramFailed
from tests.bench.rig import SERVER, WOKEN, Setting
from tests.bench.run import Measurements
from tests.bench.table import Row, document, table

DEFAULT_JSON = machine.ROOT / ".cache" / "bench.json"
_QUICK_S = 5.0
_QUICK_CASES = "append-20,latency,set-up-time,barge-in"
_QUICK_MOST = 100
"""Calls: a quick run shows that everything works, and what a call costs; it looks for no limit."""


class Bench:
    """One run of the chosen cases."""

    def __init__(self, given: argparse.Namespace, build: Path | None) -> None:
        self._given = given
        self.setting = Setting(
            service_core=given.service_core,
            load_cores=tuple(given.load_cores),
            seconds=given.seconds,
            server=WOKEN if given.woken else SERVER,
            build=build,
        )
        self._measure = Measurements(self.setting, _tell)

    def rows(self, case: Case) -> Iterator[Row]:
        """What a case has to say. Raises ProgramFailed."""
        given, setting = self._given, self.setting
        match case.ask:
            case Ask.LIMIT if given.calls:
                yield from carried.latency(replace(case, calls=tuple(given.calls)), self._measure)
            case Ask.LIMIT:
                yield from carried.limit(case, self._measure)
            case Ask.LATENCY:
                yield from carried.latency(case, self._measure)
            case Ask.SET_UPS:
                yield from set_ups.set_ups(case, setting, _tell)
            case Ask.SET_UP_TIME:
                yield from set_ups.set_up_time(case, setting)
            case Ask.BARGE_IN:
                yield from interruptions.barge_in(case, self._measure)
            case Ask.MEMORY:
                yield from memory.memory_per_call(case, setting, _tell)
            case Ask.SOAK:
                curve = given.json.with_suffix(".svg")
                yield from soak.soak(case, setting, given.soak_minutes, given.soak_calls, curve, _tell)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; 0 when every case could be measured."""
    given = _parsed(arguments)
    if given.list:
        print("\n".join(f"{case.name:12} {case.title}" for case in CASES))
        return 0
    if given.record_ratio:
        return _record_ratio(given)
    return _run(given)


def _run(given: argparse.Namespace) -> int:
    rows, failed = list[Row](), 0
    try:
        build = compiled.chosen(plain=given.plain)
    except ProgramFailed as failure:
        print(failure, file=sys.stderr)
        return 1
    cases, about, begun = _chosen(given), machine.described(), time.monotonic()
    about["build"] = "plain" if build is None else "compiled"
    bench, stopped = Bench(given, build), True
    try:
        for case in cases:
            _tell(f"{case.name}: {case.title}")
            try:
                rows += bench.rows(case)
            except ProgramFailed as failure:
                rows.append(Row(case.name, 0, f"failed: {str(failure).strip().splitlines()[-1]}"))
                _tell(f"{case.name} failed: {failure}")
                failed += 1
        stopped = False
    finally:  # what was measured before somebody lost patience is worth as much
        if not rows and stopped:
            _tell(f"stopped before anything was measured; {given.json} is as it was")
        else:
            _report(given, rows, about | {"stopped": "stopped before its end"} if stopped else about, begun)
    return 1 if failed else 0


def _report(given: argparse.Namespace, rows: list[Row], about: dict[str, Any], begun: float) -> None:
    print(table(rows, about))
    settings = {"seconds": given.seconds, "service_core": given.service_core, "load_cores": given.load_cores}
    settings["woken"] = given.woken
    whole = document(rows, about, settings | {"took_s": round(time.monotonic() - begun)})
    _beside(given.json).write_text(json.dumps(whole, indent=1) + "\n")
    _beside(given.json).replace(given.json)
    print(f"all figures: {given.json}")


def _record_ratio(given: argparse.Namespace) -> int:
    try:
        found = ratio.measure(Setting(service_core=given.service_core, load_cores=tuple(given.load_cores)))
    except ProgramFailed as failure:
        print(f"not measured: {failure}", file=sys.stderr)
        return 1
    print(found)
    if found.noisy:
        print(f"not kept: others used {found.foreign:.1f} cores meanwhile", file=sys.stderr)
        return 1
    found.save()
    return 0


def _chosen(given: argparse.Namespace) -> list[Case]:
    """The cases to run; with --quick and --calls no more calls than those."""
    names = given.cases or (_QUICK_CASES if given.quick else "")
    chosen = named(names)
    if given.soak_minutes <= 0:
        chosen = [case for case in chosen if case.ask is not Ask.SOAK]
    elif not given.cases:
        chosen = [case for case in chosen if case.ask is Ask.SOAK]
    if given.calls:
        several = (Ask.LATENCY, Ask.BARGE_IN, Ask.MEMORY, Ask.SET_UP_TIME)
        chosen = [replace(case, calls=tuple(given.calls)) if case.ask in several else case for case in chosen]
    return chosen


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="How many calls one core carries.")
    add = parser.add_argument
    add("--cases", default="", help="names with commas; default: all but the soak")
    add("--list", action="store_true", help="show the cases and end")
    add("--quick", action="store_true", help=f"short windows, {_QUICK_MOST} calls unless --calls: shows that all works")
    add("--seconds", type=float, default=10.0, help="of each measuring window")
    add("--calls", type=_numbers, help="so many calls instead of a search; several with commas")
    add("--json", type=Path, default=DEFAULT_JSON, help="where all figures go")
    add("--service-core", type=int, default=0, help="the service's own core")
    add("--load-cores", type=_numbers, default=[1], help="those of caller and server, with commas")
    add("--soak-minutes", type=float, default=0.0, help="run the soak for so long, and nothing else unless named")
    add("--soak-calls", type=int, default=100, help="calls at a time of the soak")
    add("--plain", action="store_true", help="measure the source as it is, not compiled as in the image")
    add("--woken", action="store_true", help="let the service pay for waking the server, which sleeps on this machine")
    add("--record-ratio", action="store_true", help="measure the service against the calibration loop, and keep that")
    given = parser.parse_args(arguments)
    if given.quick:
        given.seconds = min(given.seconds, _QUICK_S)
        given.calls = given.calls or [_QUICK_MOST]
    _check(parser, given)
    return given


def _check(parser: argparse.ArgumentParser, given: argparse.Namespace) -> None:
    if given.cases and not given.cases.strip(","):
        parser.error("--cases: no name in it; --list shows them")
    try:
        named(given.cases)
    except ValueError as error:
        parser.error(str(error))
    if not 1 <= given.seconds <= 3600:
        parser.error("--seconds: a window takes 1 s to an hour")
    if given.calls and min(given.calls) < 1:
        parser.error("--calls: one at least")
    if not 0 <= given.soak_minutes <= 10_000:
        parser.error("--soak-minutes: 0 or more")
    if given.soak_calls < 1:
        parser.error("--soak-calls: one at least")
    if fault := _unwritable(given.json):
        parser.error(f"--json: {fault}")
    if "soak" in given.cases.split(",") and given.soak_minutes <= 0:
        parser.error("the soak needs --soak-minutes")
    cores = os.sched_getaffinity(0)
    if strangers := {given.service_core, *given.load_cores} - cores:
        parser.error(f"no core {sorted(strangers)} here: there are {sorted(cores)}")
    if given.service_core in given.load_cores:
        parser.error("service and load on one core: what is measured then is both")


def _unwritable(path: Path) -> str:
    """Why the figures could not be kept there; said before they are measured."""
    if path.exists() and not path.is_file():
        return f"{path} is a folder or a device, not a file"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _beside(path).touch()
        _beside(path).unlink()
    except OSError as error:
        return f"{path} cannot be written: {error.strerror}"
    return ""


def _beside(path: Path) -> Path:
    """Where a file is written before it takes the place of the last one, which is there until then."""
    return path.with_name(f".{path.name}.new")


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def _tell(line: str) -> None:
    print(f"bench: {line}", file=sys.stderr, flush=True)


def _stop(number: int, frame: object) -> None:
    """On the way out every program that runs is stopped."""
    sys.exit(128 + number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGHUP, _stop)
    signal.signal(signal.SIGINT, _stop)
    sys.exit(main())
