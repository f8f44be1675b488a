"""The way to a provider: where it is, who we are, and the sockets that lead there."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from websockets.asyncio.client import connect
from websockets.exceptions import InvalidHandshake, InvalidStatus, InvalidURI
from websockets.proxy import get_proxy
from websockets.uri import WebSocketURI, parse_uri

from bridge.realtime.connection import Connection, bare
from bridge.realtime.names import Names
from bridge.realtime.tls import ResumingContext

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
"""The largest event that is read: minutes of audio in one delta, as some servers send a whole answer. The library's
default of 1 MiB is less than a long delta (quirk E10)."""
CLOSE_TIMEOUT_S = 2.0
PING_TIMEOUT_S = 60.0
"""Some services take half a minute to answer a ping (quirk I8); a dead network is noticed by `UNHEARD_MS`."""
UNHEARD_MS = 5000
"""After so long without any sign that what we send arrives, the connection is lost. `uplink.QUIET_MS` is longer."""


class SessionFailed(Exception):
    """A session could not be had. `reason` is a code of the service, `http_4xx`, `redirected`, `unreachable` or
    `timeout`."""

    def __init__(self, reason: str, detail: str, close: tuple[int, str] | None = None) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.close = close
        """Code and reason of the close frame that came instead of a session; None: there was none."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a session is had: a ws:// or wss:// URL, and the headers of the upgrade."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)


Find = Callable[[], Awaitable[Address]]
"""Asks for an address that is made for each session. Raises SessionFailed."""


class Warm(Protocol):
    """Where open sockets may be had."""

    def take(self) -> Connection | None:
        """One that is alive; None when there is none."""


class Dialer:
    """Opens sockets to one provider, for one agent. All of them share one TLS context and what DNS said."""

    def __init__(self, address: Address, *, find: Find | None = None, tls: ssl.SSLContext | None = None) -> None:
        """`find` is asked before each connection where an address serves one session only."""
        self.warm: Warm | None = None
        """Asked for an open socket first; None: there are none."""
        self._address = address
        self._find = find
        self._secure = address.url.startswith("wss:") or find is not None
        self._tls = tls or (ResumingContext.default() if self._secure else None)
        self._names = Names()
        self._proxy: tuple[tuple[bool, str, int], str | None] | None = None  # of the last host

    async def connect(self) -> Connection:
        """An open socket. Raises SessionFailed."""
        warm = self.warm.take() if self.warm is not None else None
        return warm or await self.connect_now()

    async def connect_now(self) -> Connection:
        """A socket of which all handshakes are done now. Raises SessionFailed."""
        address = self._address if self._find is None else await self._find()
        try:
            return await self._connected(address)
        except InvalidStatus as error:
            status = error.response.status_code
            _forget_answer(error)
            raise SessionFailed(f"http_{status}", f"the service answered the upgrade with {status}") from None
        except InvalidURI as error:  # its text is the whole URL, in which a secret may stand
            raise SessionFailed("unreachable", "the service's address is no ws:// or wss:// URL") from error
        except (InvalidHandshake, OSError, EOFError) as error:
            raise SessionFailed("unreachable", str(error) or type(error).__name__) from bare(error)
        except ValueError as error:  # of a name that is none, or of a redirect: our key goes to no other host
            if not isinstance(error.__cause__, InvalidStatus):
                raise SessionFailed("unreachable", str(error)) from bare(error)
            _forget_answer(error.__cause__)
            bare(error)
            raise SessionFailed("redirected", "the service redirects elsewhere: configure that address") from None

    async def _connected(self, address: Address) -> Connection:
        uri = parse_uri(address.url)
        proxy = self._proxy_for(uri)
        known = await self._names.address(uri.host, uri.port) if proxy is None else None
        if known is not None:
            try:
                return await self._connect(address, proxy=None, host=known, port=uri.port)
            except (OSError, EOFError):
                self._names.forget(uri.host, uri.port)  # one of several may be down: the system tries them all
        return await self._connect(address, proxy=proxy)

    def _proxy_for(self, uri: WebSocketURI) -> str | None:
        """What the environment says, read once for a host: the variables are many, and stay."""
        where = uri.secure, uri.host, uri.port
        if self._proxy is None or self._proxy[0] != where:
            self._proxy = where, get_proxy(uri)
        return self._proxy[1]

    async def _connect(self, address: Address, **where: Any) -> Connection:
        connection = await connect(
            address.url,
            additional_headers=address.headers,
            ssl=self._tls if address.url.startswith("wss:") else None,
            compression=None,
            max_size=MAX_MESSAGE_BYTES,
            ping_timeout=PING_TIMEOUT_S,
            close_timeout=CLOSE_TIMEOUT_S,
            create_connection=Connection,
            **where,
        )
        assert isinstance(connection, Connection)
        _give_up_soon(connection)
        return connection


def _give_up_soon(connection: Connection) -> None:
    """Let the system end a connection of which nothing arrives any more: a dead network sends no reset."""
    raw = connection.transport.get_extra_info("socket")
    if raw is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNHEARD_MS)


def _forget_answer(error: InvalidStatus) -> None:
    """The answer knows the error that came of it: each would keep the other, and the error its frames."""
    bare(error)
    error.args = ()
    del error.response
