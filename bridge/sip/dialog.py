"""Dialogs: who talks to whom, in which order, by which way (RFC 3261 section 12)."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from .address import Address
from .errors import SipError, malformed
from .headers import Headers
from .message import Message, Request, Response
from .uri import Uri

MAX_FORWARDS = ("Max-Forwards", "70")


def new_tag() -> str:
    """A tag, a Call-ID or the tail of a branch that nobody can guess (RFC 3261 section 19.3)."""
    return secrets.token_hex(8)


@dataclass(slots=True)
class Dialog:
    """One dialog, seen from here.

    `local` and `remote` are the From and To of our requests, tags included, as the peer knows them.
    `remote_cseq` is None until the peer has sent a request. `routes` are the Route values, nearest first.
    """

    call_id: str
    local: str
    remote: str
    local_tag: str
    remote_tag: str
    local_cseq: int
    remote_cseq: int | None
    target: Uri
    routes: tuple[str, ...]

    @classmethod
    def uas(cls, request: Request, tag: str) -> Dialog:
        """The dialog that our answer with this To tag makes (section 12.1.1)."""
        return cls(
            call_id=request.call_id,
            local=f"{_exact(request, 'To')};tag={tag}",
            remote=_exact(request, "From"),
            local_tag=tag,
            remote_tag=request.from_.tag or "",
            local_cseq=secrets.randbelow(2**15) + 1,
            remote_cseq=request.cseq.number,
            target=target_of(request),
            routes=_checked(request.headers("Record-Route")),
        )

    @classmethod
    def uac(cls, request: Request, response: Response) -> Dialog:
        """The dialog that an answer to our INVITE makes (section 12.1.2)."""
        return cls(
            call_id=request.call_id,
            local=_exact(request, "From"),
            remote=_exact(response, "To"),
            local_tag=request.from_.tag or "",
            remote_tag=response.to.tag or "",
            local_cseq=request.cseq.number,
            remote_cseq=None,
            target=target_of(response),
            routes=_checked(response.headers("Record-Route"))[::-1],
        )

    @property
    def hop(self) -> Uri:
        """Whom our requests go to: the first route, else the target."""
        return Address.parse(self.routes[0], "Route").uri if self.routes else self.target

    def next_cseq(self) -> int:
        self.local_cseq += 1
        return self.local_cseq

    def accepts(self, cseq: int) -> bool:
        """Whether a request of the peer is in order (section 12.2.2); remembers its number."""
        if self.remote_cseq is not None and cseq < self.remote_cseq:
            return False
        self.remote_cseq = cseq
        return True

    def refresh(self, message: Message) -> None:
        """Take the remote target from the 2xx to a re-INVITE, if it names one (section 12.2.1.2)."""
        with suppress(SipError):
            self.target = target_of(message)

    def request(
        self,
        method: str,
        via: str,
        cseq: int,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
    ) -> Request:
        """A request inside the dialog (section 12.2.1.1)."""
        uri, routes = self.target, self.routes
        if routes:
            first = Address.parse(routes[0], "Route").uri
            if first.parameter("lr") is None:
                # A strict router takes its own URI as the Request-URI, the target goes last.
                uri, routes = first, (*routes[1:], f"<{self.target}>")
        pairs = [
            ("Via", via),
            MAX_FORWARDS,
            *(("Route", route) for route in routes),
            ("From", self.local),
            ("To", self.remote),
            ("Call-ID", self.call_id),
            ("CSeq", f"{cseq} {method}"),
            *headers,
        ]
        return Request(Headers.make(pairs), body, method, uri)


def _exact(message: Message, name: str) -> str:
    return message.lines.lines(name)[0].exact


def target_of(message: Message) -> Uri:
    """The remote target that a message names; SipError 400 when it names none that has a host."""
    contact = message.contact
    if contact is None or not contact.uri.host:
        raise malformed("Missing Contact")
    return contact.uri


def _checked(routes: list[str]) -> tuple[str, ...]:
    for route in routes:
        if not Address.parse(route, "Record-Route").uri.host:
            raise malformed("Malformed Record-Route")
    return tuple(routes)
