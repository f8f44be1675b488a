"""Calls over TCP and TLS, IPv4 and IPv6: addresses right everywhere, connections reused, and lost without harm."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bridge.agent.patterns import counter
from tests.phones.certificates import Authority
from tests.phones.processes import NotReady, free_port
from tests.phones.rawphone import RawPhone
from tests.phones.streamphone import StreamPhone
from tests.phones.wire import frames, silence
from tests.service.rig import Service, bench, ended
from tests.service.test_phones import SAYS_A_SENTENCE, SENTENCE_MS, assert_carried, speech_like

SILENT = "vad: false"
HANGS_UP = "vad: false\nanswer: {items: [{audio_ms: 100}, {call: hang_up, arguments: {reason: done}}]}"
GREETS: dict[str, Any] = {"greeting": "Begin.", "tools": ["hang_up"]}
ENDED = 'sipbridge_calls_total{reason="caller_hung_up"}'


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def phone_on(authority: Authority) -> Callable[..., RawPhone]:
    """A phone by the name of its transport, as `listen` has it."""

    def make(name: str, **more: Any) -> RawPhone:
        host = "::1" if name.endswith("6") else "127.0.0.1"
        if name.startswith("udp"):
            return RawPhone(host=host, **more)
        if name.startswith("tcp"):
            return StreamPhone(host=host, **more)
        return StreamPhone(host=host, trust=trusting(authority), own=authority.issue("phone"), **more)

    return make


def trusting(authority: Authority) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(authority.certificate))


def port_for(service: Service, name: str) -> int:
    return service.tls_port if name.startswith("tls") else service.sip_port


def literal(host: str) -> str:
    return f"[{host}]" if ":" in host else host


EVERY = ["udp", "tcp", "tls", "udp6", "tcp6", "tls6"]


@pytest.mark.parametrize("name", EVERY)
async def test_a_call_carries_audio_and_every_address_is_the_one_that_faces_the_caller(
    tmp_path: Path, authority: Authority, phone_on: Callable[..., RawPhone], name: str
) -> None:
    said = speech_like(1)
    more = {"listen": EVERY, "authority": authority, "agent": {"greeting": "Begin."}}
    async with bench(tmp_path, SAYS_A_SENTENCE, **more) as (service, server), phone_on(name) as phone:
        port = port_for(service, name)
        answer = await phone.invite(phone.host, port)
        assert answer.status == 200
        transport = "" if name.startswith("udp") else f";transport={name[:3]}"
        assert answer.header("Contact") == f"<sip:{literal(phone.host)}:{port}{transport}>"
        version = 6 if ":" in phone.host else 4
        assert f"c=IN IP{version} {phone.host}\r\n" in answer.body
        assert phone.wire.to is not None
        await phone.wire.play(frames(said))
        await phone.wire.play(frames(silence(2)))
        assert (await phone.bye()).status == 200
        assert {packet.source[0] for packet in phone.wire.packets} == {phone.host}
        assert phone.wire.heard().strip(b"\xff") == counter(1, SENTENCE_MS * 8)
        assert_carried(await ended(server.sessions[0]), said)
        if isinstance(phone, StreamPhone):
            assert phone.accepted == 0 and set(phone.sources) == {phone.source}, "one connection for it all"


@pytest.mark.parametrize("name", EVERY)
async def test_our_bye_takes_the_way_the_call_came(
    tmp_path: Path, authority: Authority, phone_on: Callable[..., RawPhone], name: str
) -> None:
    more = {"listen": EVERY, "authority": authority, "agent": GREETS}
    async with bench(tmp_path, HANGS_UP, **more) as (service, _), phone_on(name) as phone:
        port = port_for(service, name)
        await phone.invite(phone.host, port)
        await asyncio.wait_for(phone.ended.wait(), 10)
        bye = next(message for message in phone.messages if message.start.startswith("BYE "))
        assert bye.start.split()[1] == phone.contact.strip("<>")
        via = f"SIP/2.0/{name[:3].upper()} {literal(phone.host)}:{port};branch=z9hG4bK"
        assert bye.header("Via").startswith(via)
        assert phone.sources[phone.messages.index(bye)] == (phone.host, port)
        if isinstance(phone, StreamPhone):
            assert phone.accepted == 0
        await service.until('sipbridge_calls_total{reason="agent_hung_up"}', 1)


@pytest.mark.parametrize("name", ["tcp", "tls", "tcp6"])
async def test_a_call_survives_its_connection_and_our_bye_opens_another(
    tmp_path: Path, authority: Authority, phone_on: Callable[..., StreamPhone], name: str
) -> None:
    script = """
