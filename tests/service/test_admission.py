"""Who may call and how much is taken on, on the running service: one word for metric, log and Warning."""

from __future__ import annotations

import asyncio
import contextlib
import math
import secrets
import socket
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.phones.certificates import Authority
from tests.phones.digest import authorization
from tests.phones.rawphone import CallError, Message, RawPhone
from tests.phones.wire import frames, intervals_ms, silence
from tests.service.rig import Service, bench

SILENT = "vad: false"
ANY = {"peers": ["127.0.0.0/8"]}


async def invite(service: Service, host: str = "127.0.0.1") -> Message:
    """A call that is not to be answered."""
    async with RawPhone(host=host) as phone:
        return await phone.invite("127.0.0.1", service.sip_port)


@contextlib.asynccontextmanager
async def talking(service: Service, host: str = "127.0.0.1") -> AsyncIterator[RawPhone]:
    """A call that goes on meanwhile."""
    async with RawPhone(host=host) as phone:
        assert (await phone.invite("127.0.0.1", service.sip_port)).status == 200
        yield phone
        assert (await phone.bye()).status == 200


async def assert_refused(service: Service, answer: Message, word: str, status: int = 503) -> None:
    """The same word everywhere."""
    assert answer.status == status
    assert answer.header("Warning") == f'399 sipbridge "{word}"'
    assert bool(answer.header("Retry-After")) is (status == 503)
    assert (await service.metrics())[f'sipbridge_refusals_total{{reason="{word}"}}'] == 1
    assert [line["reason"] for line in service.events("call.refused")] == [word]


async def test_the_narrowest_network_decides(tmp_path: Path) -> None:
    trunks = {"wide": ANY, "narrow": {"peers": ["127.0.0.8/30"]}, "one": {"peers": ["127.0.0.9"]}}
    async with bench(tmp_path, SILENT, trunks=trunks) as (service, _):
        for host in ("127.0.0.1", "127.0.0.8", "127.0.0.9"):
            async with talking(service, host):
                pass
        assert [line["trunk"] for line in service.events("call.began")] == ["wide", "narrow", "one"]


LIMITED: list[tuple[str, dict[str, Any], list[str]]] = [
    ("too_many_calls", {"limits": {"calls": 1}}, ["127.0.0.1", "127.0.0.2"]),
    ("too_many_calls_of_source", {"limits": {"per_source": {"calls": 1}}}, ["127.0.0.1", "127.0.0.1", "127.0.0.2"]),
    ("too_many_calls_of_trunk", {"trunks": {"a": ANY | {"calls": 1}}}, ["127.0.0.1", "127.0.0.2"]),
    ("too_many_per_second", {"limits": {"calls_per_second": 0.01}}, ["127.0.0.1", "127.0.0.2"]),
    (
        "too_many_per_second_of_source",
        {"limits": {"per_source": {"calls_per_second": 0.01}}},
        ["127.0.0.1", "127.0.0.1", "127.0.0.2"],
    ),
    ("too_many_per_second_of_trunk", {"trunks": {"a": ANY | {"calls_per_second": 0.01}}}, ["127.0.0.1", "127.0.0.2"]),
]


@pytest.mark.parametrize(("word", "sections", "hosts"), LIMITED, ids=[word for word, *_ in LIMITED])
async def test_each_limit_has_its_word(tmp_path: Path, word: str, sections: dict[str, Any], hosts: list[str]) -> None:
    first, refused, *others = hosts
    async with bench(tmp_path, SILENT, **sections) as (service, _), talking(service, first):
        await assert_refused(service, await invite(service, refused), word)
        for host in others:
            async with talking(service, host):
                pass


async def test_a_password_opens_the_door_for_those_from_elsewhere(tmp_path: Path) -> None:
    trunks = {"pbx": {"peers": ["127.0.0.9"], "users": {"700": {"password": "secret"}}}}
    async with bench(tmp_path, SILENT, trunks=trunks) as (service, _), RawPhone() as phone:
        uri = f"sip:600@127.0.0.1:{service.sip_port}"
        asked = await phone.invite("127.0.0.1", service.sip_port)
        assert asked.status == 401 and not asked.header("Warning"), "to be asked is no refusal"
        wrong = authorization(asked, "700", "guess", "INVITE", uri)
        await assert_refused(
            service,
            await phone.invite("127.0.0.1", service.sip_port, headers=[wrong]),
            "wrong_credentials",
            401,
        )
        right = authorization(asked, "700", "secret", "INVITE", uri, "MD5")
        assert (await phone.invite("127.0.0.1", service.sip_port, headers=[right])).status == 200
        await phone.bye()
        (began,) = service.events("call.began")
        assert (began["trunk"], began["user"]) == ("pbx", "700")
        async with talking(service, "127.0.0.9"):
            pass


async def test_a_proof_is_good_for_one_call_only(tmp_path: Path) -> None:
    trunks = {"pbx": {"peers": ["127.0.0.9"], "users": {"700": {"password": "secret"}}}}
    async with bench(tmp_path, SILENT, trunks=trunks) as (service, _), RawPhone() as phone:
        asked = await phone.invite("127.0.0.1", service.sip_port)
        proof = authorization(asked, "700", "secret", "INVITE", f"sip:600@127.0.0.1:{service.sip_port}")
        assert (await phone.invite("127.0.0.1", service.sip_port, headers=[proof])).status == 200
        await phone.bye()
        again = await phone.invite("127.0.0.1", service.sip_port, headers=[proof])
        assert again.status == 401 and "stale=true" in again.header("WWW-Authenticate")


