"""Fifty calls at once: none lost, every frame both ways, and the pacing of each stream on the wire."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import resource
import sys
import time
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

import pytest

from bridge.agent.patterns import locate
from tests.phones.processes import Program
from tests.phones.wire import Packet, pacing_errors_ms
from tests.service.rig import Service, bench

CALLS = 50
FOREIGN_CORES = 0.4
"""With more of the machine in others' hands its scheduler decides the pacing, not the service."""
RAWPHONE = Path(__file__).parents[1] / "phones" / "rawphone.py"


def tick(period_s: float, stop: Synchronized[int], late_p99_ms: Synchronized[float]) -> None:
    """A process that waits for deadlines and computes for a fifth of the time, as the service does.

    How late this machine wakes it up is what anybody's clock could reach on it at that hour.
    """
    late = []
    deadline = time.monotonic()
    while not stop.value:
        deadline += period_s
        time.sleep(max(0.0, deadline - time.monotonic()))
        now = time.monotonic()
        late.append((now - deadline) * 1000)
        while time.monotonic() < now + period_s / 5:
            pass
    late.sort()
    late_p99_ms.value = late[int(len(late) * 0.99)]


def busy_s() -> float:
    """CPU seconds that the machine has spent on anything, time stolen by its host included."""
    fields = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")


def own_s() -> float:
    """CPU seconds of this test and of the programs it has waited for."""
    return time.process_time() + sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])


class Calibration:
    """What the machine itself allows, measured in the same run."""

    late_p99_ms: float
    foreign: float
    """Cores that neither the service nor the test used, but somebody else did."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def __enter__(self) -> Calibration:
        self._began = time.monotonic(), busy_s() - own_s() - self._service.cpu_seconds()
        context = multiprocessing.get_context("spawn")
        self._stop, self._late = context.Value("i", 0), context.Value("d", 0.0)
        self._process = context.Process(target=tick, args=(0.005, self._stop, self._late))
        self._process.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.value = 1
        self._process.join()
        self.late_p99_ms = self._late.value
        seconds, foreign = self._began
        now = busy_s() - own_s() - self._service.cpu_seconds()
        self.foreign = (now - foreign) / (time.monotonic() - seconds)


@pytest.mark.alone
@pytest.mark.parametrize("seconds", [12, pytest.param(60, marks=pytest.mark.interop)])
async def test_fifty_calls_at_once(tmp_path: Path, seconds: int) -> None:
    script = f"vad: false\nanswer: {{items: [{{audio_ms: {seconds * 1000 - 3000}}}], speed: 3}}"
    async with bench(tmp_path, script, agent={"greeting": "Begin."}, log={"level": "info"}, journal=False) as (
        service,
        _,
    ):
        target = f"127.0.0.1:{service.sip_port}"
        wishes = ["--calls", str(CALLS), "--rate", "25", "--seconds", str(seconds), "--dump", "dump.pickle"]
        with (
            Calibration(service) as machine,
            Program([sys.executable, str(RAWPHONE), target, *wishes], tmp_path / "load") as load,
        ):
            assert await load.ended(seconds + 30) == 0, load.said()
        told = json.loads(load.said(100_000).splitlines()[-1])
        await service.until('sipbridge_calls_total{reason="caller_hung_up"}', CALLS)
        metrics = await service.metrics()
        cpu_s = service.cpu_seconds()

    assert [call["status"] for call in told["calls"]] == [200] * CALLS
    # What the phones sent was taken in, and all of it reached the sessions; a packet that raced with the BYE may miss.
    sent, taken = sum(call["sent"] for call in told["calls"]), metrics["sipbridge_rtp_packets_received_total"]
    assert sent - 2 * CALLS <= taken <= sent
    assert metrics["sipbridge_rtp_lost_total"] == 0
    assert metrics["sipbridge_uplink_bytes_total"] >= 160 * (taken - 5 * CALLS)
    assert metrics["sipbridge_uplink_dropped_bytes_total"] == 0

    errors: list[float] = []
    for stream in pickle.loads((tmp_path / "load" / "dump.pickle").read_bytes()):
        packets = [Packet(t, ("", 0), 0, False, sequence, stamp, 0, data) for t, sequence, stamp, data in stream]
        assert [p.sequence for p in packets] == [(packets[0].sequence + n) & 0xFFFF for n in range(len(packets))]
        assert_whole(packets)
        errors += pacing_errors_ms(packets)
    errors.sort()
    p50, p99, p999 = (errors[int(len(errors) * share)] for share in (0.5, 0.99, 0.999))
    print(f"\n{CALLS} calls, {seconds} s: {len(errors)} packets, late p50 {p50:.2f} p99 {p99:.2f} p99.9 {p999:.2f} ms;")
    print(f"service: {cpu_s:.1f} s CPU; the machine's own wake-ups meanwhile: p99 {machine.late_p99_ms:.2f} ms")
    if machine.foreign > FOREIGN_CORES:
        pytest.skip(f"others used {machine.foreign:.1f} cores meanwhile: pacing says nothing; p99 was {p99:.1f} ms")
    assert p99 <= max(10.0, 2 * machine.late_p99_ms)


def assert_whole(packets: list[Packet]) -> None:
    """The agent's sentence came without hole or repeat, from its first byte on."""
    position = 0
    for packet in packets:
        for place in locate(packet.payload):
            assert place.position == position
            position += place.end - place.start
    assert position > 0
