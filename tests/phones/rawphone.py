"""A caller made of strings: a SIP UAC for tests over UDP that shares no code with `bridge`.

    async with RawPhone() as phone:
        answer = await phone.invite("127.0.0.1", 5060, "600")
        await phone.wire.play(frames(audio))
        await phone.bye()

Fifty of them live in one event loop. As a program it makes many calls from a process of its own and prints JSON:
`python tests/phones/rawphone.py 127.0.0.1:5060 --calls 50 --seconds 10`.
"""

import argparse
import asyncio
import json
import pickle
import re
import secrets
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

if __package__:
    from .wire import Wire, frames, intervals_ms, silence
else:  # run as a program
    sys.path.insert(0, str(Path(__file__).parent))
    from wire import Wire, frames, intervals_ms, silence  # type: ignore[import-not-found, no-redef]

_T1 = 0.5
_LAWS = {"PCMU": 0, "PCMA": 8}


@dataclass(frozen=True, slots=True)
class Message:
    """One SIP message as text: what a test looks into. `t_ns` is when it was read (`time.time_ns()`)."""

    t_ns: int
    start: str
    headers: tuple[tuple[str, str], ...]
    body: str

    @classmethod
    def parse(cls, datagram: bytes) -> Self:
        head, _, body = datagram.decode("utf-8", "replace").partition("\r\n\r\n")
        lines = head.split("\r\n")
        pairs = tuple((n.strip(), v.strip()) for n, _, v in (line.partition(":") for line in lines[1:]))
        return cls(time.time_ns(), lines[0], pairs, body)

    @property
    def status(self) -> int:
        """The status of a response, 0 of a request."""
        return int(self.start.split()[1]) if self.start.startswith("SIP/2.0 ") else 0

    @property
    def method(self) -> str:
        """The method of a request, or of the request that a response answers."""
        return self.header("CSeq").split()[-1] if self.status else self.start.split()[0]

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def header(self, name: str) -> str:
        """The first header of that name, or an empty text."""
        return next(iter(self.all(name)), "")


class CallError(Exception):
    """No final answer came in time."""


