"""How exact the slots are on a real loop: `python -m tests.bench.pacing [calls] [seconds]`. No network peers."""

import asyncio
import itertools
import sys
import time

import uvloop

from bridge.media.pacer import PERIOD, Pacer
from tests.bench.percentiles import summary
from tests.media.phone import Line, Phone


async def main(calls: int, seconds: float) -> None:
    pacer, phone = Pacer(), Phone()
    lines = [Line(phone=phone, pacer=pacer, clock=time.monotonic) for _ in range(calls)]
    sent: list[list[float]] = [[] for _ in lines]
    for line, times in zip(lines, sent, strict=True):
        line.stream.playout.push("a", b"\x55" * int(8000 * seconds))
        line.stream.on_sent = lambda payload, times=times: times.append(time.perf_counter())  # type: ignore[misc]
        line.stream.start()
    cpu = time.process_time()
    await asyncio.sleep(seconds)
    cpu = time.process_time() - cpu
    for line in lines:
        line.stream.close()
    phone.sock.close()
    errors = [abs(b - a - PERIOD) * 1000 for times in sent for a, b in itertools.pairwise(times)]
    told = summary(errors)
    print(f"{calls} calls, {seconds:g} s: error of the interval p50 {told['p50']:.2f} ms,", end=" ")
    print(f"p99 {told['p99']:.2f} ms, p99.9 {told['p99_9']:.2f} ms,", end=" ")
    print(f"skipped {pacer.skipped_slots}, CPU {100 * cpu / seconds:.0f} %")
    print("lateness of rounds (ms):", [(bound * 1000, count) for bound, count in pacer.lateness.cumulative_s()[0]])


if __name__ == "__main__":
    arguments = [float(argument) for argument in sys.argv[1:]]
    calls = int(arguments[0]) if arguments else 100
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(calls, arguments[1] if len(arguments) > 1 else 10))
