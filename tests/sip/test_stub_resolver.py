"""The stub resolver's bounds: long answers, long lives, servers that lie or fall silent."""

from __future__ import annotations

import socket
import time

import dns.message
import dns.name
import dns.rdataclass
import dns.rdatatype
import dns.resolver
import dns.rrset
import pytest

from bridge.sip.stub_resolver import MAX_NEGATIVE_TTL_S, MAX_TTL_S, BoundedCache, stub_resolver

from .nameserver import HOST, nameserver

NAME = dns.name.from_text("h.example")
KEY = (NAME, dns.rdatatype.A, dns.rdataclass.IN)


def answer(ttl: int | None) -> dns.resolver.Answer:
    """An answer of one address, or with None an empty one that does not say for how long."""
    response = dns.message.make_response(dns.message.make_query(NAME, "A"))
    if ttl is not None:
        response.answer.append(dns.rrset.from_text(NAME, ttl, "IN", "A", "192.0.2.1"))
    received = dns.message.from_wire(response.to_wire())
    assert isinstance(received, dns.message.QueryMessage)
    return dns.resolver.Answer(NAME, dns.rdatatype.A, dns.rdataclass.IN, received)


@pytest.mark.parametrize(("ttl", "longest"), [(2**31 - 1, MAX_TTL_S), (None, MAX_NEGATIVE_TTL_S), (20, 20)])
def test_nothing_is_believed_for_years(ttl: int | None, longest: float) -> None:
    cache = BoundedCache(10)
    kept = answer(ttl)
    cache.put(KEY, kept)
    assert (kept.rrset is None) == (ttl is None)
    assert time.time() < kept.expiration <= time.time() + longest
    assert cache.get(KEY) is kept


async def test_a_long_answer_comes_over_tcp_and_a_very_long_one_not_at_all() -> None:
    zone = {
        ("long.example", "A"): [f"192.0.2.{index}" for index in range(1, 200)],
        ("flood.example", "A"): [f"10.0.{index // 250}.{index % 250 + 1}" for index in range(3000)],
    }
    async with nameserver(zone) as server:
        resolver = stub_resolver([HOST], server.port, 1.0)
        assert len(await resolver.resolve("long.example.", "A")) == 199
        assert server.streams == 1
        with pytest.raises(dns.resolver.NoNameservers):
            await resolver.resolve("flood.example.", "A")
        assert server.streams == 2


async def test_an_answer_to_another_question_is_none() -> None:
    async with nameserver({("long.example", "A"): [f"192.0.2.{index}" for index in range(1, 200)]}) as server:
        server.mood = "forged"
        with pytest.raises(dns.resolver.NoNameservers):
            await stub_resolver([HOST], server.port, 1.0).resolve("long.example.", "A")
        assert server.streams == 1


async def test_the_next_server_answers_for_a_silent_one() -> None:
    async with nameserver({("h.example", "A"): ["192.0.2.1"]}) as well:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind(("127.0.0.2", well.port))
            resolver = stub_resolver(["127.0.0.2", HOST], well.port, 0.2)
            assert [row.to_text() for row in await resolver.resolve("h.example.", "A")] == ["192.0.2.1"]
            assert silent.recv(512)


def test_dns_servers_are_addresses() -> None:
    with pytest.raises(ValueError, match="no IP address"):
        stub_resolver(["dns.example"], 53, 1.0)


def test_a_machine_without_a_list_of_servers_asks_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> None:
        raise dns.resolver.NoResolverConfiguration

    monkeypatch.setattr(dns.resolver.BaseResolver, "read_resolv_conf", missing)
    assert list(stub_resolver(None, 53, 1.0).nameservers) == []


def test_the_system_s_servers_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(resolver: dns.resolver.BaseResolver, _: object) -> None:
        resolver.nameservers = ["192.0.2.53", "2001:db8::53"]
        resolver.timeout = 30

    monkeypatch.setattr(dns.resolver.BaseResolver, "read_resolv_conf", read)
    made = stub_resolver(None, 53, 1.0)
    assert [server.address for server in made.nameservers] == ["192.0.2.53", "2001:db8::53"]  # type: ignore[union-attr]
    assert made.timeout == 1.0