@pytest.mark.parametrize("line", ["User-Agent: friendly-scanner", "User-Agent: sipcli/v1.8"])
async def test_a_scanner_hears_nothing_at_all(tmp_path: Path, line: str) -> None:
    async with bench(tmp_path, SILENT) as (service, server), RawPhone() as phone:
        with pytest.raises(CallError):
            await phone.invite("127.0.0.1", service.sip_port, headers=[line], within=0.6)
        assert phone.messages == [] and server.sessions == []
        assert (await service.metrics())['sipbridge_refusals_total{reason="scanner"}'] >= 1
        assert service.events("call.refused")[0]["reason"] == "scanner"


async def test_what_would_surprise_is_said_at_the_start(tmp_path: Path) -> None:
    authority = Authority.make(tmp_path / "ca")
    listen = ["udp", "tls"]
    async with bench(tmp_path / "default", SILENT) as (service, _):
        (line,) = service.events("sip.private_networks_only")
        assert "trunks.<name>.peers" in line["advice"]
    trunks = {"pbx": {"peers": ["0.0.0.0/0"], "srtp": "optional"}, "plain": ANY}
    async with bench(tmp_path, SILENT, trunks=trunks, listen=listen, authority=authority) as (service, _):
        assert [line["trunk"] for line in service.events("srtp.keys_in_clear")] == ["pbx"]
        assert service.events("sip.open") and not service.events("sip.private_networks_only")
    async with bench(tmp_path / "tls", SILENT, trunks=trunks, listen=["tls"], authority=authority) as (service, _):
        assert service.events("srtp.keys_in_clear") == []


RATE, SECONDS = 1000, 3
TALKS = "vad: false\nanswer: {items: [{audio_ms: 12000}]}"


class Flood:
    """INVITEs of one source, each a new one, RATE a second."""

    def __init__(self, port: int, host: str = "127.0.0.66") -> None:
        self.sent = self.answered = 0
        self.words: set[str] = set()
        self._to = ("127.0.0.1", port)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._socket.setblocking(False)
        self._socket.bind((host, 0))
        self._host, self._port = self._socket.getsockname()

    def _invite(self) -> bytes:
        key = secrets.token_hex(6)
        return (
            f"INVITE sip:600@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP {self._host}:{self._port};branch=z9hG4bK{key}\r\n"
            f"From: <sip:f@{self._host}>;tag={key}\r\nTo: <sip:600@127.0.0.1>\r\nCall-ID: {key}\r\nCSeq: 1 INVITE\r\n"
            f"Max-Forwards: 70\r\nContact: <sip:f@{self._host}:{self._port}>\r\nContent-Length: 0\r\n\r\n"
        ).encode()

    async def run(self) -> None:
        """Until all are sent and the answers are in."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while self.sent < RATE * SECONDS:
            due = math.ceil(min(loop.time() - began, SECONDS) * RATE)
            while self.sent < due:
                self._socket.sendto(self._invite(), self._to)
                self.sent += 1
            self._drain()
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.3)
        self._drain()
        self._socket.close()

    def _drain(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                answer = Message.parse(self._socket.recv(65535))
                self.answered += answer.status == 503
                self.words.add(answer.header("Warning"))


@pytest.mark.alone
async def test_a_flood_of_invites_does_not_touch_a_running_call(tmp_path: Path) -> None:
    limits = {"per_source": {"calls_per_second": 0.001}}
    async with bench(tmp_path, TALKS, agent={"greeting": "Begin."}, limits=limits) as (service, _):
        async with talking(service) as phone:
            speaking = asyncio.create_task(phone.wire.play(frames(silence(11))))
            await asyncio.sleep(1)  # the greeting has begun
            first, memory = service.cpu_seconds(), await resident(service)
            marks = [len(phone.wire.packets)]
            await asyncio.sleep(SECONDS + 0.3)
            quiet_cpu = service.cpu_seconds() - first
            marks.append(len(phone.wire.packets))
            first = service.cpu_seconds()
            flood = Flood(service.sip_port)
            async with talking(service, "127.0.0.66"):  # takes the one token there is
                pass
            await flood.run()
            flood_cpu = service.cpu_seconds() - first
            marks.append(len(phone.wire.packets))
            grown = await resident(service) - memory
            speaking.cancel()
        quiet, loud = (intervals_ms(phone.wire.packets[a:b]) for a, b in pairwise(marks))
        metrics = await service.metrics()

    each_us = (flood_cpu - quiet_cpu) / flood.sent * 1e6
    gaps = f"gaps p99 {p99(quiet):.1f} -> {p99(loud):.1f} ms"
    print(f"a refused INVITE costs {each_us:.0f} us; {gaps}; {grown / 1e6:.1f} MB more")
    refused = metrics['sipbridge_refusals_total{reason="too_many_per_second_of_source"}']
    # The kernel may drop a datagram of a flood before anybody can count it.
    assert refused >= 0.97 * flood.sent and flood.answered >= 0.97 * refused
    assert flood.words == {'399 sipbridge "too_many_per_second_of_source"'}
    assert len(loud) >= 0.95 * len(quiet), "the call keeps its packets"
    assert p99(loud) < 3 * p99(quiet) + 20, "and their pace"
    assert flood_cpu < 0.7 * SECONDS
    assert grown < 8e6, "nothing is kept of what is refused"


def p99(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.99)]


async def resident(service: Service) -> float:
    return (await service.metrics())["process_resident_memory_bytes"]
