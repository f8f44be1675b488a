"""A bridge with nothing in it: `python -m tests.bench.peers.bare_bridge --provider ws://… [--append-ms 20]`.

The yardstick of the bars: what one asyncio loop in Python takes for the same packets and events when it leaves out
whatever it can. It answers every INVITE over UDP, believes every packet (no order, no loss, no source, no RTCP, no
transcript, no figures, no end of a call), and puts G.711 into ready text. Prints {"port": N} when it listens.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import itertools
import json
import os
import random
import socket
import struct
import sys
import time
from collections import deque
from collections.abc import Sequence

import orjson
import uvloop
from websockets.asyncio.client import ClientConnection, connect
from websockets.speedups import apply_mask

from tests.bench.sip_text import Message, answer, offer

Address = tuple[str, int]

HOST = "127.0.0.1"
FRAME = 160
"""Bytes of 20 ms of G.711."""
SILENCE = b"\xff" * FRAME
PHASES, STEP_S = 4, 0.005
_APPEND = b'{"type":"input_audio_buffer.append","audio":"%b"}'
_HEADER = struct.Struct("!BBHII")
_FRAME_HEAD = struct.Struct("!BBH")
_FORMAT = {"format": {"type": "audio/pcmu"}}
_UPDATE = {"type": "session.update", "session": {"type": "realtime", "audio": {"input": _FORMAT, "output": _FORMAT}}}


class Call:
    """Two sockets and a queue."""

    __slots__ = ("appends", "down", "link", "pending", "remote", "sequence", "sock", "ssrc", "write")

    def __init__(self, remote: Address, link: ClientConnection, appends: int) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setblocking(False)
        self.sock.bind((HOST, 0))
        self.remote = remote
        self.link = link
        self.write = link.transport.write
        self.appends = appends
        self.pending: list[bytes] = []
        self.down: deque[bytes] = deque()
        self.sequence = 0
        self.ssrc = random.getrandbits(32)

    def read(self) -> None:
        """A packet of the caller."""
        datagram, _ = self.sock.recvfrom(2048)
        self.pending.append(datagram[12:])
        if len(self.pending) == self.appends:
            text = _APPEND % base64.b64encode(b"".join(self.pending))
            self.pending.clear()
            mask = os.urandom(4)
            self.write(_FRAME_HEAD.pack(0x81, 0xFE, len(text)) + mask + apply_mask(text, mask))

    def send(self) -> None:
        """The packet of a slot."""
        payload = self.down.popleft() if self.down else SILENCE
        number = self.sequence = self.sequence + 1
        self.sock.sendto(
            _HEADER.pack(0x80, 0, number & 0xFFFF, number * FRAME & 0xFFFFFFFF, self.ssrc) + payload, self.remote
        )

    async def listen(self) -> None:
        """Events of the model, until the session is gone."""
        async for event in self.link:
            assert isinstance(event, str)
            if "output_audio.delta" in event[:200]:
                audio = base64.b64decode(orjson.loads(event)["delta"])
                self.down.extend(audio[at : at + FRAME] for at in range(0, len(audio), FRAME))
            elif "input_audio_buffer.speech_started" in event:
                self.down.clear()


class Bridge(asyncio.DatagramProtocol):
    """SIP, as much as makes a call."""

    def __init__(self, provider: str, appends: int) -> None:
        self._provider = provider
        self._appends = appends
        self._known: set[bytes] = set()
        self._phases: list[list[Call]] = [[] for _ in range(PHASES)]
        self._next = itertools.cycle(self._phases)
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport

    def datagram_received(self, data: bytes, source: Address) -> None:  # type: ignore[override]
        request = Message.parse(data, 0)
        name = request.header(b"call-id")
        if request.method == b"INVITE" and name not in self._known:
            self._known.add(name)
            task = asyncio.create_task(self._answer(request, source))
            self._tasks.add(task)
        elif request.method == b"BYE":
            self._transport.sendto(answer(request, f"<sip:{HOST}>", "bare"), source)

    async def _answer(self, request: Message, source: Address) -> None:
        media = request.media
        assert media is not None
        async with connect(self._provider, compression=None, ping_interval=None, max_size=None) as link:
            await link.recv()
            await link.send(json.dumps(_UPDATE))
            await link.recv()
            call = Call(media, link, self._appends)
            port: int = call.sock.getsockname()[1]
            host, sip_port = self._transport.get_extra_info("sockname")
            sdp = offer(HOST, port, "pcmu")
            self._transport.sendto(answer(request, f"<sip:bare@{host}:{sip_port}>", "bare", sdp), source)
            asyncio.get_running_loop().add_reader(call.sock.fileno(), call.read)
            next(self._next).append(call)
            await link.send('{"type":"response.create"}')
            await call.listen()

    async def keep_time(self) -> None:
        """All slots, on absolute deadlines."""
        began = time.monotonic()
        for step in itertools.count(1):
            await asyncio.sleep(max(0.0, began + step * STEP_S - time.monotonic()))
            for call in self._phases[step % PHASES]:
                call.send()


async def run(provider: str, appends: int) -> None:
    """Serve until the end of the process."""
    bridge = Bridge(provider, appends)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: bridge, local_addr=(HOST, 0))
    print(json.dumps({"port": transport.get_extra_info("sockname")[1]}), flush=True)
    await bridge.keep_time()


def main(arguments: Sequence[str] | None = None) -> None:
    """The program."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.peers.bare_bridge", description="A bridge with nothing in it."
    )
    parser.add_argument("--provider", required=True, help="ws:// URL of the session")
    parser.add_argument("--append-ms", type=int, default=20)
    given = parser.parse_args(arguments)
    uvloop.run(run(given.provider, given.append_ms // 20))


if __name__ == "__main__":
    main(sys.argv[1:])
