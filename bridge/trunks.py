"""What the service does with its trunks besides taking their calls: stays registered, and knows the way out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from random import SystemRandom

import structlog

from bridge.config import Config
from bridge.config.trunk import Register
from bridge.sip.binding import Binding
from bridge.sip.core import Core
from bridge.sip.digest import Authenticator, Credentials
from bridge.sip.registration import Registration, RegistrationState
from bridge.sip.ua import UserAgent
from bridge.sip.uri import Uri, parse_host_port

log = structlog.get_logger("sipbridge.trunks")

LOOK_S = 1.0
LAPSED = "the registrar has forgotten us and its refresh waits: calls come again when it answers"
UNREGISTER_S = 3.0
"""How long the registrars together may take to let us go."""
_WARNED = (RegistrationState.BACKING_OFF, RegistrationState.REFUSED)


@dataclass(frozen=True, slots=True)
class Way:
    """How a call of ours leaves by a trunk: Route values, and who answers its challenges. `caller` is our From."""

    routes: tuple[str, ...] = ()
    authenticator: Authenticator | None = None
    caller: str | None = None


class Trunks:
    """Every trunk of the configuration."""

    def __init__(
        self,
        config: Config,
        user_agent: UserAgent,
        *,
        on_servers: Callable[[str, Iterable[str]], None] = lambda trunk, hosts: None,
    ) -> None:
        """`on_servers` gets a trunk's name and the addresses where it is registered now."""
        self.registrations: dict[str, Registration] = {}
        """By name: `trunk/user`, with `@server` behind it where a user registers at several."""
        self._trunks = config.trunks
        self._core = user_agent.core
        self._of: dict[str, list[Registration]] = {name: [] for name in config.trunks}
        for name, trunk in config.trunks.items():
            for register in trunk.register_:
                self._add(name, register, user_agent.core)
        self._on_servers = on_servers
        self._closed = False
        user_agent.connection_users.append(self)

    def _add(self, name: str, register: Register, core: Core) -> None:
        registration = Registration(core, binding_of(register, self._trunks[name].advertise), SystemRandom())
        label = f"{name}/{register.user}"
        if label in self.registrations:
            label = f"{label}@{Uri.parse(register.server[0]).host}"

        def changed(state: RegistrationState, detail: str) -> None:
            tell = log.warning if state in _WARNED else log.info
            tell(f"registration.{state.value}", registration=label, detail=detail)
            self._tell_servers(name)

        registration.on_change = changed
        self.registrations[label] = registration
        self._of[name].append(registration)

    def _look(self, name: str, label: str, lapsed: bool = False) -> None:
        """Tell when a registration lapses while its refresh still waits, and when it is back."""
        if self._closed:
            return
        lapses = _has_lapsed(self.registrations[label])
        if lapses and not lapsed:
            log.warning("registration.lapsed", registration=label, detail=LAPSED)
        elif lapsed and not lapses:
            log.info("registration.back", registration=label)
        if lapses != lapsed:
            self._tell_servers(name)
        self._core.after(LOOK_S, lambda: self._look(name, label, lapses))

    def _tell_servers(self, name: str) -> None:
        self._on_servers(name, [item.peer[0] for item in self._of[name] if item.registered and item.peer])

    def start(self) -> None:
        """Register everywhere; returns at once."""
        for name, items in self._of.items():
            for label, item in self.registrations.items():
                if item in items:
                    self._look(name, label)
        for registration in self.registrations.values():
            registration.start()

    async def close(self) -> None:
        """Unregister everywhere, without waiting longer than UNREGISTER_S. A second call does nothing."""
        standing = [] if self._closed else list(self.registrations.values())
        self._closed = True
        left = len(standing)
        gone = asyncio.Event()

        def done() -> None:
            nonlocal left
            left -= 1
            if left == 0:
                gone.set()

        for registration in standing:
            registration.close(done, UNREGISTER_S)
        if left > 0:
            await asyncio.wait({asyncio.create_task(gone.wait())}, timeout=UNREGISTER_S + 1)

    def uses(self, peer: tuple[str, int]) -> bool:
        """Whether a registration lives on the connection to `peer`."""
        return any(item.registered and item.peer == peer for item in self.registrations.values())

    def lost(self, peer: tuple[str, int]) -> None:
        """A connection has gone: who is registered over it cannot be called before the next REGISTER."""
        for item in self.registrations.values():
            if item.registered and item.peer == peer:
                item.refresh()

    @property
    def unreachable(self) -> bool:
        """Whether we should be registered somewhere and are nowhere."""
        return bool(self.registrations) and not any(item.registered for item in self.registrations.values())

    def states(self) -> list[tuple[str, str, str]]:
        """Name, state and detail of each registration."""
        found = []
        for name, item in self.registrations.items():
            lapsed = _has_lapsed(item)
            found.append((name, "lapsed", LAPSED) if lapsed else (name, item.state.value, item.detail))
        return found

    # Calls out

    def way(self, name: str, target: Uri | None = None) -> Way:
        """How a call of ours leaves by this trunk; an empty way for none.

        A password proves itself only to the trunk's own servers: a `target` elsewhere that asks for one could guess it.
        """
        trunk = self._trunks.get(name)
        if trunk is None:
            return Way()
        registered = next((item for item in self._of[name] if item.registered), None)
        account = registered or next(iter(self._of[name]), None)
        routes: Sequence[str] = registered.service_route if registered is not None else ()
        if trunk.proxy is not None:
            routes = (_route(trunk.proxy),)
        caller = str(registered.binding.user) if registered is not None else None
        trusted = account is not None and (target is None or bool(routes) or _is_at(account.binding, target))
        proof = Authenticator(account.binding.credentials) if account is not None and trusted else None
        return Way(tuple(routes), proof, caller)

    def server(self, name: str) -> Uri | None:
        """Whom a bare number on this trunk belongs to: its proxy, else its registrar; None when it has neither."""
        trunk = self._trunks.get(name)
        if trunk is None:
            return None
        if trunk.proxy is not None:
            return Uri.parse(trunk.proxy)
        return Uri.parse(trunk.register_[0].server[0]) if trunk.register_ else None


def _has_lapsed(item: Registration) -> bool:
    """Whether the registrar has forgotten us although nothing was refused."""
    return item.state is RegistrationState.REGISTERED and not item.registered


def _is_at(binding: Binding, target: Uri) -> bool:
    return target.host in {binding.user.host, *(server.host for server in binding.server)}


def binding_of(register: Register, advertise: str | None = None) -> Binding:
    """What to register for one account; `advertise` as its trunk has it."""
    servers = tuple(Uri.parse(server) for server in register.server)
    first = servers[0]
    # The domain as an address of record has it: without transport, and without the port of a plain server.
    name, domain = register.address_of_record
    host, port = parse_host_port(domain, "domain") if domain else (first.host, None)
    user = Uri.parse(f"{first.scheme}:{Uri.build(name, host, port).text.removeprefix('sip:')}")
    return Binding(
        servers, user, (Credentials(*register.credentials),), expires_s=register.expires_s, advertise=advertise
    )


def _route(server: str) -> str:
    uri = Uri.parse(server)
    return f"<{server}>" if uri.parameter("lr") is not None else f"<{server};lr>"
