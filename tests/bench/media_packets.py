"""What one packet in and one slot out cost: `python -m tests.bench.media_packets`. Loopback, one process."""

import asyncio
import time
from collections.abc import Callable

from tests.media.phone import Line

PACKETS = 20_000
BATCH = 25


def nanoseconds(count: int, work: Callable[[], None]) -> float:
    """CPU time of this process per unit of `count`."""
    begun = time.process_time_ns()
    work()
    return (time.process_time_ns() - begun) / count


async def main() -> None:
    with Line(on_audio=lambda audio: None) as line:
        stream, phone = line.stream, line.phone
        datagrams = [phone.writer.packet(b"\x55" * 160, 0, 160) for _ in range(2 * PACKETS)]

        def core_in() -> None:
            for number, datagram in enumerate(datagrams[:PACKETS]):
                now = 1000.0 + 0.02 * number
                stream._ahead = 0  # no slot runs here: else the packets were a flood, and dropped
                stream._receive(stream._endpoint._admit(datagram, phone.address, now), now)  # type: ignore[arg-type]

        def socket_in() -> None:
            for at in range(PACKETS, 2 * PACKETS, BATCH):
                for datagram in datagrams[at : at + BATCH]:
                    phone.send_raw(datagram)
                stream._ahead = 0
                for _ in range(BATCH):
                    stream._endpoint.read()

        def send_only() -> None:
            for datagram in datagrams[:PACKETS]:
                phone.send_raw(datagram)

        def out() -> None:
            for _ in range(PACKETS):
                stream._tick(1000.0, 0)

        sending = nanoseconds(PACKETS, send_only)
        stream._endpoint.read()
        print(f"packet in, without the socket  {nanoseconds(PACKETS, core_in):7.0f} ns")
        print(f"packet in, with the socket     {nanoseconds(PACKETS, socket_in) - sending:7.0f} ns")
        print(f"slot out, silence              {nanoseconds(PACKETS, out):7.0f} ns")
        for _ in range(40):
            stream.playout.push("a", b"\x55" * 80_000)
        print(f"slot out, the model's audio    {nanoseconds(PACKETS, out):7.0f} ns")
        print(f"bare sendto, for comparison    {sending:7.0f} ns")


if __name__ == "__main__":
    asyncio.run(main())
