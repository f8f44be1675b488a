"""Which connection is used for whom (RFC 5923)."""

from __future__ import annotations

from bridge.sip.connection import Address, Connection, StreamLimits, StreamStats
from bridge.sip.flows import Flows
from bridge.sip.framing import FramingError

PEER = ("192.0.2.1", 5061)


class Nobody:
    """An owner that wants to know nothing."""

    limits = StreamLimits()
    stats = StreamStats()

    def message(self, connection: Connection, data: bytes) -> None: ...
    def broken(self, connection: Connection, error: FramingError) -> None: ...
    def ended(self, connection: Connection) -> None: ...
    def closed(self, connection: Connection) -> None: ...


def accepted(flows: Flows, peer: Address = PEER) -> Connection:
    return opened(flows, None, peer)


def opened(flows: Flows, name: str | None = "", peer: Address = PEER) -> Connection:
    connection = Connection(Nobody(), peer, lambda: 0.0, name)
    flows.add(connection)
    return connection


def test_without_verification_any_connection_to_the_address_will_do() -> None:
    flows = Flows(verifying=False)
    connection = accepted(flows)
    for name in ("", "192.0.2.1", "one.example"):
        assert flows.find(PEER, name) is connection
    assert flows.find(("192.0.2.1", 5060), "") is None


def test_with_verification_a_name_is_reached_only_over_a_connection_verified_for_it() -> None:
    flows = Flows(verifying=True)
    connection = opened(flows, "one.example")
    assert flows.find(PEER, "one.example") is connection
    assert flows.find(PEER, "") is connection
    assert flows.find(PEER, "two.example") is None
    assert flows.find(PEER, "192.0.2.1") is None


def test_an_accepted_connection_stands_for_its_address_but_for_no_name() -> None:
    flows = Flows(verifying=True)
    connection = accepted(flows)
    assert flows.find(PEER, "") is connection
    assert flows.find(PEER, "192.0.2.1") is connection
    assert flows.find(PEER, "one.example") is None


def test_what_a_peer_opened_to_us_stays_its_own_way_back() -> None:
    flows = Flows(verifying=True)
    connection = accepted(flows)
    opened(flows, "one.example")
    assert flows.find(PEER, "") is connection


def test_a_connection_verified_for_the_address_comes_before_an_accepted_one() -> None:
    flows = Flows(verifying=True)
    accepted(flows)
    connection = opened(flows, "192.0.2.1")
    assert flows.find(PEER, "192.0.2.1") is connection


def test_the_newest_accepted_connection_is_the_living_one() -> None:
    flows = Flows(verifying=False)
    old, new = accepted(flows), accepted(flows)
    assert flows.find(PEER, "") is new
    flows.remove(old)
    assert flows.find(PEER, "") is new
    flows.remove(new)
    assert flows.find(PEER, "") is None


def test_an_alias_leads_to_the_connection_it_came_on() -> None:
    flows = Flows(verifying=False)
    connection = accepted(flows, ("192.0.2.1", 40000))
    flows.alias(("192.0.2.1", 40000), 5061)
    assert flows.find(PEER, "") is connection
    assert flows.remove(connection) == [("192.0.2.1", 40000), PEER]
    assert flows.find(PEER, "") is None


def test_a_connection_has_one_alias_at_most() -> None:
    flows = Flows(verifying=False)
    accepted(flows, ("192.0.2.1", 40000))
    for port in range(5000, 5100):
        flows.alias(("192.0.2.1", 40000), port)
    assert flows.find(("192.0.2.1", 5099), "") is not None
    assert len(flows._aliases) == 1


def test_a_new_connection_of_the_same_peer_takes_the_alias_over() -> None:
    flows = Flows(verifying=False)
    old, new = accepted(flows, ("192.0.2.1", 40000)), accepted(flows, ("192.0.2.1", 40001))
    flows.alias(old.peer, 5061)
    flows.alias(new.peer, 5061)
    flows.remove(old)
    assert flows.find(PEER, "") is new


def test_a_connection_to_the_very_port_comes_before_an_alias_of_it() -> None:
    flows = Flows(verifying=False)
    connection = opened(flows)
    stranger = accepted(flows, ("192.0.2.1", 40000))
    flows.alias(stranger.peer, PEER[1])
    assert flows.find(PEER, "") is connection


def test_only_what_was_accepted_can_have_an_alias() -> None:
    flows = Flows(verifying=False)
    opened(flows)
    flows.alias(PEER, 7000)
    flows.alias(("192.0.2.9", 5061), 7001)
    assert flows.find(("192.0.2.1", 7000), "") is None
    assert flows.find(("192.0.2.9", 7001), "") is None