vad: false
rules:
  - {on: {append_ms: 1000}, do: [{response: {items: [{audio_ms: 100}, {call: hang_up, arguments: {}}]}}]}
"""
    more = {"listen": [name], "authority": authority, "agent": GREETS}
    async with bench(tmp_path, script, **more) as (service, _), phone_on(name) as phone:
        await phone.invite(phone.host, port_for(service, name))
        await phone.cut()
        await service.until("sipbridge_sip_connections_open", 0)
        talking = asyncio.create_task(phone.wire.play(frames(silence(1.5))))
        await asyncio.wait_for(phone.ended.wait(), 10)
        await talking
        assert phone.accepted == 1, "to the port in Contact"
        await service.until('sipbridge_calls_total{reason="agent_hung_up"}', 1)
        metrics = await service.metrics()
        assert metrics['sipbridge_sip_connections_total{how="opened"}'] == 1


async def test_a_caller_who_comes_back_by_another_connection_is_still_in_the_call(tmp_path: Path) -> None:
    async with bench(tmp_path, SILENT, listen=["tcp"]) as (service, server):
        async with StreamPhone() as phone:
            await phone.invite("127.0.0.1", service.sip_port)
            await phone.cut()
            await phone.connect("127.0.0.1", service.sip_port)
            changed = await phone.in_dialog("INVITE", body=phone.sdp())
            assert changed.status == 200
            assert (await phone.bye()).status == 200
        await service.until(ENDED, 1)
        await ended(server.sessions[0])


async def test_a_peer_that_asks_for_alias_is_called_back_by_its_connection(tmp_path: Path) -> None:
    """RFC 5923: after a proxy's Record-Route our BYE goes to the proxy's port, which is where its connection leads."""
    async with bench(tmp_path, HANGS_UP, listen=["tcp"], agent=GREETS) as (service, _):
        for parameters, opened in (("rport;alias", 0), ("rport", 1)):
            async with StreamPhone() as phone:
                phone.via_parameters = parameters
                route = f"Record-Route: <sip:127.0.0.1:{phone.port};transport=tcp;lr>"
                await phone.invite("127.0.0.1", service.sip_port, headers=[route])
                await asyncio.wait_for(phone.ended.wait(), 10)
                assert phone.accepted == opened, parameters


async def test_a_request_in_pieces_and_two_in_one_piece(tmp_path: Path) -> None:
    async with bench(tmp_path, SILENT, listen=["tcp"]) as (service, server), StreamPhone() as phone:
        await phone.connect("127.0.0.1", service.sip_port)
        send = phone.send_raw
        phone.send_raw = lambda data, to=None: None  # type: ignore[method-assign]
        await phone.start_invite("127.0.0.1", service.sip_port)
        invite = phone._invite
        phone.send_raw = send  # type: ignore[method-assign]
        for start in range(0, len(invite), 97):
            phone.send_raw(invite[start : start + 97])
            await asyncio.sleep(0.002)
        assert (await phone.answer()).status == 200
        info = phone.request("INFO", phone.remote_target, to=phone.to_header, cseq=2, branch="z9hG4bK-one")
        bye = phone.request("BYE", phone.remote_target, to=phone.to_header, cseq=3, branch="z9hG4bK-two")
        phone.send_raw(info + b"\r\n" + bye)
        finals = [(await phone.final(method, cseq, b"")).status for method, cseq in (("INFO", 2), ("BYE", 3))]
        assert finals == [200, 200]
        await ended(server.sessions[0])


async def test_a_ping_is_answered(tmp_path: Path) -> None:
    async with bench(tmp_path, SILENT, listen=["tcp"]) as (service, _), StreamPhone() as phone:
        await phone.connect("127.0.0.1", service.sip_port)
        phone.send_raw(b"\r\n\r\n")
        assert (await phone.options("127.0.0.1", service.sip_port)).status == 200
        assert phone.pongs == 1
        await service.until("sipbridge_sip_keepalives_total", 1)


async def test_a_head_without_end_is_answered_and_hung_up_on_and_a_call_beside_it_goes_on(tmp_path: Path) -> None:
    async with bench(tmp_path, SILENT, listen=["tcp"]) as (service, _):
        async with StreamPhone() as phone, StreamPhone() as stranger:
            await phone.invite("127.0.0.1", service.sip_port)
            await stranger.connect("127.0.0.1", service.sip_port)
            head = stranger.request("OPTIONS", "sip:x@127.0.0.1", to="<sip:x@127.0.0.1>", cseq=1, branch="z9hG4bKx")
            stranger.send_raw(head.rstrip(b"\r\n") + b"\r\nX-Long: " + b"x" * 100_000)
            await asyncio.wait_for(stranger.closed.wait(), 10)
            assert [message.status for message in stranger.messages] == [513]
            await service.until('sipbridge_sip_connections_closed_total{reason="framing"}', 1)
            assert (await phone.bye()).status == 200


async def test_plain_text_at_the_tls_port_harms_nobody(tmp_path: Path, authority: Authority) -> None:
    async with bench(tmp_path, SILENT, listen=["udp", "tls"], authority=authority) as (service, _):
        for port_speaks_tls in (True, False):
            async with StreamPhone() as plain:
                await plain.connect("127.0.0.1", service.tls_port)
                plain.send_raw(b"OPTIONS sip:x SIP/2.0\r\n\r\n" if port_speaks_tls else b"\x16\x03\x01\xff\xff")
                await asyncio.wait_for(plain.closed.wait(), 15)
                assert plain.messages == []
        async with StreamPhone(trust=trusting(authority)) as phone:
            assert (await phone.invite("127.0.0.1", service.tls_port)).status == 200
            await phone.bye()
        assert "Traceback" not in service.said(100_000)


@pytest.mark.parametrize(("minimum", "taken"), [("1.2", True), ("1.3", False)])
async def test_the_minimum_version_is_kept(tmp_path: Path, authority: Authority, minimum: str, taken: bool) -> None:
    own = authority.issue("service")
    tls = {"certificate": str(own.certificate), "key": str(own.key), "minimum": minimum}
    old = trusting(authority)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    async with bench(tmp_path, SILENT, listen=["tls"], authority=authority, sip={"tls": tls}) as (service, _):
        async with StreamPhone(trust=old) as phone:
            if taken:
                assert (await phone.options("127.0.0.1", service.tls_port)).status == 200
            else:
                with pytest.raises(OSError):
                    await phone.connect("127.0.0.1", service.tls_port)
        older = trusting(authority)
        with pytest.warns(DeprecationWarning):
            older.minimum_version = older.maximum_version = ssl.TLSVersion.TLSv1_1
        async with StreamPhone(trust=older) as phone:
            with pytest.raises(OSError):
                await phone.connect("127.0.0.1", service.tls_port)


async def test_a_client_without_the_right_certificate_is_no_client(tmp_path: Path, authority: Authority) -> None:
    own, phones_own = authority.issue("service"), authority.issue("phone")
    foreign = Authority.make(tmp_path / "foreign").issue("phone")
    tls = {"certificate": str(own.certificate), "key": str(own.key), "ca": str(authority.certificate)}
    sip = {"tls": tls | {"client_certificates": True}}
    async with bench(tmp_path, SILENT, listen=["tls"], authority=authority, sip=sip) as (service, _):
        for shown, welcome in ((None, False), (foreign, False), (phones_own, True)):
            context = trusting(authority)
            if shown is not None:
                context.load_cert_chain(shown.certificate, shown.key)
            async with StreamPhone(trust=context) as phone:
                status = await asked(phone, service.tls_port)
                assert status == (200 if welcome else 0)


async def asked(phone: StreamPhone, port: int) -> int:
    """The status of OPTIONS; 0 when the connection is refused. TLS 1.3 says so only at the first read."""
    try:
        await phone.connect("127.0.0.1", port)
        asking = asyncio.create_task(phone.options("127.0.0.1", port))
        await asyncio.wait({asking, closed := asyncio.create_task(phone.closed.wait())}, return_when="FIRST_COMPLETED")
    except OSError:
        return 0
    closed.cancel()
    if asking.done():
        return asking.result().status
    asking.cancel()
    return 0


@pytest.mark.parametrize("fault", ["certificate", "key", "ca", "pair"])
async def test_a_tls_file_of_no_use_stops_the_start_and_names_the_key(
    tmp_path: Path, authority: Authority, fault: str
) -> None:
    own = authority.issue("service")
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("garbage")
    tls = {"certificate": str(own.certificate), "key": str(own.key), "ca": str(authority.certificate)}
    tls |= {"key": str(authority.issue("other").key)} if fault == "pair" else {fault: str(garbage)}
    place = "key" if fault == "pair" else fault
    with pytest.raises(NotReady) as failed:
        await Service.started(tmp_path, {"provider": "ws://127.0.0.1:9/"}, listen=["tls"], sip={"tls": tls})
    *_, line = str(failed.value).strip().splitlines()
    assert re.match(rf"sip\.tls\.{place}: \S+{re.escape(Path(tls[place]).name)}", line), line


async def test_an_address_bound_beside_a_wildcard_is_told_to_nobody_else(tmp_path: Path) -> None:
    ports = [free_port(), free_port(socket.SOCK_STREAM)]
    sip = {"listen": [f"udp://0.0.0.0:{ports[0]}", f"tcp://127.0.0.9:{ports[1]}"]}
    async with bench(tmp_path, SILENT, sip=sip), RawPhone() as phone:
        answer = await phone.invite("127.0.0.1", ports[0])
        assert answer.header("Contact") == f"<sip:127.0.0.1:{ports[0]}>"
        assert "c=IN IP4 127.0.0.1\r\n" in answer.body
        await phone.bye()


async def test_a_call_to_another_listener_of_the_same_kind(tmp_path: Path) -> None:
    """Two listeners of one kind on two addresses: each call keeps to its own."""
    hosts = ["127.0.0.1", "127.0.0.2"]
    async with bench(tmp_path, HANGS_UP, agent=GREETS, **at(hosts)) as (_, server):
        for number, host in enumerate(hosts):
            port = PORTS[number]
            async with RawPhone() as phone:
                answer = await phone.invite(host, port)
                assert answer.header("Contact") == f"<sip:{host}:{port}>"
                assert f"c=IN IP4 {host}\r\n" in answer.body
                await asyncio.wait_for(phone.ended.wait(), 10)
                assert {packet.source[0] for packet in phone.wire.packets} == {host}
                bye = next(message for message in phone.messages if message.start.startswith("BYE "))
                assert phone.sources[phone.messages.index(bye)] == (host, port)
        assert len(server.sessions) == 2


PORTS: list[int] = []


def at(hosts: list[str]) -> dict[str, Any]:
    PORTS[:] = [free_port(host=host) for host in hosts]
    return {"sip": {"listen": [f"udp://{host}:{port}" for host, port in zip(hosts, PORTS, strict=True)]}}
