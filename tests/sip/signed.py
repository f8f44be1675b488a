"""Requests that carry credentials, and refusals that carry challenges."""

from __future__ import annotations

from collections.abc import Sequence

from bridge.sip.challenge import Authorization
from bridge.sip.digest import Credentials, Header
from bridge.sip.message import Request, Response, parse

from .stack import request

URI = "sip:600@192.0.2.10"
ALICE = Credentials("alice", "secret")


def asked(headers: Sequence[Header] = (), *, method: str = "REGISTER", uri: str = URI, body: str = "") -> Request:
    """A request of a peer that carries these headers."""
    extra = "".join(f"{name}: {value}\r\n" for name, value in headers)
    message = parse(request(method, uri=uri, extra=extra, body=body).encode("utf-8", "surrogateescape"))
    assert isinstance(message, Request)
    return message


def refusal(*challenges: str, status: int = 401, name: str = "WWW-Authenticate") -> Response:
    return asked().response(status, headers=[(name, text) for text in challenges])


def answers(headers: Sequence[Header]) -> list[Authorization]:
    found = [Authorization.parse(value) for _, value in headers]
    return [answer for answer in found if answer is not None]