class RawPhone(asyncio.DatagramProtocol):
    """One caller with one call at a time. Everything that came in lies in `messages`, whence in `sources`."""

    transport = "UDP"
    """As Via names it."""
    via_parameters = "rport"

    def __init__(
        self, *, host: str = "127.0.0.1", user: str = "raw", law: str = "PCMU", wire: Wire | None = None
    ) -> None:
        self.host = host
        self.user = user
        self.wire = wire or Wire(host)
        self.wire.payload_type = _LAWS[law]
        self.law = law
        self.messages: list[Message] = []
        self.sources: list[tuple[str, int]] = []
        self.ended = asyncio.Event()
        """Set when the far end says BYE."""
        self.answer_ms = 0.0
        """Milliseconds from the first INVITE to its final answer."""
        self.retransmissions = 0
        self.port = 0
        self._transport: asyncio.DatagramTransport | None = None
        self._arrived = asyncio.Event()
        self._new_call()

    def _new_call(self) -> None:
        self.call_id = secrets.token_hex(12)
        self.from_tag = secrets.token_hex(4)
        self.to_header = ""
        self.cseq = 0
        self.invite_branch = ""
        self.far: tuple[str, int] | None = None
        self.remote_target = ""
        self.routes: list[str] = []
        self.ended.clear()

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=(self.host, 0))
        self.port = self._transport.get_extra_info("sockname")[1]
        loop.add_reader(self.wire, self.wire.drain)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close both ports; the packets of the wire stay readable."""
        if self.wire.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self.wire)
            self.wire.drain()
            self.wire.close()
        if self._transport is not None:
            self._transport.close()

    # What asyncio calls.

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        if data.strip():
            self.received(data, (addr[0], addr[1]))

    def received(self, data: bytes, source: tuple[str, int]) -> None:
        """One message has come."""
        message = Message.parse(data)
        self.messages.append(message)
        self.sources.append(source)
        if message.status == 0:
            self._answer(message, source)
        elif message.method == "INVITE" and 200 <= message.status < 300 and self.to_header:
            self._ack(message)  # a repeated 200: our ACK was lost
        self._arrived.set()

    def _answer(self, request: Message, source: tuple[str, int]) -> None:
        """Every request in the call is welcome; a re-INVITE gets our offer again as answer."""
        if request.method == "ACK":
            return
        with_sdp = request.method == "INVITE"
        self.send_raw(self.response(request, "200 OK", self.sdp() if with_sdp else ""), source)
        if request.method == "BYE":
            self.ended.set()

    # Text in, text out.

    @property
    def contact(self) -> str:
        """Where this phone is reached."""
        parameter = "" if self.transport == "UDP" else f";transport={self.transport.lower()}"
        return f"<sip:{self.user}@{literal(self.host)}:{self.port}{parameter}>"

    def sdp(self, *, direction: str = "sendrecv", extra: str = "") -> str:
        """An offer of this phone's law, telephone-event as 101, 20 ms."""
        number, version = _LAWS[self.law], 6 if ":" in self.host else 4
        return (
            f"v=0\r\no=raw 1 1 IN IP{version} {self.host}\r\ns=-\r\nc=IN IP{version} {self.host}\r\nt=0 0\r\n"
            f"m=audio {self.wire.port} RTP/AVP {number} 101\r\n"
            f"a=rtpmap:{number} {self.law}/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n"
            f"a=ptime:20\r\na={direction}\r\n{extra}"
        )

    def request(
        self,
        method: str,
        uri: str,
        *,
        to: str,
        cseq: int,
        branch: str,
        body: str = "",
        content_type: str = "application/sdp",
        headers: Sequence[str] = (),
    ) -> bytes:
        """One request of this call; `headers` are whole lines that come before Content-Length."""
        lines = [
            f"{method} {uri} SIP/2.0",
            f"Via: SIP/2.0/{self.transport} {literal(self.host)}:{self.port};branch={branch};{self.via_parameters}",
            "Max-Forwards: 70",
            *(f"Route: {route}" for route in self.routes),
            f'From: "Raw" <sip:{self.user}@{literal(self.host)}>;tag={self.from_tag}',
            f"To: {to}",
            f"Call-ID: {self.call_id}",
            f"CSeq: {cseq} {method}",
            f"Contact: {self.contact}",
            *headers,
            *([f"Content-Type: {content_type}"] if body else []),
            f"Content-Length: {len(body.encode())}",
        ]
        return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()

    def response(self, request: Message, status: str, body: str = "") -> bytes:
        """An answer that echoes what RFC 3261 8.2.6 wants echoed, with our tag where there is none."""
        to = request.header("To")
        echoed = [f"{n}: {v}" for n, v in request.headers if n.lower() in ("via", "from", "call-id", "cseq")]
        lines = [
            f"SIP/2.0 {status}",
            *echoed,
            f"To: {to}{'' if ';tag=' in to else f';tag={self.from_tag}'}",
            f"Contact: {self.contact}",
            *(["Content-Type: application/sdp"] if body else []),
            f"Content-Length: {len(body.encode())}",
        ]
        return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()

    def send_raw(self, datagram: bytes, to: tuple[str, int] | None = None) -> None:
        """Send exactly these bytes, to the far end of the call or to `to`."""
        target = to or self.far
        if self._transport is None or target is None:
            raise RuntimeError("the phone is not open or calls nobody")
        self._transport.sendto(datagram, target)

    # The call.

    async def invite(
        self,
        host: str,
        port: int,
        number: str = "600",
        *,
        sdp: str | None = None,
        headers: Sequence[str] = (),
        within: float = 10.0,
    ) -> Message:
        """Call `number`; the final answer, already acknowledged. CallError when none comes after `within` s.

        After a 2xx the wire knows where to send. `sdp=""` makes an INVITE without an offer.
        """
        await self.start_invite(host, port, number, sdp=sdp, headers=headers)
        return await self.answer(within)

    async def start_invite(
        self, host: str, port: int, number: str = "600", *, sdp: str | None = None, headers: Sequence[str] = ()
    ) -> None:
        """Send the INVITE and return at once; `answer` or `cancel` comes next."""
        self._new_call()
        self.far = (host, port)
        self.cseq = 1
        self.invite_branch = _branch()
        self.remote_target = f"sip:{number}@{literal(host)}:{port}"
        self._first_to = f"<{self.remote_target}>"
        body = self.sdp() if sdp is None else sdp
        self._invite = self.request(
            "INVITE",
            self.remote_target,
            to=self._first_to,
            cseq=1,
            branch=self.invite_branch,
            body=body,
            headers=headers,
        )
        self._invited_at = time.perf_counter()
        self.send_raw(self._invite)

    async def answer(self, within: float = 10.0, *, sdp: str = "") -> Message:
        """The final answer to the INVITE in the air, acknowledged; with `sdp` as our answer to a delayed offer."""
        final = await self._final("INVITE", 1, self._invite, within, give_way_to_provisional=True)
        self.answer_ms = (time.perf_counter() - self._invited_at) * 1000
        self.to_header = final.header("To")
        if final.status < 300:
            self._learn(final)
        self._ack(final, sdp)
        return final

    def _learn(self, answer: Message) -> None:
        """Keep the dialog's route set and target (RFC 3261 12.1.2) and where the far media is."""
        self.routes = list(reversed(_split(answer.all("Record-Route"))))
        contact = re.search(r"<?(sips?:[^>;]+[^>]*)>?", answer.header("Contact"))
        if contact:
            self.remote_target = contact[1]
        self.far = _host_port(self.routes[0] if self.routes else self.remote_target) or self.far
        host = re.search(r"^c=IN IP[46] (\S+)", answer.body, re.MULTILINE)
        media = re.search(r"^m=audio (\d+) \S+ (\d+)", answer.body, re.MULTILINE)
        if host and media:
            self.wire.to = (host[1], int(media[1]))
            self.wire.payload_type = int(media[2])

    def _ack(self, answer: Message, sdp: str = "") -> None:
        if answer.status < 300:
            to = answer.header("To")
            ack = self.request("ACK", self.remote_target, to=to, cseq=1, branch=_branch(), body=sdp)
        else:  # belongs to the INVITE's own transaction (RFC 3261 17.1.1.3)
            ack = self.request("ACK", self.remote_target, to=answer.header("To"), cseq=1, branch=self.invite_branch)
        self.send_raw(ack)

    async def bye(self, within: float = 5.0) -> Message:
        """Hang up; the answer to the BYE."""
        return await self.in_dialog("BYE", within=within)

    async def cancel(self, within: float = 5.0) -> Message:
        """Give up before the answer; the final answer to the INVITE (487), acknowledged."""
        cancel = self.request("CANCEL", self.remote_target, to=self._first_to, cseq=1, branch=self.invite_branch)
        self.send_raw(cancel)
        return await self.answer(within)

    async def in_dialog(
        self,
        method: str,
        *,
        body: str = "",
        headers: Sequence[str] = (),
        content_type: str = "application/sdp",
        within: float = 5.0,
    ) -> Message:
        """Any request inside the call (BYE, INFO, a re-INVITE ...): its final answer. A re-INVITE is acknowledged."""
        self.cseq += 1
        number = self.cseq
        request = self.request(
            method,
            self.remote_target,
            to=self.to_header,
            cseq=number,
            branch=_branch(),
            body=body,
            headers=headers,
            content_type=content_type,
        )
        self.send_raw(request)
        final = await self._final(method, number, request, within)
        if method == "INVITE":
            branch = _branch() if final.status < 300 else request.split(b"branch=")[1].split(b";")[0].decode()
            self.send_raw(self.request("ACK", self.remote_target, to=self.to_header, cseq=number, branch=branch))
        return final

    async def options(self, host: str, port: int, within: float = 5.0) -> Message:
        """Ask outside of any call; the final answer."""
        self._new_call()
        self.far = (host, port)
        uri = f"sip:{literal(host)}:{port}"
        request = self.request("OPTIONS", uri, to=f"<{uri}>", cseq=1, branch=_branch())
        self.send_raw(request)
        return await self._final("OPTIONS", 1, request, within)

    async def final(self, method: str, cseq: int, request: bytes, within: float = 5.0) -> Message:
        """The final answer to a request that was sent, which is repeated as UDP wants it."""
        return await self._final(method, cseq, request, within)

    async def _final(
        self, method: str, cseq: int, request: bytes, within: float, *, give_way_to_provisional: bool = False
    ) -> Message:
        """Wait for the final answer, repeating the request as UDP wants it (RFC 3261 17.1)."""
        loop = asyncio.get_running_loop()
        deadline, wait = loop.time() + within, _T1
        again = loop.time() + wait
        while True:
            answers = [m for m in self._answers(method, cseq) if m.status]
            final = next((m for m in answers if m.status >= 200), None)
            if final is not None:
                return final
            now = loop.time()
            if now >= deadline:
                raise CallError(f"no final answer to {method} in {within} s (had {[m.start for m in answers]})")
            quiet = self.transport != "UDP" or (give_way_to_provisional and bool(answers))
            if now >= again and not quiet:
                self.retransmissions += 1
                self.send_raw(request)
                wait *= 2
                again = now + wait
            self._arrived.clear()
            until = deadline if quiet else min(deadline, again)
            try:
                await asyncio.wait_for(self._arrived.wait(), max(0.0, until - now))
            except TimeoutError:
                continue

    def _answers(self, method: str, cseq: int) -> list[Message]:
        wanted = f"{cseq} {method}"
        return [m for m in self.messages if m.header("CSeq") == wanted and m.header("Call-ID") == self.call_id]


