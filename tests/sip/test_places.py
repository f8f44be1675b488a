"""Places of a listener: strangers get a quarter, peers the rest, and refusals are told now and then."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs

from bridge.sip.connection import StreamLimits
from bridge.sip.places import WARN_EVERY_S, Places, network_of


class House:
    """Places, and a clock that a test moves."""

    def __init__(self, connections: int = 40, per_host: int = 8) -> None:
        self.now = 1000.0
        self.places = Places("TCP", StreamLimits(connections=connections, per_host=per_host), lambda: self.now)

    def crowd(self, hosts: int, each: int, *, stranger: bool, net: int = 0) -> int:
        """How many connections find a place when each of so many hosts makes so many."""
        takes = [
            self.places.take(f"192.0.{net}.{host}", stranger=stranger) for host in range(hosts) for _ in range(each)
        ]
        return sum(takes)

    def refusals(self, **keywords: Any) -> list[dict[str, Any]]:
        """What is logged when one more of a host comes."""
        with capture_logs() as logs:
            assert not self.places.take("192.0.0.0", **keywords)
        return list(map(dict, logs))


def test_a_crowd_of_strangers_leaves_three_quarters_to_peers() -> None:
    house = House()
    assert house.crowd(10, 8, stranger=True) == 10
    assert house.crowd(10, 8, stranger=False, net=1) == 30
    assert len(house.places) == 40


def test_with_the_limits_we_serve_with() -> None:
    places = Places("TLS", StreamLimits(), lambda: 0.0)
    strangers = sum(places.take(f"192.0.2.{host}", stranger=True) for host in range(20) for _ in range(200))
    assert strangers == 500
    peers = sum(places.take(f"198.51.100.{host}", stranger=False) for host in range(20) for _ in range(201))
    assert peers == 1500


@pytest.mark.parametrize(("stranger", "places"), [(True, 2), (False, 8)])
def test_one_host_has_its_share(stranger: bool, places: int) -> None:
    assert House().crowd(1, 50, stranger=stranger) == places


def test_strangers_of_a_network_do_not_keep_its_peer_out() -> None:
    house = House()
    assert house.crowd(1, 8, stranger=True) == 2
    assert house.crowd(1, 8, stranger=False) == 6


def test_there_is_a_place_for_a_stranger_in_the_smallest_house() -> None:
    assert House(connections=3, per_host=3).crowd(2, 2, stranger=True) == 1


def test_who_leaves_makes_room() -> None:
    house = House()
    for stranger in (True, False) * 3:
        assert house.places.take("192.0.2.1", stranger=stranger)
        house.places.leave("192.0.2.1", stranger=stranger)
    assert len(house.places) == 0
    assert not house.places._all and not house.places._strangers


def test_who_is_welcome_counts_as_no_stranger() -> None:
    house = House()
    assert house.crowd(1, 8, stranger=True) == 2
    house.places.welcome("192.0.0.0")
    assert house.crowd(1, 8, stranger=True) == 1
    house.places.leave("192.0.0.0", stranger=False)
    assert house.crowd(1, 8, stranger=True) == 0
    assert len(house.places) == 2


def test_refusals_are_told_with_advice_and_not_each() -> None:
    house = House()
    house.crowd(1, 2, stranger=True)
    (line,) = house.refusals(stranger=True)
    assert (line["event"], line["log_level"]) == ("sip.connections_refused", "warning")
    assert (line["transport"], line["peer"], line["refused"]) == ("TCP", "192.0.0.0", 1)
    house.now += WARN_EVERY_S - 0.1
    assert [house.refusals(stranger=True) for _ in range(5)] == [[]] * 5
    house.now += 0.1
    (line,) = house.refusals(stranger=True)
    assert line["refused"] == 6


def test_the_advice_fits_what_there_is_too_much_of() -> None:
    def told(hosts: int, each: int, stranger: bool, net: int) -> str:
        house = House()
        house.crowd(hosts, each, stranger=stranger, net=net)
        (line,) = house.refusals(stranger=stranger)
        return str(line["hint"])

    assert "missing in a trunk's peers" in told(1, 2, stranger=True, net=0)
    assert "firewall" in told(10, 1, stranger=True, net=1)
    assert told(1, 8, stranger=False, net=0).startswith("this host holds")
    assert "in all" in told(40, 1, stranger=False, net=1)


def test_what_counts_as_one_host() -> None:
    assert network_of("192.0.2.1") != network_of("192.0.2.2")
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:1")
    assert network_of("2001:db8::1") != network_of("2001:db8:0:1::1")
    assert network_of("fe80::1%lo") == network_of("fe80::2%lo")
