"""TLS of one connection between bytes and bytes: one read and one write of the socket for many records."""

import contextlib
import ssl

_AT_ONCE = 1 << 16


class TlsStream:
    """The server's side. Raises ssl.SSLError for what is no TLS."""

    __slots__ = ("_in", "_out", "_ready", "_tls")

    def __init__(self, context: ssl.SSLContext) -> None:
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_side=True)
        self._ready = False

    def opened(self, data: bytes) -> bytes:
        """What the peer's bytes say; `pending` may have something for it then, in the handshake."""
        self._in.write(data)
        pieces = []
        try:
            if not self._ready:
                self._tls.do_handshake()
                self._ready = True
            while self._in.pending or self._tls.pending():
                pieces.append(self._tls.read(_AT_ONCE))
        except ssl.SSLWantReadError:  # a record that has not come whole
            pass
        return b"".join(pieces)

    def sealed(self, data: bytes) -> bytes:
        """What says `data` to the peer."""
        self._tls.write(data)
        return self._out.read()

    def pending(self) -> bytes:
        """What the handshake has for the peer; empty mostly."""
        return self._out.read() if self._out.pending else b""

    def farewell(self) -> bytes:
        """The end of what we say: close_notify."""
        with contextlib.suppress(ssl.SSLError):  # it does not wait for the peer's
            self._tls.unwrap()
        return self._out.read()
