"""For requests that are tried by hand: from where they go out, and to where."""

from __future__ import annotations

import asyncio
import socket

from bridge.sip.layer import Path
from bridge.sip.ua import ListenAddress, UserAgent
from bridge.sip.uri import Uri

LOOK_UP_S = 10.0
"""How long DNS may take."""
_HOSTS = {"0.0.0.0": socket.AF_INET, "::": socket.AF_INET6}


def everywhere() -> list[ListenAddress]:
    """Any port in every family that this machine has; nobody calls us over TLS, which would need a certificate."""
    return [
        ListenAddress(transport, host, 0, listening=transport != "tls")
        for host, family in _HOSTS.items()
        if _has(host, family)
        for transport in ("udp", "tcp", "tls")
    ]


async def ways(agent: UserAgent, target: Uri) -> list[Path]:
    """Where a request to `target` is tried, in that order; TimeoutError when DNS says nothing at all."""
    found: asyncio.Future[list[Path]] = asyncio.get_running_loop().create_future()
    agent.core.locate(target, None, found.set_result)
    return await asyncio.wait_for(found, LOOK_UP_S)


def _has(host: str, family: socket.AddressFamily) -> bool:
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((host, 0))
    except OSError:
        return False
    return True
