"""Strangers at the port: whatever they send is a call, an answer or a counted drop."""

from __future__ import annotations

import asyncio
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.sip.message import Request, parse
from bridge.sip.stats import SipStats

from .noise import SEEDS, noise
from .phone import HOST, OFFER, Answering, agent, bare, port_of, until
from .stack import invite, request

ROUNDS = 2000


def accounted(stats: SipStats) -> int:
    """Traces that datagrams left: requests and responses, drops and keep-alives."""
    return sum(stats.received.values()) + sum(stats.responses.values()) + sum(stats.dropped.values()) + stats.keepalives


async def test_a_call_is_unharmed_by_any_noise() -> None:
    failures: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: failures.append(context))
    application = Answering()
    async with agent(application) as service, agent() as phone, bare(service) as stranger:
        call = phone.invite(f"sip:600@{HOST}:{port_of(service)}", sdp=OFFER)
        for number, data in enumerate(noise(random.Random(7), ROUNDS)):
            stranger.send(data)
            if number % 50 == 0:
                await asyncio.sleep(0)
        await until(lambda: call.state is call.State.CONFIRMED)
        ended: list[str] = []
        call.on_ended = ended.append
        call.hang_up()
        await until(lambda: ended)
        assert ended == ["hung_up"]
        assert "internal" not in service.stats.dropped
        assert failures == []
        assert all(len(reason) < 40 for reason in service.stats.dropped)
        assert len(service.stats.received) <= 15


async def test_each_piece_of_garbage_is_counted() -> None:
    async with agent() as service, bare(service) as stranger:
        dice = random.Random(8)
        for number in range(1, 301):
            stranger.send(b"\x80" + dice.randbytes(40))
            await until(lambda number=number: sum(service.stats.dropped.values()) == number)
        assert service.stats.answers == {}


async def test_every_datagram_leaves_a_trace() -> None:
    async with agent() as service, bare(service) as stranger:
        for data in noise(random.Random(9), 500):
            before = accounted(service.stats)
            stranger.send(data)
            await until(lambda before=before: accounted(service.stats) > before)


async def test_answers_to_noise_are_never_bigger_than_a_few_times_the_noise() -> None:
    async with agent() as service, bare(service) as stranger:
        text = request("OPTIONS").replace(";branch", ";rport;branch").encode()
        stranger.send(text)
        answer = await stranger.final()
        assert len(bytes(answer)) < 2 * len(text)


async def test_a_flood_of_calls_from_strangers_is_bounded() -> None:
    application = Answering()
    application.take = lambda call: None
    async with agent(application, limit=100) as service, bare(service) as stranger:
        for number in range(400):
            stranger.send(invite(branch=f"z9hG4bK{number}", call_id=f"flood{number}"))
            await until(lambda number=number: service.stats.received.get("INVITE", 0) == number + 1)
        assert service.stats.transactions == 100
        assert len(application.calls) == 100
        assert service.stats.answers[503] == 300


@settings(max_examples=30)
@given(st.lists(st.binary(min_size=1, max_size=400) | st.sampled_from([seed.encode() for seed in SEEDS]), max_size=12))
def test_any_bytes_on_udp_end_as_drop_or_answer(datagrams: list[bytes]) -> None:
    async def attempt() -> None:
        async with agent() as service, bare(service) as stranger:
            for data in datagrams:
                before = accounted(service.stats)
                stranger.send(data)
                await until(lambda before=before: accounted(service.stats) > before)
            assert "internal" not in service.stats.dropped

    asyncio.run(attempt())


def test_the_seeds_are_what_they_should_be() -> None:
    assert sum(isinstance(parse(seed.encode()), Request) for seed in SEEDS) == len(SEEDS) - 1
