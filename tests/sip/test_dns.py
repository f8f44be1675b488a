"""The resolver against a DNS server on loopback: what it asks, what it remembers, how it fails."""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest
import uvloop

from bridge.sip.dns import MAX_LOOKUPS, MAX_SYSTEM, NEGATIVE_S, Resolver
from bridge.sip.locating import Target
from bridge.sip.uri import Uri

from .nameserver import HOST, Nameserver, nameserver

ALL = ("UDP", "TCP", "TLS")
SHORT_S = 0.4
"""Lifetime where DNS stays silent."""
PATIENCE_S = 10

ZONE = {
    ("example.com", "NAPTR"): [
        '10 10 "s" "SIP+D2U" "" _sip._udp.example.com.',
        '10 20 "s" "SIPS+D2T" "" _sips._tcp.example.com.',
    ],
    ("_sip._udp.example.com", "SRV"): ["10 1 5060 a.example.com.", "20 1 5080 b.example.com."],
    ("_sips._tcp.example.com", "SRV"): ["10 1 5061 a.example.com."],
    ("a.example.com", "A"): ["192.0.2.1"],
    ("a.example.com", "AAAA"): ["2001:db8::1"],
    ("b.example.com", "CNAME"): ["c.example.com."],
    ("c.example.com", "A"): ["192.0.2.3"],
}


@asynccontextmanager
async def resolving(
    zone: Mapping[tuple[str, str], Sequence[str]] = ZONE, lifetime_s: float = 5.0, **options: Any
) -> AsyncIterator[tuple[Resolver, Nameserver]]:
    async with nameserver(zone) as server:
        resolver = Resolver([HOST], server.port, lifetime_s=lifetime_s, rng=Random(1), **options)
        try:
            yield resolver, server
        finally:
            resolver.close()
            await asyncio.sleep(0)


async def find(resolver: Resolver, text: str, supported: Sequence[str] = ALL) -> list[Target]:
    done: asyncio.Future[list[Target]] = asyncio.get_running_loop().create_future()
    resolver.resolve(Uri.parse(text), supported, done.set_result)
    return await asyncio.wait_for(done, PATIENCE_S)


def shown(targets: Sequence[Target]) -> list[str]:
    return [f"{target.transport} {target.host} {target.port}" for target in targets]


async def no_names(*_: object, **__: object) -> list[object]:
    raise socket.gaierror(socket.EAI_NONAME, "not known")


async def stuck(*_: object, **__: object) -> list[object]:
    await asyncio.sleep(3600)
    return []


