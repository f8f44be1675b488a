"""Which connection leads to which peer (RFC 5923: reuse of connections)."""

from __future__ import annotations

from .connection import Address, Connection


class Flows:
    """The connections that can be sent on, by the address they lead to.

    With `verifying` (TLS) a named server is reached only over a connection verified for that name.
    """

    def __init__(self, verifying: bool) -> None:
        self._verifying = verifying
        self._ends: dict[Address, Connection] = {}
        self._aliases: dict[Address, Connection] = {}
        self._opened: dict[tuple[Address, str], Connection] = {}

    def add(self, connection: Connection) -> None:
        """One that was accepted has its address for itself: the newest is the living one."""
        if connection.accepted:
            self._ends[connection.peer] = connection
        else:
            self._opened[connection.peer, connection.name] = connection
            self._ends.setdefault(connection.peer, connection)

    def find(self, peer: Address, name: str) -> Connection | None:
        """The connection to use; without a `name` any that leads there, None when there is none."""
        flow = self._ends.get(peer) or self._aliases.get(peer)
        if not self._verifying or not name:
            return flow
        verified = self._opened.get((peer, name))
        if verified is None and name == peer[0] and flow is not None and flow.accepted:
            return flow  # it comes from the very address that is wanted: a certificate could not say more
        return verified

    def alias(self, source: Address, port: int) -> None:
        """Lead what is for `port` of the host of `source` to the connection accepted from there."""
        connection = self._ends.get(source)
        if connection is None or not connection.accepted:
            return
        self._drop_alias(connection)  # one each, or a stranger could fill the table
        connection.alias = (source[0], port)
        self._aliases[connection.alias] = connection

    def remove(self, connection: Connection) -> list[Address]:
        """Forget it. Gives the addresses that it led to."""
        addresses = [connection.peer, *([connection.alias] if connection.alias is not None else [])]
        self._drop_alias(connection)
        if self._ends.get(connection.peer) is connection:
            del self._ends[connection.peer]
        if self._opened.get((connection.peer, connection.name)) is connection:
            del self._opened[connection.peer, connection.name]
        return addresses

    def _drop_alias(self, connection: Connection) -> None:
        alias = connection.alias
        if alias is not None and self._aliases.get(alias) is connection:
            del self._aliases[alias]
