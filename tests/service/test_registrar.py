"""Phones pointed straight at the service: they register with a password, call the agent, and are called."""

from __future__ import annotations

import asyncio
import statistics
import time
from pathlib import Path
from typing import Any

import pytest

from bridge.agent.patterns import counter
from tests.phones.baresip import Baresip
from tests.phones.digest import authorization, register
from tests.phones.pyvoip import PyVoip
from tests.phones.rawphone import CallError, Message, RawPhone
from tests.phones.streamphone import StreamPhone
from tests.phones.wire import frames, silence
from tests.service.rig import bench, ended
from tests.service.test_phones import SAYS_A_SENTENCE_LATER

SILENT = "vad: false"
PASSWORD = "secret"
REGISTRAR = {"realm": "phones.test", "users": {name: {"password": PASSWORD} for name in ("alice", "baresip", "pyvoip")}}
STRANGERS: dict[str, Any] = {"trunks": {"pbx": {"peers": ["192.0.2.0/24"]}}}
"""Nobody on this machine is a peer: only the password lets them in."""


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_phone_registers_calls_and_goes(tmp_path: Path, transport: str) -> None:
    more = {"listen": ["udp", "tcp"], "registrar": REGISTRAR} | STRANGERS
    async with bench(tmp_path, SILENT, **more) as (service, server):
        async with StreamPhone(user="alice") if transport == "tcp" else RawPhone(user="alice") as phone:
            if isinstance(phone, StreamPhone):
                await phone.connect("127.0.0.1", service.sip_port)
            asked, kept = await register(phone, "127.0.0.1", service.sip_port, PASSWORD)
            assert [text.partition(",")[0] for text in asked.all("WWW-Authenticate")] == [
                'Digest realm="phones.test"'
            ] * 2
            assert kept.status == 200
            assert kept.header("Contact").startswith(f"{phone.contact};expires=") and "Server" in dict(kept.headers)
            challenge = await phone.invite("127.0.0.1", service.sip_port)
            assert challenge.status == 401
            uri = f"sip:600@127.0.0.1:{service.sip_port}"
            proof = authorization(challenge, "alice", PASSWORD, "INVITE", uri)
            assert (await phone.invite("127.0.0.1", service.sip_port, headers=[proof])).status == 200
            assert (await phone.bye()).status == 200
            await ended(server.sessions[0])
            assert service.events("call.began")[0]["user"] == "alice"
            _, gone = await register(phone, "127.0.0.1", service.sip_port, PASSWORD, expires=0)
            assert gone.status == 200 and not gone.all("Contact")


@pytest.mark.phone
async def test_baresip_registers_and_talks(tmp_path: Path) -> None:
    more = {"agent": {"greeting": "Begin."}, "registrar": REGISTRAR} | STRANGERS
    async with bench(tmp_path / "service", SAYS_A_SENTENCE_LATER, **more) as (service, server):
        address = f"127.0.0.1:{service.sip_port}"
        phone = await Baresip.start(tmp_path / "phone", registrar=address, password=PASSWORD)
        async with phone:
            await phone.dial(f"sip:600@{address}")
            async with asyncio.timeout(15):
                while not server.sessions or server.sessions[0].input_audio.count(0xFF) < 8000:
                    await asyncio.sleep(0.05)
        await ended(server.sessions[0], 10)
        assert service.events("call.began")[0]["user"] == "baresip"


@pytest.mark.phone
async def test_pyvoip_registers_and_talks(tmp_path: Path) -> None:
    more = {"agent": {"greeting": "Begin."}, "registrar": REGISTRAR}
    async with bench(tmp_path / "service", SAYS_A_SENTENCE_LATER, **more) as (service, server):
        with PyVoip.calling(("127.0.0.1", service.sip_port), tmp_path / "phone", seconds=4) as phone:
            told = await phone.result()
        assert told["registered"] and told["answered"] and told["heard_bytes"] > 8000
        await ended(server.sessions[0])


async def test_guessing_is_refused_and_then_locked_out(tmp_path: Path) -> None:
    more = {"registrar": REGISTRAR} | STRANGERS
    async with bench(tmp_path, SILENT, **more) as (service, _), RawPhone(user="alice") as phone:
        statuses = []
        for guess in range(10):
            statuses.append([answer.status for answer in await register(phone, *at(service), f"guess{guess}")])
        assert statuses == [[401, 401]] * 10
        last = (await register(phone, *at(service), PASSWORD))[-1]
        assert last.status == 403, "the right password is too late"
        assert last.header("Warning") == '399 sipbridge "too_many_auth_failures"'
        metrics = await service.metrics()
        assert metrics['sipbridge_refusals_total{reason="wrong_credentials"}'] == 10
        assert metrics['sipbridge_refusals_total{reason="too_many_auth_failures"}'] == 1
        assert "wrong_credentials" in {line["reason"] for line in service.events("request.refused")}
        assert "guess" not in service.said(100_000)


async def test_who_registers_for_somebody_else_is_told_and_so_are_log_and_metric(tmp_path: Path) -> None:
    more = {"registrar": REGISTRAR} | STRANGERS
    async with bench(tmp_path, SILENT, **more) as (service, _), RawPhone(user="alice") as phone:
        (challenge, kept) = await register(phone, *at(service), PASSWORD)
        uri = f"sip:127.0.0.1:{service.sip_port}"
        proof = authorization(challenge, "alice", PASSWORD, "REGISTER", uri, count=2)
        number = phone.cseq = phone.cseq + 1
        to = f"<sip:baresip@127.0.0.1:{service.sip_port}>"
        request = phone.request("REGISTER", uri, to=to, cseq=number, branch="z9hG4bKother", headers=[proof])
        phone.send_raw(request)
        answer = await phone.final("REGISTER", number, request, 5.0)
        assert (kept.status, answer.status) == (200, 403)
        assert answer.header("Warning") == '399 sipbridge "wrong_user"'
        assert (await service.metrics())['sipbridge_refusals_total{reason="wrong_user"}'] == 1
        (line,) = service.events("request.refused")
        assert (line["reason"], line["status"], line["method"]) == ("wrong_user", 403, "REGISTER")