def _branch() -> str:
    return "z9hG4bK" + secrets.token_hex(8)


def _split(values: Sequence[str]) -> list[str]:
    """Route headers may share a line: split at the commas between the angle brackets."""
    return [part.strip() for value in values for part in re.split(r",(?=\s*<)", value)]


def _host_port(uri: str) -> tuple[str, int] | None:
    found = re.search(r"sips?:(?:[^@>]*@)?(\[[^]]+\]|[^:;>@\s]+)(?::(\d+))?", uri)
    return (found[1].strip("[]"), int(found[2] or 5060)) if found else None


def literal(host: str) -> str:
    """A host as URIs and Via write it."""
    return f"[{host}]" if ":" in host else host


@dataclass(slots=True)
class CallReport:
    """What one call of `call_many` saw."""

    status: int = 0
    answer_ms: float = 0.0
    packets: int = 0
    sent: int = 0
    ended_by_far: bool = False
    error: str = ""
    intervals_ms: list[float] = field(default_factory=list)


async def call_many(
    host: str,
    port: int,
    *,
    calls: int,
    seconds: float,
    rate: float = 10.0,
    number: str = "600",
    law: str = "PCMU",
    audio: bytes | None = None,
    phones: list[RawPhone] | None = None,
) -> list[CallReport]:
    """Make `calls` calls, `rate` new ones a second, each `seconds` long. Finished phones go into `phones`."""

    async def one(index: int) -> CallReport:
        await asyncio.sleep(index / rate)
        report = CallReport()
        async with RawPhone(law=law, user=f"raw{index}") as phone:
            try:
                final = await phone.invite(host, port, number)
                report.status, report.answer_ms = final.status, phone.answer_ms
                if final.status < 300:
                    await _talk(phone, seconds, audio)
                    report.ended_by_far = phone.ended.is_set()
                    if not report.ended_by_far:
                        await phone.bye()
            except CallError as error:
                report.error = str(error)
        report.packets, report.sent = len(phone.wire.packets), len(phone.wire.sent)
        report.intervals_ms = intervals_ms(phone.wire.packets)
        if phones is not None:
            phones.append(phone)
        return report

    return list(await asyncio.gather(*(one(index) for index in range(calls))))


