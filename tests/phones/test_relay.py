"""The bad network itself: what its seed says is what happens, and nothing else does."""

import asyncio
import statistics
from collections import Counter
from itertools import pairwise

import pytest

from tests.phones.relay import Left, Profile, Relay, Way, fate, is_rtp, lost_of, overtaken_ms
from tests.phones.wire import Wire

MANY = 20_000
PERIOD = 0.02


def packet(n: int) -> bytes:
    return b"\x80\x00" + n.to_bytes(2, "big") + bytes(8) + n.to_bytes(4, "big")


def number(datagram: bytes) -> int:
    return int.from_bytes(datagram[12:], "big")


def carry(profile: Profile, count: int, seed: int = 3) -> tuple[Way, list[tuple[int, float]]]:
    """Send a packet each 20 ms on a clock moved by hand: the way, and (number, seconds) of what came out."""
    way, out = Way(profile, seed), []
    for ms in range(count * 20 + 1000):
        if ms % 20 == 0 and ms // 20 < count:
            way.receive(packet(ms // 20), ms / 1000)
        out += [(number(datagram), ms / 1000) for datagram in way.due(ms / 1000)]
    return way, out


def test_a_perfect_line_passes_everything_in_the_moment_it_comes() -> None:
    way, out = carry(Profile(), 100)
    assert out == [(n, n * 20 / 1000) for n in range(100)]
    assert way.waited == 0 and way.lost == set()


@pytest.mark.parametrize("share", [0.01, 0.03, 0.05, 0.1])
def test_single_losses_have_their_share(share: float) -> None:
    lost = lost_of(Profile(loss=share), 5, MANY)
    assert len(lost) == pytest.approx(share * MANY, rel=0.15)


def test_bursts_are_as_long_as_wished_unless_they_meet() -> None:
    lost = sorted(lost_of(Profile(bursts=0.005, burst=(3, 5)), 5, MANY))
    runs, run = Counter[int](), 1
    for one, other in pairwise([*lost, MANY * 2]):
        if other == one + 1:
            run += 1
        else:
            runs[run] += 1
            run = 1
    assert min(runs) == 3
    assert runs[3] and runs[4] and runs[5]
    assert runs.total() == pytest.approx(0.005 * MANY, rel=0.25)
    assert sum(count for length, count in runs.items() if length > 5) < 0.1 * runs.total()


def test_what_happens_depends_on_nothing_but_seed_profile_and_number() -> None:
    profile = Profile(loss=0.1, bursts=0.01, jitter_ms=80, straggle=0.05, duplicate=0.1)
    forwards = [fate(profile, 9, n) for n in range(500)]
    backwards = [fate(profile, 9, n) for n in reversed(range(500))]
    assert forwards == backwards[::-1]
    assert forwards != [fate(profile, 10, n) for n in range(500)]


def test_another_setting_does_not_change_who_is_lost() -> None:
    assert lost_of(Profile(loss=0.05), 4, 2000) == lost_of(Profile(loss=0.05, jitter_ms=80, duplicate=0.5), 4, 2000)


def test_nothing_happens_to_the_first_packets() -> None:
    worst = Profile(loss=1.0, bursts=1.0, spared=7)
    assert lost_of(worst, 1, 20) == set(range(7, 20))


@pytest.mark.parametrize("spread", ["uniform", "exponential"])
def test_delays_lie_between_nothing_and_the_longest(spread: str) -> None:
    profile = Profile(jitter_ms=80, spread=spread)  # type: ignore[arg-type]
    delays = [fate(profile, 2, n).delay_ms for n in range(profile.spared, MANY)]
    assert 0 <= min(delays) < 1 and 79 < max(delays) <= 80
    assert statistics.mean(delays) == pytest.approx(40 if spread == "uniform" else 20, rel=0.05)


def test_a_queue_delays_and_keeps_the_order() -> None:
    way, out = carry(Profile(jitter_ms=80), 500)
    assert [n for n, _ in out] == list(range(500))
    assert way.waited > 400
    for n, at in out:
        assert at >= n * PERIOD + fate(way.profile, way.seed, n).delay_ms / 1000 - 1e-9


def test_without_order_each_packet_has_the_delay_of_its_own() -> None:
    way, out = carry(Profile(jitter_ms=80, in_order=False), 500)
    assert [n for n, _ in out] != sorted(n for n, _ in out)
    assert sorted(n for n, _ in out) == list(range(500))
    for n, at in out:
        assert 0 <= at - (n * PERIOD + fate(way.profile, way.seed, n).delay_ms / 1000) < 0.0011


def test_who_straggles_is_overtaken_and_holds_up_nobody() -> None:
    way, out = carry(Profile(straggle=0.1, straggle_ms=150), 300)
    straggling = {n for n in range(300) if fate(way.profile, way.seed, n).straggles}
    assert 15 < len(straggling) < 50
    assert {n for n, at in out if at > n * PERIOD + 1e-9} == straggling
    found = overtaken_ms(way.left)
    assert set(found) == straggling - {299}
    for n in straggling - set(range(290, 300)):
        assert found[n] == pytest.approx(150 - 20 * behind(n, straggling), abs=1.1)


def behind(n: int, straggling: set[int]) -> int:
    """How many packets behind n the next one is that does not straggle too."""
    return next(step for step in range(1, 100) if n + step not in straggling)


def test_doubles_come_twice_and_losses_never() -> None:
    way, out = carry(Profile(loss=0.05, duplicate=0.1), 1000)
    copies = Counter(n for n, _ in out)
    doubled = {n for n in range(1000) if fate(way.profile, way.seed, n).doubled}
    assert 50 < len(doubled) < 150
    assert {n for n, count in copies.items() if count == 2} == doubled
    assert set(range(1000)) - set(copies) == way.lost and way.lost
    assert [one.n for one in way.left] == [n for n, _ in out]


def test_how_long_a_packet_was_overtaken_counts_from_the_first_one_behind_it() -> None:
    left = [Left(0, 0.0), Left(3, 0.05), Left(2, 0.07), Left(1, 0.1), Left(1, 0.2), Left(4, 0.21)]
    assert {n: round(ms) for n, ms in overtaken_ms(left).items()} == {1: 50, 2: 20}


def test_only_rtp_is_numbered_and_harmed() -> None:
    way = Way(Profile(loss=1.0, spared=0), 1)
    report, stun, sip = b"\x80\xc8\0\6" + bytes(24), b"\0\1\0\0" + bytes(16), b"OPTIONS sip:a@b SIP/2.0\r\n\r\n"
    for datagram in (report, stun, sip, packet(1)):
        way.receive(datagram, 1.0)
    assert way.due(1.0) == [report, stun, sip]
    assert way.came == [packet(1)] and way.left == []
    assert is_rtp(packet(5)) and is_rtp(b"\x80\xe5" + bytes(14)) and not is_rtp(b"\x80\x00")


async def test_a_relay_carries_both_ways_what_its_schedules_say() -> None:
    loop = asyncio.get_running_loop()
    bad = Profile(loss=0.2, jitter_ms=10, in_order=False, duplicate=0.2)
    with Wire() as phone, Wire("127.0.0.2") as service, Relay(bad, bad, seed=6, host="127.0.0.3") as relay:
        loop.add_reader(phone, phone.drain)
        loop.add_reader(service, service.drain)
        relay.join((phone.host, phone.port), (service.host, service.port))
        phone.to, service.to = relay.near, relay.far
        for n in range(200):
            phone.send(n.to_bytes(4, "big"))
            service.send(n.to_bytes(4, "little"))
            await asyncio.sleep(0.001)
        await relay.emptied()
        await asyncio.sleep(0.05)
        loop.remove_reader(phone)
        loop.remove_reader(service)
    for way, wire, order in ((relay.up, service, "big"), (relay.down, phone, "little")):
        came = [int.from_bytes(p.payload, order) for p in wire.packets]  # type: ignore[arg-type]
        assert len(way.came) == 200
        assert came == [one.n for one in way.left]
        assert set(range(200)) - set(came) == way.lost and len(way.lost) > 20
        assert Counter(came) == Counter(
            n for n in range(200) if n not in way.lost for _ in range(1 + fate(bad, way.seed, n).doubled)
        )
    assert {p.source for p in service.packets} == {relay.far}
    assert {p.source for p in phone.packets} == {relay.near}
    assert relay.up.lost != relay.down.lost
