"""A DNS server for tests: a dictionary as its zone, UDP and TCP on one loopback port, and moods."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

HOST = "127.0.0.1"
TTL = 300
MAX_DATAGRAM = 512

Zone = dict[tuple[str, str], Sequence[str]]
"""Records as a zone file writes them, by name without final dot and type."""


class Nameserver(asyncio.DatagramProtocol):
    """Answers from `zone`; `mood` is "well", "servfail", "silent", "rude" (answers with noise) or "forged"
    (answers with another question's number, over TCP)."""

    def __init__(self, zone: Mapping[tuple[str, str], Sequence[str]]) -> None:
        self.zone: Zone = dict(zone)
        self.mood = "well"
        self.ttl = TTL
        self.asked: Counter[tuple[str, str]] = Counter()
        """Questions that came, over UDP and TCP together."""
        self.streams = 0
        """Connections that came."""
        self.port = 0
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        assert self._transport is not None
        answer = self.answer(data)
        if answer is not None and len(answer) > MAX_DATAGRAM and self.mood != "rude":
            short = dns.message.make_response(dns.message.from_wire(data))
            short.flags |= dns.flags.TC
            answer = short.to_wire()
        if answer is not None:
            self._transport.sendto(answer, addr)

    async def stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.streams += 1
        size = int.from_bytes(await reader.readexactly(2))
        answer = self.answer(await reader.readexactly(size))
        if answer is not None:
            if self.mood == "forged":
                answer = bytes([answer[0] ^ 1]) + answer[1:]
            writer.write(len(answer).to_bytes(2) + answer)
        writer.close()

    def answer(self, data: bytes) -> bytes | None:
        query = dns.message.from_wire(data)
        question = query.question[0]
        name, kind = question.name.to_text(omit_final_dot=True).lower(), dns.rdatatype.to_text(question.rdtype)
        self.asked[name, kind] += 1
        if self.mood == "silent":
            return None
        if self.mood == "rude":
            return data[:2] + b"\x84\x00" + b"\xff" * 700
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        if self.mood == "servfail":
            response.set_rcode(dns.rcode.SERVFAIL)
        elif not any(known == name for known, _ in self.zone):
            response.set_rcode(dns.rcode.NXDOMAIN)
        for alias in self.zone.get((name, "CNAME"), ()):
            response.answer.append(dns.rrset.from_text_list(question.name, self.ttl, "IN", "CNAME", [alias]))
            name = alias.rstrip(".")
        records = self.zone.get((name, kind))
        if records and self.mood in ("well", "forged"):
            response.answer.append(dns.rrset.from_text_list(dns.name.from_text(name), self.ttl, "IN", kind, records))
        return response.to_wire(max_size=65535)


@asynccontextmanager
async def nameserver(zone: Mapping[tuple[str, str], Sequence[str]]) -> AsyncIterator[Nameserver]:
    """A running server on a free port."""
    loop = asyncio.get_running_loop()
    made = Nameserver(zone)
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listening:
        listening.bind((HOST, 0))
        made.port = listening.getsockname()[1]
        streams = await asyncio.start_server(made.stream, sock=listening)
        transport, _ = await loop.create_datagram_endpoint(lambda: made, local_addr=(HOST, made.port))
        try:
            yield made
        finally:
            transport.close()
            streams.close()
            await streams.wait_closed()
