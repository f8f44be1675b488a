"""A real Kamailio as the proxy between phones and service: Record-Route over UDP, TCP and TLS, in any mixture.

It sends a request where its Request-URI says, so a phone that has it as outbound proxy reaches any service. A phone's
own transport is one thing; `;over=tls` in what it dials says how the proxy goes on.
"""

import contextlib
import re
import socket
from pathlib import Path
from typing import Self

from .asterisk import write_configuration
from .certificates import Authority
from .peers import Peer
from .processes import NotReady, Program, free_port, free_signalling_port

_CONFIGURATION = Path(__file__).parent / "proxy"


class Kamailio(Program):
    """A running proxy."""

    port: int
    """SIP over UDP and TCP at 127.0.0.1."""
    tls_port: int

    @classmethod
    def start(cls, peer: Peer, folder: Path, authority: Authority) -> Self:
        """Start it and wait until it takes requests. NotReady with its log when it does not."""
        port, tls_port = free_signalling_port(), free_port(socket.SOCK_STREAM)
        certificate = authority.issue("kamailio")
        settings = {
            "FOLDER": folder,
            "MODULES": next(peer.root.glob("usr/lib/*/kamailio/modules"), ""),
            "PORT": port,
            "TLS_PORT": tls_port,
            "CERTIFICATE": certificate.certificate,
            "KEY": certificate.key,
            "CA": authority.certificate,
        }
        write_configuration(_CONFIGURATION, folder, settings)
        command = [*peer.command, "-DD", "-f", str(folder / "kamailio.cfg"), "-Y", str(folder), "-m", "64", "-M", "8"]
        proxy = cls(command, folder, family=True)
        proxy.port, proxy.tls_port = port, tls_port
        try:
            proxy.wait_for_port(tls_port, socket.SOCK_STREAM)
            _wait_for_answer(port)
        except (NotReady, TimeoutError):
            proxy.stop()
            raise NotReady(proxy.said()) from None
        return proxy

    def stop(self, grace: float = 0.5) -> None:
        """It has nothing to lose and takes its time, so it gets less of it."""
        super().stop(grace)

    def uri(self, transport: str = "udp") -> str:
        """The proxy as a route."""
        port = self.tls_port if transport == "tls" else self.port
        return f"sip:127.0.0.1:{port};transport={transport}"

    def seen(self, method: str) -> list[str]:
        """From where such requests came, as `tcp:127.0.0.1:5060`, in order."""
        return re.findall(rf"<script>: {method} from (\S+) to", self.output())


def _wait_for_answer(port: int) -> None:
    """Block until an OPTIONS is answered: its ports are open before its children read them."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("127.0.0.1", port))
        probe.settimeout(0.1)
        own = f"127.0.0.1:{probe.getsockname()[1]}"
        for attempt in range(100):
            with contextlib.suppress(TimeoutError, ConnectionRefusedError):
                probe.send(
                    f"OPTIONS sip:127.0.0.1:{port} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bKprobe{attempt}\r\n"
                    f"From: <sip:probe@{own}>;tag=1\r\nTo: <sip:127.0.0.1:{port}>\r\nCall-ID: probe\r\n"
                    f"CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n".encode()
                )
                probe.recv(2000)
                return
    raise TimeoutError
