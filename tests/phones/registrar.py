"""A registrar and proxy before the service, for phones that insist on registering (pyVoIP). UDP; knows no `bridge`.

REGISTER is answered here, with a digest challenge when `passwords` names the user (RFC 3261 22, MD5). Requests from
the service go to the phone that registered the dialled user, all others to the service. Record-Route keeps it in
the call. Stateless: each Via branch it adds is a digest of the branch that it found, so repeats stay repeats.
"""

import asyncio
import hashlib
import re
import secrets
from collections.abc import Mapping
from typing import Any, Self

Address = tuple[str, int]


class Registrar(asyncio.DatagramProtocol):
    """`async with Registrar(("127.0.0.1", 5060)) as registrar:` and point the phone at `registrar.port`."""

    def __init__(
        self, service: Address, *, host: str = "127.0.0.1", passwords: Mapping[str, str] | None = None
    ) -> None:
        self.service = service
        self.host = host
        self.passwords = dict(passwords or {})
        self.bindings: dict[str, str] = {}
        """User to the URI of its Contact."""
        self.log: list[tuple[Address, str]] = []
        """Every datagram that came, with its source."""
        self.challenges = 0
        self.port = 0
        self._transport: asyncio.DatagramTransport | None = None
        self._realm = "phones.test"
        self._nonces: set[str] = set()

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=(self.host, 0))
        self.port = self._transport.get_extra_info("sockname")[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._transport is not None
        self._transport.close()

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        if not data.strip(b"\r\n\0"):
            return
        source = (addr[0], addr[1])
        text = data.decode("utf-8", "surrogateescape")
        self.log.append((source, text))
        if text.startswith("SIP/2.0 "):
            self._back(text)
        elif text.startswith("REGISTER "):
            self._register(text, source)
        else:
            self._forth(text, source)

    def _send(self, text: str, to: Address) -> None:
        assert self._transport is not None
        self._transport.sendto(text.encode("utf-8", "surrogateescape"), to)

    # Proxy (RFC 3261 16.11).

    def _forth(self, text: str, source: Address) -> None:
        """A request: on to the service, or to the phone that it is for."""
        head, blank, body = text.partition("\r\n\r\n")
        start, *lines = head.split("\r\n")
        method, uri, version = start.split(" ", 2)
        if method == "INVITE":
            self._send(_reply(text, "100 Trying"), source)
        lines = self._without_own_route(lines)
        if source == self.service:
            uri = self.bindings.get(_user(uri), uri)
            target = _host_port(uri)
        else:
            target = self.service
        lines = _mark_source(lines, source)
        via = f"Via: SIP/2.0/UDP {self.host}:{self.port};branch={_branch(lines, method)}"
        # A call's later requests keep the route that the INVITE has recorded.
        record = [f"Record-Route: <sip:{self.host}:{self.port};lr>"] if method == "INVITE" else []
        lines = [_one_less(line) for line in lines]
        self._send("\r\n".join([f"{method} {uri} {version}", via, *record, *lines]) + blank + body, target)

    def _back(self, text: str) -> None:
        """An answer: without our Via, to the address of the next one (RFC 3261 18.2.2, RFC 3581)."""
        head, blank, body = text.partition("\r\n\r\n")
        start, *lines = head.split("\r\n")
        vias = [index for index, line in enumerate(lines) if _is(line, "via")]
        if len(vias) < 2 or f"{self.host}:{self.port}" not in lines[vias[0]]:
            return
        target = _via_address(lines[vias[1]])
        del lines[vias[0]]
        self._send("\r\n".join([start, *lines]) + blank + body, target)

    def _without_own_route(self, lines: list[str]) -> list[str]:
        own = f"sip:{self.host}:{self.port}"
        return [line for line in lines if not (_is(line, "route") and own in line)]

    # Registrar (RFC 3261 10.3).

    def _register(self, text: str, source: Address) -> None:
        user = _user(_header(text, "To"))
        if user in self.passwords and not self._authorized(text, user):
            nonce = secrets.token_hex(8)
            self._nonces.add(nonce)
            self.challenges += 1
            challenge = f'WWW-Authenticate: Digest realm="{self._realm}",nonce="{nonce}",algorithm=MD5'
            self._send(_reply(text, "401 Unauthorized", challenge), source)
            return
        contact = _header(text, "Contact")
        expires = re.search(r";expires=(\d+)", contact) or re.search(r"(\d+)", _header(text, "Expires"))
        seconds = int(expires[1]) if expires else 3600
        found = re.search(r"<(sips?:[^>]+)>", contact)
        if seconds == 0 or found is None:
            self.bindings.pop(user, None)
        else:
            self.bindings[user] = found[1]
        self._send(_reply(text, "200 OK", *([f"Contact: {contact}", f"Expires: {seconds}"] if contact else [])), source)

    def _authorized(self, text: str, user: str) -> bool:
        given = dict(re.findall(r'(\w+)="?([^",]+)"?', _header(text, "Authorization").removeprefix("Digest ")))
        if given.get("nonce") not in self._nonces:
            return False
        ha1 = _md5(f"{user}:{self._realm}:{self.passwords[user]}")
        ha2 = _md5(f"REGISTER:{given.get('uri', '')}")
        return given.get("response") == _md5(f"{ha1}:{given['nonce']}:{ha2}")


def _md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


def _is(line: str, name: str) -> bool:
    given = line.partition(":")[0].strip().lower()
    return given == name or (name == "via" and given == "v")


def _header(text: str, name: str) -> str:
    lines = text.partition("\r\n\r\n")[0].split("\r\n")[1:]
    return next((line.partition(":")[2].strip() for line in lines if _is(line, name.lower())), "")


def _user(uri: str) -> str:
    found = re.search(r"sips?:([^@;>]+)@", uri)
    return found[1] if found else ""


def _host_port(uri: str) -> Address:
    found = re.search(r"sips?:(?:[^@>]*@)?([^:;>\s]+)(?::(\d+))?", uri)
    return (found[1], int(found[2] or 5060)) if found else ("127.0.0.1", 5060)


def _via_address(line: str) -> Address:
    sent_by = re.search(r"UDP\s+([^:;\s]+)(?::(\d+))?", line, re.IGNORECASE)
    received = re.search(r";received=([^;,\s]+)", line)
    rport = re.search(r";rport=(\d+)", line)
    host = received[1] if received else sent_by[1] if sent_by else "127.0.0.1"
    port = rport[1] if rport else sent_by[2] if sent_by and sent_by[2] else "5060"
    return host, int(port)


def _mark_source(lines: list[str], source: Address) -> list[str]:
    """Fill in what the topmost Via asks for by `rport` (RFC 3581 4)."""
    marked = list(lines)
    index = next((i for i, line in enumerate(lines) if _is(line, "via")), None)
    if index is not None and re.search(r";rport(?!=)", lines[index]):
        marked[index] = re.sub(r";rport(?!=)", f";rport={source[1]};received={source[0]}", lines[index], count=1)
    return marked


def _branch(lines: list[str], method: str) -> str:
    """The same for a repeat, for the CANCEL of an INVITE and the ACK to its refusal (RFC 3261 16.11)."""
    via = next((line for line in lines if _is(line, "via")), "")
    found = re.search(r"branch=([^;,\s]+)", via)
    key = found[1] if found else via
    return "z9hG4bKp" + _md5(key + ("" if method in ("INVITE", "ACK", "CANCEL") else method))[:16]


def _one_less(line: str) -> str:
    if not _is(line, "max-forwards"):
        return line
    return f"Max-Forwards: {max(0, int(line.partition(':')[2]) - 1)}"


def _reply(request: str, status: str, *headers: str) -> str:
    head = request.partition("\r\n\r\n")[0].split("\r\n")[1:]
    kept = [line for line in head if any(_is(line, name) for name in ("via", "from", "to", "call-id", "cseq"))]
    if not status.startswith("100"):
        kept = [line + ";tag=registrar" if _is(line, "to") and ";tag=" not in line else line for line in kept]
    return "\r\n".join([f"SIP/2.0 {status}", *kept, *headers, "Content-Length: 0", "", ""])
