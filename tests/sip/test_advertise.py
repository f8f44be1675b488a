"""Which address peers are told."""

from __future__ import annotations

import pytest

from bridge.sip.advertise import LIFE_S, MAX_PEERS, Advertiser, family_of, is_wildcard


def test_a_fixed_address_is_told_to_everybody() -> None:
    assert Advertiser("203.0.113.5", lambda: 0.0).address_for("127.0.0.1") == "203.0.113.5"
    assert Advertiser("[2001:db8::5]", lambda: 0.0).address_for("h") == "2001:db8::5"


def test_the_kernel_knows_the_way() -> None:
    advertiser = Advertiser("auto", lambda: 0.0)
    advertiser.bind(["0.0.0.0"])
    assert advertiser.address_for("127.0.0.1") == "127.0.0.1"
    for host in ("192.0.2.1", "nowhere.example", "::1"):
        address = advertiser.address_for(host)
        assert family_of(address) is not None
        assert not is_wildcard(address)


def test_a_bound_address_is_the_only_one() -> None:
    advertiser = Advertiser("auto", lambda: 0.0)
    advertiser.bind(["127.0.0.2", "::"])
    assert advertiser.address_for("127.0.0.1") == "127.0.0.2"
    assert advertiser.address_for("name") == "127.0.0.2"


def test_of_several_bound_addresses_the_one_that_leads_there_is_told() -> None:
    advertiser = Advertiser("auto", lambda: 0.0)
    advertiser.bind(["192.0.2.1", "127.0.0.1"])
    assert advertiser.address_for("127.0.0.1") == "127.0.0.1"
    advertiser.bind(["192.0.2.1", "192.0.2.2"])
    assert advertiser.address_for("127.0.0.1") == "192.0.2.1", "none leads there: the first"


def test_beside_a_wildcard_a_bound_address_says_nothing_of_others() -> None:
    advertiser = Advertiser("auto", lambda: 0.0)
    advertiser.bind(["192.0.2.1", "0.0.0.0"])
    assert advertiser.address_for("127.0.0.1") == "127.0.0.1"


def test_a_fixed_address_is_not_told_to_peers_of_the_other_family() -> None:
    advertiser = Advertiser("203.0.113.5", lambda: 0.0)
    advertiser.bind(["0.0.0.0", "::"])
    assert advertiser.address_for("127.0.0.1") == "203.0.113.5"
    assert advertiser.address_for("::1") == "::1"


def test_a_name_is_faced_by_ipv4_where_there_is_any() -> None:
    advertiser = Advertiser("auto", lambda: 0.0)
    advertiser.bind(["::1", "127.0.0.2"])
    assert advertiser.address_for("name") == "127.0.0.2"
    advertiser.bind(["::1"])
    assert advertiser.address_for("name") == "::1"


def test_answers_are_kept_for_a_while_and_not_without_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def route(host: str, family: object) -> str:
        asked.append(host)
        return f"10.0.0.{len(asked)}"

    monkeypatch.setattr("bridge.sip.advertise._route", route)
    now = 0.0
    advertiser = Advertiser("auto", lambda: now)
    assert advertiser.address_for("192.0.2.1") == advertiser.address_for("192.0.2.1") == "10.0.0.1"
    now = LIFE_S
    assert advertiser.address_for("192.0.2.1") == "10.0.0.2"
    for number in range(2 * MAX_PEERS):
        advertiser.address_for(f"192.0.{number // 256}.{number % 256}")
    assert len(advertiser._found) <= MAX_PEERS


def test_families() -> None:
    assert family_of("name") is None
    assert is_wildcard("::") and is_wildcard("0.0.0.0")
    assert not is_wildcard("name")


def test_a_call_may_have_an_address_of_its_own() -> None:
    advertiser = Advertiser("203.0.113.5", lambda: 0.0)
    advertiser.bind(["127.0.0.1"])
    found = [advertiser.address_for("127.0.0.9", own) for own in (None, "203.0.113.7", "[2001:db8::7]", "auto")]
    assert found == ["203.0.113.5", "203.0.113.7", "127.0.0.1", "127.0.0.1"]
    assert [advertiser.is_fixed(own) for own in (None, "203.0.113.7", "auto")] == [True, True, False]
    detecting = Advertiser("auto", lambda: 0.0)
    assert [detecting.is_fixed(own) for own in (None, "203.0.113.7", "auto")] == [False, True, False]
    assert detecting.address_for("name", "203.0.113.7") == "203.0.113.7"
