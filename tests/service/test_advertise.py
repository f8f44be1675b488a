"""Trunks that know us by addresses of their own, as behind a 1:1 NAT: what each of them reads, and that audio flows."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from tests.phones.digest import authorization
from tests.phones.processes import free_port
from tests.phones.rawpeer import RawPeer
from tests.phones.rawphone import Message
from tests.phones.wire import Wire, frames, silence
from tests.service.office import HOST, Office
from tests.service.rig import Service, bench
from tests.service.transfers import ENDED, OUTCOME, agent, asks, came, sound

OUTER, OTHER = "203.0.113.7", "198.51.100.9"
SPEAKS = json.dumps({"vad": False, "answer": {"items": [{"audio_ms": 400}]}})
GREETS = {"greeting": "Begin."}


class Beyond(RawPeer):
    """A peer on the other side of our NAT: it reads one address, and what it sends there comes to another."""

    def __init__(self, host: str, **more: Any) -> None:
        super().__init__(**more)
        self.wire.close()
        self.host, self.wire = host, Wire(host)
        self.inside = 0
        """Our port behind the NAT."""

    def _learn(self, answer: Message) -> None:
        super()._learn(answer)
        self.far = ("127.0.0.1", self.inside)
        if self.wire.to is not None:
            self.wire.to = ("127.0.0.1", self.wire.to[1])

    async def calls(self, service: Service, **more: Any) -> Message:
        self.inside = service.sip_port
        return await self.invite("127.0.0.1", service.sip_port, **more)


def read(message: Message) -> set[str]:
    """Our addresses as a message of ours tells them: Contact, Via of a request, o= and c=."""
    told = [*message.all("Contact"), *([] if message.status else message.all("Via")[:1])]
    hosts = [re.search(r"(?:sip:(?:[^@>]*@)?|UDP )([\d.]+):", text) for text in told]
    lines = re.findall(r"^(?:o=.*|c=)IN IP4 (\S+)", message.body, re.MULTILINE)
    return {found[1] for found in hosts if found} | set(lines)


async def hears_and_is_heard(peer: Beyond, agent_heard: bytearray) -> None:
    before = len(agent_heard)
    await peer.wire.play(frames(silence(0.5)))
    assert [packet for packet in peer.wire.packets if packet.payload.strip(b"\xff")], "nothing was said"
    assert len(agent_heard) - before >= 3000


async def test_each_trunk_reads_its_own_address_in_every_message_and_audio_flows(tmp_path: Path) -> None:
    trunks = {
        "carrier": {"peers": ["127.0.0.2"], "advertise": OUTER},
        "other": {"peers": ["127.0.0.4"], "advertise": OTHER},
        "lan": {"peers": ["127.0.0.0/8"]},
    }
    async with bench(tmp_path, SPEAKS, agent=GREETS, trunks=trunks) as (service, server):
        for number, (host, ours) in enumerate(
            {"127.0.0.2": OUTER, "127.0.0.4": OTHER, "127.0.0.3": "127.0.0.1"}.items()
        ):
            async with Beyond(host) as peer:
                answer = await peer.calls(service)
                assert answer.status == 200 and read(answer) == {ours}
                await hears_and_is_heard(peer, server.sessions[number].input_audio)
                again = await peer.in_dialog("INVITE", body=peer.sdp(direction="sendonly"))
                offered = await peer.in_dialog("INVITE", body="")
                assert [read(again), read(offered)] == [{ours}, {ours}]
                assert not [message for message in peer.messages if read(message) - {ours}], "another's address"
                await peer.bye()
        await service.until(ENDED("caller_hung_up"), 3)


async def test_our_own_requests_carry_it_too(tmp_path: Path) -> None:
    """The call to whom the agent transfers goes out on the same trunk; a SIGTERM then brings the BYEs."""
    async with Beyond("127.0.0.2", user="caller") as caller, Beyond("127.0.0.2") as desk:
        target = f"sip:desk@127.0.0.2:{desk.port}"
        trunks = {"carrier": {"peers": ["127.0.0.2"], "advertise": OUTER}}
        settings = {"trunks": trunks, "limits": {"drain_s": 0}, "agent": agent("bridge", desk=target)}
        async with bench(tmp_path, asks(), **settings) as (service, _):
            desk.inside = service.sip_port
            await caller.calls(service)
            invite = await desk.got("INVITE")
            assert read(invite) == {OUTER}
            assert f"<sip:600@{OUTER}>" in invite.header("From")
            await service.until(OUTCOME("joined"), 1)
            assert read(await desk.got("ACK")) == {OUTER}
            said = sound(7)
            await caller.wire.play(frames(b"".join(said)))
            assert came(desk.wire, said), "audio between the two"
            service.process.send_signal(signal.SIGTERM)
            for peer in (caller, desk):
                assert read(await peer.got("BYE")) == {OUTER}


async def test_a_registration_carries_it_and_its_server_s_calls_do(tmp_path: Path) -> None:
    async with Office() as office:
        trunks = {"carrier": {"register": [office.account()], "advertise": OUTER}}
        async with bench(tmp_path, "vad: false", sip={"advertise": OTHER}, trunks=trunks) as (service, _):
            assert await office.registered() == f"sip:600@{OUTER}:{service.sip_port}"
            assert {request.via.host for request in office.registers} == {OUTER}
            async with Beyond(HOST) as peer:
                assert read(await peer.calls(service)) == {OUTER}
                await peer.bye()


async def test_auto_on_a_trunk_finds_the_address_where_sip_advertise_names_one(tmp_path: Path) -> None:
    trunks = {"lan": {"peers": ["127.0.0.3"], "advertise": "auto"}, "carrier": {"peers": ["127.0.0.2"]}}
    port = free_port()
    sip = {"listen": [f"udp://0.0.0.0:{port}"], "advertise": OUTER}
    async with bench(tmp_path, "vad: false", sip=sip, trunks=trunks) as (service, _):
        service.sip_port = port
        for host, ours in {"127.0.0.2": OUTER, "127.0.0.3": "127.0.0.1"}.items():
            async with Beyond(host) as peer:
                answer = await peer.calls(service)
                assert read(answer) == {ours}
                await peer.bye()


@contextlib.asynccontextmanager
async def with_password(service: Service, user: str) -> AsyncIterator[Message]:
    async with Beyond("127.0.0.5") as peer:
        asked = await peer.calls(service)
        proof = authorization(asked, user, "secret", "INVITE", f"sip:600@127.0.0.1:{service.sip_port}")
        yield await peer.calls(service, headers=[proof])
        await peer.bye()


async def test_who_calls_with_a_password_reads_the_address_of_that_trunk(tmp_path: Path) -> None:
    trunks = {
        "carrier": {"peers": ["127.0.0.2"], "users": {"700": {"password": "secret"}}, "advertise": OUTER},
        "lan": {"peers": ["127.0.0.3"], "users": {"701": {"password": "secret"}}},
    }
    async with bench(tmp_path, "vad: false", trunks=trunks) as (service, _):
        for user, ours in {"700": OUTER, "701": "127.0.0.1"}.items():
            async with asyncio.timeout(10), with_password(service, user) as answer:
                assert answer.status == 200 and read(answer) == {ours}
