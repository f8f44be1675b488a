"""SIP as bytes, as much of it as a caller of the benchmark needs: what is looked for in a message, what is written."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from typing import Self

Address = tuple[str, int]

PAYLOAD_TYPES = {"pcmu": 0, "pcma": 8}
SUITE = "AES_CM_128_HMAC_SHA1_80"
_ECHOED = {b"via": b"Via", b"from": b"From", b"to": b"To", b"call-id": b"Call-ID", b"cseq": b"CSeq"}
_CONTACT = re.compile(rb"(sips?:[^>;\s]+)")
_HOST = re.compile(rb"^c=IN IP4 (\S+)", re.MULTILINE)
_AUDIO = re.compile(rb"^m=audio (\d+) ", re.MULTILINE)
_QUOTED = re.compile(rb'"([^"]*)"')


@dataclass(frozen=True, slots=True)
class Message:
    """One message. `status`: of a response, 0 of a request; `t_ns`: the kernel's stamp."""

    t_ns: int
    start: bytes
    status: int
    lines: tuple[tuple[bytes, bytes], ...]
    """Names in lower case, in the order of the message."""
    body: bytes

    @classmethod
    def parse(cls, datagram: bytes, t_ns: int) -> Self:
        """Read a message; ValueError when it is none."""
        head, _, body = datagram.partition(b"\r\n\r\n")
        start, *lines = head.split(b"\r\n")
        pairs = tuple((name.strip().lower(), value.strip()) for name, _, value in (x.partition(b":") for x in lines))
        return cls(t_ns, start, int(start[8:11]) if start.startswith(b"SIP/2.0 ") else 0, pairs, body)

    def header(self, name: bytes) -> bytes:
        """The first header of that name; empty without one."""
        return next((value for key, value in self.lines if key == name), b"")

    @property
    def method(self) -> bytes:
        """Of a request, or of the request that a response answers."""
        return self.header(b"cseq").rpartition(b" ")[2] if self.status else self.start.partition(b" ")[0]

    @property
    def target(self) -> bytes:
        """The URI of its Contact."""
        found = _CONTACT.search(self.header(b"contact"))
        return found[1] if found else b""

    @property
    def media(self) -> Address | None:
        """Where its description wants audio to go; None without one, or where the stream is refused."""
        host, audio = _HOST.search(self.body), _AUDIO.search(self.body)
        return (host[1].decode(), int(audio[1])) if host and audio and int(audio[1]) else None

    @property
    def why(self) -> str:
        """Status and cause of a refusal: the text of its Warning or Reason, else its own phrase."""
        cause = _QUOTED.search(self.header(b"warning")) or _QUOTED.search(self.header(b"reason"))
        return f"{self.status} {(cause[1] if cause else self.start[12:]).decode('utf-8', 'replace')}"


def answer(request: Message, contact: str, tag: str, sdp: str = "") -> bytes:
    """200 to a request of the service."""
    lines = [b"SIP/2.0 200 OK"]
    for name, value in request.lines:
        if name in _ECHOED:
            needs_tag = name == b"to" and b";tag=" not in value
            lines.append(_ECHOED[name] + b": " + value + (f";tag={tag}".encode() if needs_tag else b""))
    rest = f"Contact: {contact}\r\n{'Content-Type: application/sdp' + chr(13) + chr(10) if sdp else ''}"
    return b"\r\n".join(lines) + f"\r\n{rest}Content-Length: {len(sdp)}\r\n\r\n{sdp}".encode()


@dataclass(slots=True)
class Dialog:
    """The texts of one call. `call_id` is its tag too."""

    call_id: str
    user: str
    """The caller's."""
    uri: str
    """That is called."""
    own: Address
    remote_to: str = field(init=False)
    """To, with the tag of the service once it has answered."""
    remote_target: str = field(init=False)
    _cseq: int = 1

    def __post_init__(self) -> None:
        self.remote_to, self.remote_target = f"<{self.uri}>", self.uri

    @property
    def contact(self) -> str:
        return f"<sip:{self.user}@{self.own[0]}:{self.own[1]}>"

    def learn(self, response: Message) -> None:
        """Keep what the answer says of the other end (RFC 3261 section 12.1.2)."""
        self.remote_to = response.header(b"to").decode()
        self.remote_target = response.target.decode() or self.remote_target

    def invite(self, sdp: str) -> bytes:
        return self._request("INVITE", self.uri, 1, "i", sdp)

    def ack(self, response: Message) -> bytes:
        """To a refusal it belongs to the INVITE's own transaction (RFC 3261 section 17.1.1.3)."""
        self.remote_to = response.header(b"to").decode()
        if response.status >= 300:
            return self._request("ACK", self.uri, 1, "i")
        return self._request("ACK", self.remote_target, 1, "a")

    def cancel(self) -> bytes:
        return self._request("CANCEL", self.uri, 1, "i", to=f"<{self.uri}>")

    def bye(self) -> bytes:
        return self._request("BYE", self.remote_target, 2, "b")

    def _request(self, method: str, uri: str, cseq: int, branch: str, sdp: str = "", to: str = "") -> bytes:
        kind = "Content-Type: application/sdp\r\n" if sdp else ""
        return (
            f"{method} {uri} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP {self.own[0]}:{self.own[1]};branch=z9hG4bK{self.call_id}{branch};rport\r\n"
            f"Max-Forwards: 70\r\nFrom: <sip:{self.user}@{self.own[0]}>;tag={self.call_id}\r\n"
            f"To: {to or self.remote_to}\r\nCall-ID: {self.call_id}\r\nCSeq: {cseq} {method}\r\n"
            f"Contact: {self.contact}\r\n{kind}Content-Length: {len(sdp)}\r\n\r\n{sdp}"
        ).encode()


def offer(host: str, port: int, law: str, key: bytes | None = None) -> str:
    """A description of one audio stream of that law with telephone-event; with a key, SRTP (RFC 4568)."""
    number = PAYLOAD_TYPES[law]
    crypto = f"a=crypto:1 {SUITE} inline:{base64.b64encode(key).decode()}\r\n" if key else ""
    return (
        f"v=0\r\no=bench 1 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\n"
        f"m=audio {port} RTP/{'SAVP' if key else 'AVP'} {number} 101\r\n{crypto}"
        f"a=rtpmap:{number} {law.upper()}/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n"
        "a=ptime:20\r\na=sendrecv\r\n"
    )


def call_number(call_id: bytes, run: str) -> int | None:
    """Which call of a run a Call-ID `RUN-NUMBER` means; None when it is none of ours."""
    name, _, number = call_id.decode("ascii", "replace").rpartition("-")
    return int(number) if name == run and number.isdigit() else None
