"""Phones that are registered here, as somebody whom callers can be handed to."""

from __future__ import annotations

from collections.abc import Collection

from bridge.config import Registrar as RegistrarSettings
from bridge.sip.advertise import family_of
from bridge.sip.layer import Path
from bridge.sip.ua import UserAgent
from bridge.sip.uri import DEFAULT_PORT, Uri
from bridge.transfer.targets import HERE


class Phones:
    """Tells our own phones from everybody else, and finds them."""

    def __init__(self, settings: RegistrarSettings, user_agent: UserAgent, advertised: Collection[str] = ()) -> None:
        """`advertised` are the addresses that trunks know us by."""
        self._settings = settings
        self._user_agent = user_agent
        self._advertised = advertised

    def is_one(self, target: Uri) -> bool:
        """Whether a URI names a user of our registrar at this very service, registered now or not."""
        return target.user in self._settings.users and self._is_here(target)

    def find(self, target: Uri) -> tuple[Uri, Path] | None:
        """Contact of a phone, and the way by which it registered; None while it is not registered."""
        registrar = self._user_agent.registrar
        found = registrar.lookup(target.user) if registrar is not None and target.user else []
        return found[0] if found else None

    def _is_here(self, uri: Uri) -> bool:
        if uri.host == HERE or uri.host == self._settings.realm.casefold():
            return True
        ports = {port for _, _, port in self._user_agent.local}
        return self._is_own_address(uri.host) and (uri.port or DEFAULT_PORT) in ports

    def _is_own_address(self, host: str) -> bool:
        if host in self._advertised or any(host == local for _, local, _ in self._user_agent.local):
            return True
        # To an address of its own a machine sends from that very address.
        return family_of(host) is not None and self._user_agent.local_address_for(host) == host