async def _talk(phone: RawPhone, seconds: float, audio: bytes | None) -> None:
    wanted = round(seconds * 50) * 160
    sound = (audio or b"") + silence(seconds, phone.wire.payload_type)
    playing = asyncio.ensure_future(phone.wire.play(frames(sound[:wanted])))
    ended = asyncio.ensure_future(phone.ended.wait())
    await asyncio.wait({playing, ended}, return_when=asyncio.FIRST_COMPLETED)
    for task in (playing, ended):
        task.cancel()
    await asyncio.gather(playing, ended, return_exceptions=True)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Make many plain SIP calls and print JSON.")
    parser.add_argument("target", help="host:port of the service")
    parser.add_argument("--calls", type=int, default=1)
    parser.add_argument("--rate", type=float, default=10.0, help="new calls a second")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of each call")
    parser.add_argument("--number", default="600")
    parser.add_argument("--law", choices=sorted(_LAWS), default="PCMU")
    parser.add_argument("--audio", type=Path, help="raw G.711 bytes to say; silence without it and after it")
    parser.add_argument("--dump", type=Path, help="pickle of one list of (t_ns, sequence, timestamp, payload) a call")
    given = parser.parse_args(arguments)
    host, _, port = given.target.rpartition(":")
    phones: list[RawPhone] = []
    reports = asyncio.run(
        call_many(
            host,
            int(port),
            calls=given.calls,
            seconds=given.seconds,
            rate=given.rate,
            number=given.number,
            law=given.law,
            audio=given.audio.read_bytes() if given.audio else None,
            phones=phones,
        )
    )
    if given.dump:
        streams = [[(p.t_ns, p.sequence, p.timestamp, p.payload) for p in phone.wire.packets] for phone in phones]
        given.dump.write_bytes(pickle.dumps(streams))
    spread = sorted(ms for report in reports for ms in report.intervals_ms)
    calls = [
        {"status": r.status, "answer_ms": round(r.answer_ms, 2), "packets": r.packets, "sent": r.sent}
        | ({"ended_by_far": True} if r.ended_by_far else {})
        | ({"error": r.error} if r.error else {})
        for r in reports
    ]
    quantiles = {f"p{q}": round(spread[int(len(spread) * q / 100)], 2) for q in (1, 50, 99, 99.9) if spread}
    print(json.dumps({"calls": calls, "interval_ms": quantiles}))
    return 0 if all(200 <= r.status < 300 and not r.error for r in reports) else 1


if __name__ == "__main__":
    sys.exit(main())
