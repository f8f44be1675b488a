"""What `sipbridge check` finds out about trunks: TLS files, who may call, and whether the servers are there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

from bridge.config import Config
from bridge.dialling import everywhere, ways
from bridge.peers import Peers
from bridge.signalling import KEYS_IN_CLEAR, keys_in_clear, tls_settings
from bridge.sip.layer import Path
from bridge.sip.tls import TlsError
from bridge.sip.ua import UserAgent
from bridge.sip.uri import Uri, host_port

PATIENCE_S = 5.0
"""How long a server may take to answer OPTIONS."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was tried, whether it is well (None: it works, but look at it), and what was seen or is to do."""

    what: str
    well: bool | None
    words: str


def trunk_findings(config: Config) -> Iterator[Finding]:
    """What the configuration says of TLS and of those who may call."""
    if config.sip.tls.certificate is not None or config.sip.tls.ca is not None:
        yield _tls(config)
    for name, trunk in config.trunks.items():
        networks = ", ".join(trunk.peers) or ("private networks" if trunk.takes_private_networks else "")
        users = f"{len(trunk.users)} user(s) with a password" if trunk.users else ""
        servers = "the servers it is registered at" if trunk.register_ else ""
        callers = " and ".join(part for part in (networks, users, servers) if part)
        address = {None: "", "auto": "; our address is found for each peer"}
        ours = address.get(trunk.advertise, f"; our address there is {trunk.advertise}")
        yield Finding(f"trunk {name}", True, f"calls from {callers}{ours}")
    if config.registrar.users:
        yield Finding("registrar", True, f"{len(config.registrar.users)} user(s) may register, from anywhere")
    peers = Peers(config)
    if peers.open:
        yield Finding("trunks", None, "everybody may call: name your PBX's networks in trunks.<name>.peers")
    elif peers.by_default:
        words = "calls from private networks only: name others in trunks.<name>.peers; everybody is 0.0.0.0/0"
        yield Finding("trunks", True, words)
    for name in keys_in_clear(config):
        yield Finding(f"trunk {name}", None, f"srtp: {KEYS_IN_CLEAR}")


def _tls(config: Config) -> Finding:
    settings = tls_settings(config)
    try:
        settings.client_context()
        if settings.certificate is not None:
            settings.server_context()
    except TlsError as error:
        return Finding(f"sip.tls.{error.setting}", False, str(error))
    return Finding("sip.tls", True, f"the files fit; TLS {settings.minimum} or later")


async def server_findings(config: Config) -> AsyncIterator[Finding]:
    """Whether each registrar and proxy is there. Nothing is registered: that could push the running service out."""
    servers = dict(_servers(config))
    if not servers:
        return
    agent = UserAgent(
        listen=everywhere(),
        on_invite=lambda invitation: invitation.reject(486),
        tls=tls_settings(config),
        nameservers=config.sip.nameservers,
    )
    try:
        await agent.start()
    except ValueError:
        return  # `_tls` has said it
    try:
        for what, server in servers.items():
            yield await _server(agent, what, server)
    finally:
        await agent.close()


def _servers(config: Config) -> Iterator[tuple[str, Uri]]:
    for name, trunk in config.trunks.items():
        for register in trunk.register_:
            for server in register.server:
                yield f"trunk {name}, register {register.user} at {server}", Uri.parse(server)
        if trunk.proxy is not None:
            yield f"trunk {name}, proxy {trunk.proxy}", Uri.parse(trunk.proxy)


async def _server(agent: UserAgent, what: str, server: Uri) -> Finding:
    try:
        paths = await ways(agent, server)
    except TimeoutError:
        paths = []
    if not paths:
        return Finding(what, False, "no such server is known: is the name right, and sip.nameservers?")
    place = _place(paths[0])
    answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    agent.options(str(server), lambda status: None if answer.done() else answer.set_result(status))
    try:
        status = await asyncio.wait_for(answer, PATIENCE_S)
    except TimeoutError:
        return Finding(what, None, f"{place} does not answer OPTIONS: is the address right, is a firewall between?")
    if status in (408, 503):
        advice = ", does sip.tls.ca sign its certificate" if paths[0].transport.name == "TLS" else ""
        words = f"{place} cannot be reached or takes no calls: is it running, are port and transport right{advice}?"
        return Finding(what, False, words)
    return Finding(what, True, f"{place} answers (OPTIONS: {status})")


def _place(path: Path) -> str:
    return f"{host_port(*path.peer)} over {path.transport.name}"
