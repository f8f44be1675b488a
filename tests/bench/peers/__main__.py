"""`python -m tests.bench.peers`: the service and an Asterisk side by side, with the same callers on the same cores."""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.bench import machine
from tests.bench.cases import Traffic
from tests.bench.compiled import chosen
from tests.bench.peers.asterisk import WAYS, asterisk, version
from tests.bench.peers.subject import Figures, Subject, measure
from tests.bench.peers.table import markdown
from tests.bench.programs import Pinned, ProgramFailed
from tests.bench.rig import WOKEN, Rig, Setting

_OURS = {"sipbridge": Traffic(), "sipbridge-100": Traffic(append_ms=100)}
_BARE = {"bare": 20, "bare-40": 40}
_START_S = 20.0
_NAMES = {
    "sipbridge": "sipbridge, appends of 20 ms",
    "sipbridge-100": "sipbridge, appends of 100 ms",
    "bare": "a loop in Python with nothing in it, appends of 20 ms",
    "bare-40": "the same, appends of 40 ms",
    "echo": "Asterisk, `Echo()`",
    "audiosocket": "Asterisk, `AudioSocket()`",
    "websocket": "Asterisk, `chan_websocket`",
}


@contextlib.contextmanager
def started(name: str, setting: Setting, folder: Path) -> Iterator[Subject]:
    """One of those that are compared, running. Raises ProgramFailed."""
    if name in WAYS:
        with asterisk(setting, name, folder) as subject:
            yield subject
    elif name in _BARE:
        with bare(setting, _BARE[name], folder) as subject:
            yield subject
    else:
        with Rig(setting, _OURS[name]) as rig:
            service = rig.service
            yield Subject(service.pid, service.target, rig.server, frames=_frames)


@contextlib.contextmanager
def bare(setting: Setting, append_ms: int, folder: Path) -> Iterator[Subject]:
    """The yardstick: see bare_bridge.py."""
    with Pinned([*setting.server], setting.load_cores, folder / "server.log") as server:
        provider = f"ws://127.0.0.1:{server.line(_START_S)['port']}/v1/realtime"
        command = [sys.executable, "-m", "tests.bench.peers.bare_bridge", "--provider", provider]
        command += ["--append-ms", str(append_ms)]
        with Pinned(command, [setting.service_core], folder / "bare.log") as bridge:
            target = f"127.0.0.1:{bridge.line(_START_S)['port']}"
            yield Subject(bridge.pid, target, server, frames=_frames)


def _frames(told: Mapping[str, Any]) -> int:
    return int(told["append_audio_bytes"]) // 160


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; 0 when everything could be measured."""
    given = _parsed(arguments)
    try:
        build = chosen(plain=given.plain)
    except ProgramFailed as failure:
        print(failure, file=sys.stderr)
        return 1
    setting = Setting(  # who writes pays for waking the far end: Asterisk's has no other way
        service_core=given.service_core,
        load_cores=(given.load_core,),
        seconds=given.seconds,
        server=WOKEN,
        build=build,
    )
    rows, failed = list[Figures](), 0
    for name in given.only.split(","):
        for calls in map(int, given.calls.split(",")):
            try:
                rows.append(_measured(name, calls, setting))
            except ProgramFailed as failure:
                print(f"{name} with {calls} calls: {failure}", file=sys.stderr)
                failed += 1
    about = machine.described() | {"build": "plain" if build is None else "compiled", "asterisk": version()}
    print(", ".join(str(value) for value in about.values() if value), end="\n\n")
    print(markdown(rows))
    return 1 if failed else 0


def _measured(name: str, calls: int, setting: Setting) -> Figures:
    with tempfile.TemporaryDirectory(prefix="peers-") as made:
        folder = Path(made)
        with started(name, setting, folder) as subject:
            found = measure(_NAMES[name], subject, calls, setting, folder)
    pacing = found.pacing_ms.get("p99", 0)
    print(f"{name}, {calls} calls: {found.us_per_call:.0f} us, p99 {pacing:.2f} ms {found.remarks}", file=sys.stderr)
    return found


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.peers", description="sipbridge beside an Asterisk.")
    add = parser.add_argument
    add("--only", default=",".join(_NAMES), help="some of the subjects, with commas; default: %(default)s")
    add("--calls", default="50,100,150", help="numbers of calls, with commas")
    add("--seconds", type=float, default=8.0, help="of each measuring window")
    add("--service-core", type=int, default=0)
    add("--load-core", type=int, default=1, help="of callers and far ends")
    add("--plain", action="store_true", help="sipbridge's source as it is, not compiled as in the image")
    given = parser.parse_args(arguments)
    if given.seconds < 1 or min(map(int, given.calls.split(","))) < 1:
        parser.error("one call and one second at least")
    if strangers := set(given.only.split(",")) - set(_NAMES):
        parser.error(f"no {', '.join(sorted(strangers))}: there are {', '.join(_NAMES)}")
    return given


if __name__ == "__main__":
    sys.exit(main())
