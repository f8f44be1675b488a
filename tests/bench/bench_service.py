"""The service under load: a default installation on one core, watched only from outside."""

from __future__ import annotations

import os
import socket
import sys
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import yaml

from tests.bench.cases import Traffic
from tests.bench.machine import cpu_s
from tests.bench.programs import Pinned, ProgramFailed
from tests.phones.processes import free_port, free_signalling_port, taken

GREETING = "Greet the caller."
_PORTS = 4096
"""RTP ports: one even and one odd for each call, and some that are just being given back."""
_READY_S = 30.0
_STARTS = 3
_TAKEN = "another service has this port"


@dataclass(frozen=True, slots=True)
class Memory:
    """Of one process, in KiB: resident, and resident with shared pages counted by share."""

    rss_kib: int
    pss_kib: int


def memory(pid: int) -> Memory:
    """As the kernel counts it (/proc/PID/smaps_rollup)."""
    rows = (line.split() for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
    sizes = {row[0]: int(row[1]) for row in rows}
    return Memory(sizes["Rss:"], sizes["Pss:"])


@dataclass(frozen=True, slots=True)
class CpuTime:
    """Seconds of the service's own process with all its threads, and of waiting for its core."""

    all_s: float
    system_s: float
    """In the kernel, to 10 ms."""
    waited_s: float
    """The main thread could run, and something else had the core."""

    def __sub__(self, earlier: CpuTime) -> CpuTime:
        return CpuTime(self.all_s - earlier.all_s, self.system_s - earlier.system_s, self.waited_s - earlier.waited_s)


def cpu_time(pid: int) -> CpuTime:
    """What a process has used until now."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    waited = int(Path(f"/proc/{pid}/schedstat").read_text().split()[1])
    return CpuTime(cpu_s(pid), int(fields[12]) / os.sysconf("SC_CLK_TCK"), waited / 1e9)


def config(traffic: Traffic, provider: str, ports: Ports, folder: Path) -> dict[str, Any]:
    """The defaults, with limits that are not in the way, and what this traffic needs."""
    agent: dict[str, Any] = {"provider": provider, "key": "bench", "greeting": GREETING}
    sections: dict[str, Any] = {
        "sip": {"listen": [f"udp://127.0.0.1:{ports.sip}"]},
        "media": {"ports": f"{ports.rtp}-{ports.rtp + _PORTS - 1}", "append_ms": traffic.append_ms},
        "agents": {"bench": agent},
        "http": {"listen": f"127.0.0.1:{ports.http}"},
        "limits": {"calls": 100_000, "calls_per_second": 100_000, "minutes": 1440, "drain_s": 1},
    }
    if not traffic.admission:
        sections["limits"]["late_ms"] = 0
    if traffic.pcm:
        agent["server"] = {"g711": False}
    if traffic.warm:
        agent |= {"warm": 20, "greeting_wait_ms": 0}
    if traffic.srtp:
        sections["trunks"] = {"caller": {"peers": ["127.0.0.0/8"], "srtp": "required"}}
    if traffic.record:
        agent["record"] = True
        sections["recording"] = {"folder": str(folder), "min_free_megabytes": 0}
    return sections


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the service listens, at 127.0.0.1; `rtp` is the first of a range."""

    sip: int
    http: int
    rtp: int

    @classmethod
    def free(cls) -> Ports:
        """Ports that nobody had a moment ago. The range lies below those that the system itself gives out."""
        for first in range(8192, 32768 - _PORTS, 1024):
            if not any(taken(port) for port in range(first, first + _PORTS, 16)):
                return cls(free_signalling_port(), free_port(socket.SOCK_STREAM), first)
        raise ProgramFailed(f"no {_PORTS} UDP ports are free in a row")


class BenchService(Pinned):
    """`sipbridge serve`, running and ready."""

    ports: Ports

    @classmethod
    def started(
        cls,
        folder: Path,
        traffic: Traffic,
        provider: str,
        core: int,
        environ: Mapping[str, str] | None = None,
        build: Path | None = None,
    ) -> Self:
        """Start it on its core, with its configuration and log in `folder`, and wait until it is ready."""
        # What somebody has set for a service of his own would change what is measured.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("BRIDGE_")}
        path = folder / "sipbridge.yaml"
        command = [sys.executable, "-m", "bridge", "serve", "--config", str(path)]
        if build is not None:
            command.insert(1, "-P")  # not from the folder in which it runs
            environment["PYTHONPATH"] = str(build)
        for attempt in range(_STARTS):
            ports = Ports.free()
            path.write_text(yaml.safe_dump(config(traffic, provider, ports, folder)))
            log = folder / f"service-{attempt}.log"
            service = cls(command, [core], log, environment | dict(environ or {}))
            service.ports = ports
            try:
                service._until_ready()
            except ProgramFailed as failure:
                service.stop()
                # Somebody else was given the same free port a moment later.
                if _TAKEN not in str(failure) or attempt == _STARTS - 1:
                    raise
            except BaseException:  # told to stop meanwhile: nobody else knows of it yet
                service.stop()
                raise
            else:
                return service
        raise AssertionError("unreachable")

    @property
    def target(self) -> str:
        """HOST:PORT for callers."""
        return f"127.0.0.1:{self.ports.sip}"

    def cpu(self) -> CpuTime:
        """What it has used until now."""
        return cpu_time(self.pid)

    def memory(self) -> Memory:
        """What it holds now."""
        return memory(self.pid)

    def metrics(self) -> dict[str, float]:
        """All samples of /metrics, `name{labels}` → value."""
        text = _page(f"http://127.0.0.1:{self.ports.http}/metrics")
        rows = (line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#"))
        return {name: float(value) for name, _, value in rows}

    def until_idle(self, within_s: float = 20) -> bool:
        """Wait until it has no calls left; False when it still has."""
        deadline = time.monotonic() + within_s
        while self.metrics()["sipbridge_calls_active"]:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.2)
        return True

    def _until_ready(self) -> None:
        deadline = time.monotonic() + _READY_S
        while time.monotonic() < deadline and self.runs:
            try:
                _page(f"http://127.0.0.1:{self.ports.http}/readyz")
            except OSError:  # nobody listens yet, or a 503
                time.sleep(0.05)
            else:
                return
        raise ProgramFailed(self.last_words())


def _page(url: str) -> str:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=10) as answer:
        return str(answer.read().decode())
