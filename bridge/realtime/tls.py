"""TLS towards providers: one context, and sessions of before resumed, which spares both sides the certificates."""

from __future__ import annotations

import ssl
from typing import Any


class ResumingContext(ssl.SSLContext):
    """A client's context with the library's default checks. Each new connection to a host offers its last session.

    TLS 1.3 sends its tickets after the handshake, so a session is taken when the next connection is made: from the
    last one to the same host, which by then has read something.
    """

    _last: dict[str, ssl.SSLObject]

    @classmethod
    def default(cls) -> ResumingContext:
        """Verifies the server's certificate and name against the system's authorities."""
        context = cls(ssl.PROTOCOL_TLS_CLIENT)
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        context._last = {}
        return context

    def wrap_bio(
        self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, *arguments: Any, **named: Any
    ) -> ssl.SSLObject:
        """As asyncio and uvloop call it, once per connection."""
        host = named.get("server_hostname") or (arguments[1] if len(arguments) > 1 else None)
        former = self._last.get(str(host))
        if former is not None and "session" not in named and former.session is not None:
            named["session"] = former.session
        connection = super().wrap_bio(incoming, outgoing, *arguments, **named)
        if host is not None:
            self._last[str(host)] = connection
        return connection
