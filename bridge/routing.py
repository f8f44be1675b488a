"""From a dialled number to the agent that answers it."""

from __future__ import annotations

import ipaddress
from fnmatch import fnmatchcase

from bridge.config import Config


def agent_for(config: Config, dialled: str) -> str | None:
    """The name of the agent that takes a call to the user part `dialled`; the first route that fits wins.

    Without any route the first agent takes every call. None: no route fits, the caller gets a 404.
    """
    if not config.routes:
        return next(iter(config.agents))
    for route in config.routes:
        if fnmatchcase(dialled, route.to):
            return route.agent
    return None


class Peers:
    """Who may call: the networks of all trunks. Without trunks everybody may."""

    def __init__(self, config: Config) -> None:
        self._networks = [
            (name, ipaddress.ip_network(peer, strict=False))
            for name, trunk in config.trunks.items()
            for peer in trunk.peers
        ]
        self.open = not self._networks

    def trunk_of(self, host: str) -> str | None:
        """The trunk a source address belongs to; an empty name when everybody may call; None: a stranger."""
        if self.open:
            return ""
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return None
        return next((name for name, network in self._networks if address in network), None)
