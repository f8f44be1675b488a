"""Whose network an address belongs to."""

from __future__ import annotations

import pytest

from bridge.config import Config
from bridge.peers import Peers, source_of


def peers(**trunks: dict[str, object]) -> Peers:
    return Peers(Config.model_validate({"trunks": trunks}))


@pytest.mark.parametrize(
    ("host", "trunk"),
    [
        *((host, "") for host in ("127.0.0.1", "10.1.2.3", "172.31.0.1", "192.168.1.1", "169.254.1.1", "100.64.0.1")),
        *((host, "") for host in ("::1", "fd00::1", "fe80::1%eth0", "::ffff:10.0.0.1")),
        *((host, None) for host in ("8.8.8.8", "172.32.0.1", "100.128.0.1", "192.169.0.1", "2001:db8::1")),
        *((host, None) for host in ("::ffff:8.8.8.8", "0.0.0.0", "not an address", "")),
    ],
)
def test_without_trunks_private_networks_may_call(host: str, trunk: str | None) -> None:
    assert peers().trunk_of(host) == trunk


def test_a_trunk_that_says_nobody_has_the_private_networks() -> None:
    assert peers(pbx={"headers": ["X-A"]}).trunk_of("10.0.0.1") == "pbx"
    assert peers(pbx={"users": {"a": {"password": "x"}}}).trunk_of("10.0.0.1") is None
    assert peers(pbx={"peers": ["192.0.2.0/24"]}).trunk_of("10.0.0.1") is None


def test_the_narrowest_network_decides() -> None:
    some = peers(
        wide={"peers": ["10.0.0.0/8"]}, narrow={"peers": ["10.1.0.0/16", "10.9.9.9"]}, v6={"peers": "fd00::/8"}
    )
    hosts = ("10.2.0.1", "10.1.0.1", "10.9.9.9", "10.9.9.8", "fd12::1", "fe80::1", "::ffff:10.1.0.1")
    assert [some.trunk_of(host) for host in hosts] == ["wide", "narrow", "narrow", "wide", "v6", None, "narrow"]


def test_the_servers_a_trunk_is_registered_at_are_its_peers() -> None:
    account = {"server": "pbx.example", "user": "600", "password": "x"}
    some = peers(carrier={"register": account})
    assert some.trunk_of("198.51.100.1") is None
    some.learn("carrier", ["198.51.100.1", "2001:0DB8::1", "no address"])
    assert some.trunk_of("198.51.100.1") == some.trunk_of("2001:db8::1") == "carrier"
    some.learn("carrier", [])
    assert some.trunk_of("198.51.100.1") is None


def test_whether_everybody_may_call() -> None:
    assert peers(pbx={"peers": ["0.0.0.0/0"]}).open
    assert peers(pbx={"peers": ["0.0.0.0/0"]}).trunk_of("8.8.8.8") == "pbx"
    assert not peers().open and peers().by_default and not peers(pbx={"peers": ["10.0.0.0/8"]}).by_default


def test_one_customer_of_ipv6_is_one_source() -> None:
    assert source_of("2001:db8:1:2::1") == source_of("2001:db8:1:2:ffff::9") != source_of("2001:db8:1:3::1")
    assert source_of("10.0.0.1") == source_of("::ffff:10.0.0.1") != source_of("10.0.0.2")