def at(service: Any) -> tuple[str, int]:
    return "127.0.0.1", service.sip_port


async def test_an_unknown_user_looks_and_lasts_like_a_wrong_password(tmp_path: Path) -> None:
    more = {"registrar": REGISTRAR} | STRANGERS
    seen: dict[str, list[Message]] = {"alice": [], "nobody": []}
    took: dict[str, list[float]] = {"alice": [], "nobody": []}
    async with bench(tmp_path, SILENT, **more) as (service, _):
        for _ in range(4):  # alternately, as the machine has its moods
            for user in seen:
                async with RawPhone(user=user) as phone:
                    began = time.perf_counter()
                    seen[user] += await register(phone, *at(service), "guess", user=user)
                    took[user].append(time.perf_counter() - began)
    shapes = {user: [shape(message) for message in messages] for user, messages in seen.items()}
    assert shapes["alice"] == shapes["nobody"]
    ratio = statistics.median(took["alice"]) / statistics.median(took["nobody"])
    assert 0.2 < ratio < 5


def shape(message: Message) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """What an answer tells: the status, which headers, and what it asks for besides the nonce."""
    asked = tuple(text.partition(", nonce=")[0] for text in message.all("WWW-Authenticate"))
    return message.start, tuple(name for name, _ in message.headers), asked


class Desk(StreamPhone):
    """A registered phone that takes a call and remembers the INVITE."""

    invite_came: Message | None = None

    def _answer(self, request: Message, source: tuple[str, int]) -> None:
        if request.method == "INVITE":
            self.invite_came = request
            self._learn(request)  # where the other side's media is
        super()._answer(request, source)


@pytest.mark.parametrize("target", ["alice", "sip:alice@phones.test", "sip:alice@127.0.0.1:{port}"])
async def test_the_agent_hands_a_caller_to_a_registered_phone(tmp_path: Path, target: str) -> None:
    """Without asking the caller's PBX: it cannot reach the phone, whose connection is to us."""
    from tests.phones.processes import free_signalling_port

    port = free_signalling_port()
    agent = {
        "greeting": "Begin.",
        "tools": ["transfer"],
        "transfer": {"targets": {"reception": target.format(port=port)}},
    }
    script = "vad: false\nanswer: {items: [{audio_ms: 100}, {call: transfer, arguments: {target: reception}}]}"
    sip = {"listen": [f"udp://127.0.0.1:{port}", f"tcp://127.0.0.1:{port}"]}
    more = {"agent": agent, "registrar": REGISTRAR, "sip": sip}
    async with bench(tmp_path, script, **more) as (service, _), RawPhone() as caller, Desk(user="alice") as desk:
        await desk.connect("127.0.0.1", port)
        assert (await register(desk, "127.0.0.1", port, PASSWORD))[-1].status == 200
        await caller.invite("127.0.0.1", port)
        async with asyncio.timeout(10):
            while desk.wire.to is None:
                await asyncio.sleep(0.02)
        assert desk.invite_came is not None
        assert desk.invite_came.start.split()[1] == desk.contact.strip("<>")
        assert desk.accepted == 0, "over the connection that the phone made"
        assert not [message for message in caller.messages if message.start.startswith("REFER")]
        said = counter(3, 8000)
        await desk.wire.play(frames(silence(0.5)))
        await asyncio.gather(desk.wire.play(frames(said)), caller.wire.play(frames(silence(1.5))))
        assert said[:4000] in caller.wire.heard()
        await caller.bye()
        await asyncio.wait_for(desk.ended.wait(), 5)
        await service.until('sipbridge_transfers_total{outcome="joined"}', 1)


async def test_a_phone_that_is_not_there_is_unreachable_and_nobody_else_is_asked(tmp_path: Path) -> None:
    agent = {"greeting": "Begin.", "tools": ["transfer"], "transfer": {"targets": {"alice": "alice"}}}
    script = "vad: false\nanswer: {items: [{audio_ms: 100}, {call: transfer, arguments: {target: alice}}]}"
    more = {"agent": agent, "registrar": REGISTRAR}
    async with bench(tmp_path, script, **more) as (service, server), RawPhone() as caller:
        await caller.invite("127.0.0.1", service.sip_port)
        await service.until('sipbridge_transfers_total{outcome="unreachable"}', 1)
        assert "alice is not registered here" in service.events("transfer.impossible")[0]["reason"]
        assert not [message for message in caller.messages if message.start.startswith(("REFER", "INVITE"))]
        await caller.bye()
        await ended(server.sessions[0])


async def test_without_a_registrar_nobody_registers(tmp_path: Path) -> None:
    async with bench(tmp_path, SILENT) as (service, _), RawPhone(user="alice") as phone:
        (answer,) = await register(phone, *at(service), PASSWORD)
        assert answer.status == 405 and "REGISTER" not in answer.header("Allow")
    async with bench(tmp_path / "closed", SILENT, **STRANGERS) as (service, _), RawPhone(user="alice") as phone:
        with pytest.raises(CallError):
            await register(phone, *at(service), PASSWORD, within=0.6)
