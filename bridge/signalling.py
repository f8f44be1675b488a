"""From the configuration to the user agent: where it listens, whom it lets in, what it asks of calls."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator

from bridge.admission import Admission
from bridge.config import Config
from bridge.sip.advertise import family_of
from bridge.sip.invitation import Invitation
from bridge.sip.listeners import ListenAddress
from bridge.sip.policy import Policy
from bridge.sip.registrar import Registrar
from bridge.sip.session_timer import TimerPolicy
from bridge.sip.tls import TlsSettings
from bridge.sip.ua import UserAgent
from bridge.sip.uri import Uri

KEYS_IN_CLEAR = "keys travel in the signalling, which not every listener encrypts: listen on tls:// only"
PRODUCT = "sipbridge"
"""What we say of ourselves in User-Agent and Server."""


def user_agent(
    config: Config,
    admission: Admission,
    *,
    on_invite: Callable[[Invitation], None],
    availability: Callable[[], int],
) -> UserAgent:
    """The service's user agent, not yet started. ValueError when a TLS file is of no use."""
    return UserAgent(
        listen=listen_addresses(config),
        advertise=config.sip.advertise,
        on_invite=on_invite,
        availability=availability,
        gate=admission,
        registrar=_registrar(config, admission),
        policy=_policy(config),
        tls=tls_settings(config),
        nameservers=config.sip.nameservers,
        product=PRODUCT,
    )


def tls_settings(config: Config) -> TlsSettings:
    """Our certificate, whom we trust, and from which version on."""
    return TlsSettings(**config.sip.tls.model_dump())


def keys_in_clear(config: Config) -> list[str]:
    """The trunks whose SRTP keys may pass a listener that anybody on the way can read."""
    if all(endpoint.transport == "tls" for endpoint in config.sip.endpoints()):
        return []
    return [name for name, trunk in config.trunks.items() if trunk.srtp != "off"]


def why_not_bound(error: OSError) -> str:
    """Why an address cannot be listened on, and what to look at."""
    hint = {
        errno.EADDRINUSE: "another service has this port; is sipbridge already running?",
        errno.EADDRNOTAVAIL: "this machine does not have this address",
        errno.EACCES: "a port below 1024 needs root or CAP_NET_BIND_SERVICE",
    }
    return hint.get(error.errno or 0) or error.strerror or str(error)


def listen_addresses(config: Config) -> list[ListenAddress]:
    """Where to listen, and besides from where to connect: trunks may want TCP or TLS that nobody calls us by."""
    addresses = [ListenAddress(item.transport, item.host, item.port) for item in config.sip.endpoints()]
    have = {address.transport for address in addresses}
    hosts = {family_of(address.host): address.host for address in reversed(addresses)}
    for transport in sorted(set(_wanted(config)) - have):
        addresses += [ListenAddress(transport, host, 0, listening=False) for host in hosts.values()]
    return addresses


def _wanted(config: Config) -> Iterator[str]:
    """The transports that the trunks' URIs and the transfer targets name."""
    for trunk in config.trunks.values():
        texts = [server for register in trunk.register_ for server in register.server]
        for text in (*texts, *([trunk.proxy] if trunk.proxy else [])):
            yield from _transports(text)
    for agent in config.agents.values():
        for text in agent.transfer.targets.values():
            if text.startswith(("sip:", "sips:")):
                yield from _transports(text)


def _transports(text: str) -> tuple[str, ...]:
    """What a URI may need: the transport it names; of a domain without a port DNS may say any (RFC 3263)."""
    uri = Uri.parse(text)
    named = (uri.parameter("transport") or "").lower()
    if uri.scheme == "sips":
        return ("tls",)
    if named or uri.port is not None or family_of(uri.host) is not None:
        return (named or "udp",)
    return ("udp", "tcp", "tls")


def _policy(config: Config) -> Policy:
    timer = config.sip.session_timer
    enabled = timer.expires_s > 0
    return Policy(TimerPolicy(timer.expires_s, timer.min_s, timer.refresher, enabled), config.sip.reliable)


def _registrar(config: Config, admission: Admission) -> Registrar | None:
    users = {name: user.password.get_secret_value() for name, user in config.registrar.users.items()}
    if not users:
        return None
    return Registrar(
        config.registrar.realm,
        users,
        time.monotonic,
        authority=admission.authority,
        maximum_s=config.registrar.expires_s,
        headers=[("Server", PRODUCT)],
    )