@pytest.fixture(autouse=True)
def lonely(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine knows no names of its own, whatever is in its files, and asks no server of its own."""
    monkeypatch.setattr(asyncio.base_events.BaseEventLoop, "getaddrinfo", no_names)


def name_of_the_machine(monkeypatch: pytest.MonkeyPatch, answer: Callable[..., Any]) -> None:
    monkeypatch.setattr(asyncio.base_events.BaseEventLoop, "getaddrinfo", answer)


EXAMPLE = [
    "UDP 192.0.2.1 5060",
    "UDP 2001:db8::1 5060",
    "UDP 192.0.2.3 5080",
    "TLS 192.0.2.1 5061",
    "TLS 2001:db8::1 5061",
]


async def test_a_domain_leads_to_its_servers() -> None:
    async with resolving() as (resolver, server):
        assert shown(await find(resolver, "sip:a@example.com")) == EXAMPLE
        assert server.asked["example.com", "NAPTR"] == 1
        assert server.asked["_sip._tcp.example.com", "SRV"] == 0
        assert resolver.stats.unlocated == {}


def test_uvloop_does_the_same() -> None:
    async def main() -> None:
        async with resolving(ZONE | {("big.example", "A"): [f"192.0.2.{n}" for n in range(1, 60)]}) as (
            resolver,
            server,
        ):
            assert shown(await find(resolver, "sip:a@example.com")) == EXAMPLE
            assert len(await find(resolver, "sip:big.example:5060")) == 8
            assert server.streams == 1

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


async def test_a_literal_is_answered_before_resolve_returns() -> None:
    async with resolving() as (resolver, server):
        found: list[list[Target]] = []
        for text in ("sip:192.0.2.9", "sip:localhost:5070", "tel:123", "sip:h.example;transport=ws"):
            resolver.resolve(Uri.parse(text), ALL, found.append)
        assert [shown(targets)[:1] for targets in found] == [["UDP 192.0.2.9 5060"], ["UDP 127.0.0.1 5070"], [], []]
        assert not server.asked
        assert resolver.stats.unlocated == {"unsupported": 2}


def test_a_literal_needs_no_loop() -> None:
    found: list[list[Target]] = []
    Resolver([HOST]).resolve(Uri.parse("sip:192.0.2.9"), ALL, found.append)
    assert shown(found[0]) == ["UDP 192.0.2.9 5060"]


async def test_answers_are_kept_for_as_long_as_the_zone_says() -> None:
    async with resolving() as (resolver, server):
        await find(resolver, "sip:a@example.com")
        asked = server.asked.total()
        assert shown(await find(resolver, "sip:b@example.com")) == EXAMPLE
        assert server.asked.total() == asked
    async with resolving() as (resolver, server):
        server.ttl = 0
        await find(resolver, "sip:a@example.com")
        await find(resolver, "sip:b@example.com")
        assert server.asked["example.com", "NAPTR"] == 2


async def test_one_lookup_serves_all_who_ask_meanwhile() -> None:
    async with resolving() as (resolver, server):
        server.ttl = 0
        found = await asyncio.gather(*(find(resolver, f"sip:{user}@example.com;lr") for user in "abcdef"))
        assert [shown(targets) for targets in found] == [EXAMPLE] * 6
        assert server.asked["example.com", "NAPTR"] == 1
        assert resolver.stats.shared == 5
        texts = ("sip:example.com", "sip:example.com;transport=udp", "sips:example.com", "sip:example.com:5070")
        found = await asyncio.gather(*(find(resolver, text) for text in texts))
        assert [shown(targets) for targets in found] == [EXAMPLE, EXAMPLE[:3], EXAMPLE[3:], []]
        assert resolver.stats.shared == 5


async def test_one_failing_caller_keeps_nobody_waiting() -> None:
    async with resolving() as (resolver, _):
        faults: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context["exception"]))

        def broken(_: list[Target]) -> None:
            raise RuntimeError("a bug of the caller")

        resolver.resolve(Uri.parse("sip:example.com"), ALL, broken)
        assert shown(await find(resolver, "sip:example.com")) == EXAMPLE
        assert [str(fault) for fault in faults] == ["a bug of the caller"]


async def test_who_cancels_is_not_called() -> None:
    async with resolving() as (resolver, _):
        called: list[list[Target]] = []
        resolver.resolve(Uri.parse("sip:example.com"), ALL, called.append).cancel()
        assert shown(await find(resolver, "sip:example.com")) == EXAMPLE
        assert not called


async def test_closing_calls_nobody_and_leaves_nothing_running(monkeypatch: pytest.MonkeyPatch) -> None:
    name_of_the_machine(monkeypatch, stuck)
    async with resolving() as (resolver, server):
        server.mood = "silent"
        before = asyncio.all_tasks()
        called: list[list[Target]] = []
        resolver.resolve(Uri.parse("sip:example.com"), ALL, called.append)
        resolver.resolve(Uri.parse("sip:asterisk"), ALL, called.append)
        while not server.asked:
            await asyncio.sleep(0.001)
        resolver.close()
        _, pending = await asyncio.wait(asyncio.all_tasks() - before, timeout=PATIENCE_S)
        assert not pending and not called
        assert await find(resolver, "sip:b.example.com") == []
        assert resolver.stats.unlocated == {"busy": 1}


@pytest.mark.parametrize(
    ("mood", "reason"),
    [("well", "unknown"), ("servfail", "server_failure"), ("silent", "timeout"), ("rude", "timeout")],
)
async def test_what_leads_nowhere_is_counted_by_its_reason(mood: str, reason: str) -> None:
    async with resolving(lifetime_s=SHORT_S) as (resolver, server):
        server.mood = mood
        assert await find(resolver, "sip:nowhere.example") == []
        assert resolver.stats.unlocated == {reason: 1}


async def test_what_leads_nowhere_is_not_asked_for_again_at_once() -> None:
    now = 0.0
    async with resolving(clock=lambda: now) as (resolver, server):
        assert await find(resolver, "sip:nowhere.example") == []
        server.zone["nowhere.example", "A"] = ["192.0.2.4"]
        server.mood = "servfail"
        asked = server.asked.total()
        found: list[list[Target]] = []
        resolver.resolve(Uri.parse("sip:x@nowhere.example"), ALL, found.append)
        assert found == [[]] and server.asked.total() == asked
        assert resolver.stats.remembered == 1
        now = NEGATIVE_S
        await find(resolver, "sip:nowhere.example")
        assert resolver.stats.remembered == 1


async def test_a_fault_of_dns_is_over_when_dns_is_well_again() -> None:
    now = 0.0
    async with resolving(clock=lambda: now) as (resolver, server):
        server.mood = "servfail"
        assert await find(resolver, "sip:example.com") == []
        server.mood, now = "well", NEGATIVE_S
        assert shown(await find(resolver, "sip:example.com")) == EXAMPLE


async def test_the_second_dns_server_answers_for_a_silent_first() -> None:
    async with nameserver(ZONE) as well:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind(("127.0.0.2", well.port))
            resolver = Resolver(["127.0.0.2", HOST], well.port, lifetime_s=2.0)
            targets = await find(resolver, "sip:a.example.com:5060")
            assert shown(targets) == ["UDP 192.0.2.1 5060", "UDP 2001:db8::1 5060"]
            assert silent.recv(512)
            resolver.close()


async def test_names_that_are_no_host_names_are_not_followed() -> None:
    zone = {
        ("_sip._udp.evil.example", "SRV"): ["1 1 5060 a\\032b\\000.example.", "2 1 5060 127.1.", "3 1 0 a.example."],
        ("a.example", "A"): ["192.0.2.1"],
    }
    async with resolving(zone) as (resolver, server):
        assert await find(resolver, "sip:evil.example") == []
        assert {kind for _, kind in server.asked} == {"NAPTR", "SRV"}


async def test_the_machine_answers_for_names_that_dns_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    async def hosts(_: object, host: str, *__: object, **___: object) -> list[Any]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_DGRAM, 17, "", ("192.0.2.77", 0))]

    name_of_the_machine(monkeypatch, hosts)
    async with resolving() as (resolver, server):
        assert shown(await find(resolver, "sip:pbx.office:5070")) == ["UDP 192.0.2.77 5070"]
        assert shown(await find(resolver, "sip:asterisk")) == ["UDP 192.0.2.77 5060"]
        assert asked == ["pbx.office", "asterisk"]
        assert not any(name == "asterisk" for name, _ in server.asked)
        await find(resolver, "sip:example.com")
        assert len(asked) == 2


async def test_a_machine_without_dns_still_knows_its_own_names(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hosts(*_: object, **__: object) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_DGRAM, 17, "", ("192.0.2.77", 0))]

    name_of_the_machine(monkeypatch, hosts)
    async with resolving(lifetime_s=SHORT_S) as (resolver, server):
        server.mood = "silent"
        assert shown(await find(resolver, "sip:pbx.office")) == ["UDP 192.0.2.77 5060"]
    assert shown(await find(Resolver([]), "sip:pbx.office")) == ["UDP 192.0.2.77 5060"]


async def test_a_machine_that_does_not_answer_holds_few_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[object] = []

    async def counted(*arguments: object, **_: object) -> list[object]:
        started.append(arguments)
        return await stuck()

    name_of_the_machine(monkeypatch, counted)
    async with resolving(lifetime_s=SHORT_S) as (resolver, _):
        found = await asyncio.gather(*(find(resolver, f"sip:host{number}") for number in range(3 * MAX_SYSTEM)))
        assert found == [[]] * (3 * MAX_SYSTEM)
        assert len(started) == MAX_SYSTEM
        assert resolver.stats.unlocated == {"timeout": MAX_SYSTEM, "busy": 2 * MAX_SYSTEM}
        await find(resolver, f"sip:host{3 * MAX_SYSTEM - 1}")
        assert resolver.stats.remembered == 0  # nothing is known of a name that was not asked for
        await find(resolver, "sip:host0")
        assert resolver.stats.remembered == 1


async def test_lookups_at_once_are_bounded() -> None:
    async with resolving(lifetime_s=SHORT_S) as (resolver, server):
        server.mood = "silent"
        found: list[list[Target]] = []
        for number in range(MAX_LOOKUPS + 5):
            resolver.resolve(Uri.parse(f"sip:h{number}.example"), ALL, found.append)
        assert found == [[]] * 5
        assert resolver.stats.unlocated == {"busy": 5}


async def test_a_bug_ends_as_no_target_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object, **__: object) -> list[Any]:
        raise RuntimeError("a bug of ours")

    name_of_the_machine(monkeypatch, broken)
    async with resolving() as (resolver, _):
        assert await find(resolver, "sip:asterisk") == []
        assert resolver.stats.unlocated == {"internal": 1}
    gc.collect()
