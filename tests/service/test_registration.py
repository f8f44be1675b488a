"""The service registers at telephone systems: with digest, again and again, elsewhere, and takes its leave."""

from __future__ import annotations

import asyncio
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from bridge.sip.invitation import Invitation
from tests.phones.processes import free_port
from tests.phones.rawphone import CallError, RawPhone
from tests.service.office import HOST, Office
from tests.service.rig import Service, bench

SILENT = "vad: false"


def trunk(*accounts: object, **more: Any) -> dict[str, Any]:
    return {"trunks": {"pbx": {"register": list(accounts)} | more}}


def registered(metrics: dict[str, float], name: str = "pbx/600") -> float:
    return metrics[f'sipbridge_registered{{registration="{name}"}}']


async def until_state(service: Service, name: str, within: float = 15) -> dict[str, Any]:
    """The log line of a state, once it is there."""
    async with asyncio.timeout(within):
        while not (lines := service.events(f"registration.{name}")):
            await asyncio.sleep(0.02)
    return lines[-1]


async def asked(office: Office, service: Service) -> str:
    """How a call of the office ends: the word of its failure, or "answered"."""
    outcome: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    call = office.call(f"sip:600@127.0.0.1:{service.sip_port}")
    call.on_answered = lambda answer: outcome.set_result("answered")
    call.on_failed = lambda failure: outcome.set_result(f"{failure.status} {failure.word}")
    word = await asyncio.wait_for(outcome, 10)
    call.hang_up()
    return word


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
async def test_it_registers_and_the_registrars_calls_are_taken(tmp_path: Path, transport: str, algorithm: str) -> None:
    async with Office(algorithms=[algorithm]) as office:
        more = {"listen": ["udp", "tcp"]} | trunk(office.account(transport=transport))
        async with bench(tmp_path, SILENT, **more) as (service, server):
            contact = await office.registered()
            port = f"127.0.0.1:{service.sip_port}" + (";transport=tcp" if transport == "tcp" else "")
            assert contact == f"sip:600@{port}"
            answers = [request.header("Authorization") or "" for request in office.registers]
            assert [bool(answer) for answer in answers] == [False, True]
            assert f"algorithm={algorithm}" in answers[1]
            assert registered(await service.metrics()) == 1
            status, page = await service.get("/readyz")
            assert status == 200 and re.fullmatch(r"ready\npbx/600: registered: sip:600@\S+ at \S+ for \d+ s\n", page)
            assert "secret" not in service.said(100_000)
            assert await asked(office, service) == "answered"
            assert service.events("call.began")[0]["trunk"] == "pbx"
            async with RawPhone() as stranger:
                with pytest.raises(CallError):
                    await stranger.invite("127.0.0.1", service.sip_port, within=0.6)
            assert len(server.sessions) == 1


async def test_it_comes_back_soon_after_a_lost_connection(tmp_path: Path) -> None:
    """Long before the refresh is due: meanwhile nobody could call it."""
    async with Office(maximum_s=600) as office:
        more = {"listen": ["udp", "tcp"]} | trunk(office.account(transport="tcp", expires_s=600))
        async with bench(tmp_path, SILENT, **more) as (service, _):
            await office.registered()
            before = len(office.registers)
            (stream,) = office.agent.listeners.streams
            for connection in list(stream._connections):
                connection.kill("test")
            await came(office, before + 1)
            first, *_, last = office.registers
            assert last.call_id == first.call_id and last.cseq.number > first.cseq.number
            assert await asked(office, service) == "answered"


async def test_it_stays_registered(tmp_path: Path) -> None:
    async with Office(maximum_s=6) as office:
        async with bench(tmp_path, SILENT, **trunk(office.account())):
            await office.registered()
            count = len(office.registers)
            waiting = asyncio.create_task(came(office, count + 1))
            while not waiting.done():
                assert office.registrar.lookup("600"), "never a gap"
                await asyncio.sleep(0.02)
            await waiting


async def came(office: Office, count: int, within: float = 12) -> None:
    """Until so many REGISTERs have come."""
    async with asyncio.timeout(within):
        while len(office.registers) < count:
            await asyncio.sleep(0.02)


async def test_a_longer_interval_is_taken_when_the_registrar_insists(tmp_path: Path) -> None:
    async with Office(minimum_s=90, maximum_s=90) as office:
        async with bench(tmp_path, SILENT, **trunk(office.account(expires_s=30))):
            await office.registered()
            assert [request.header("Expires") for request in office.registers][-1] == "90"
            assert office.registers[0].header("Expires") == "30"


async def test_a_wrong_password_is_refused_and_told_with_what_to_do(tmp_path: Path) -> None:
    async with Office() as office:
        more = trunk(office.account(password="guess"))
        async with bench(tmp_path, SILENT, until="/healthz", **more) as (service, _):
            line = await until_state(service, "refused")
            assert line["level"] == "warning" and line["registration"] == "pbx/600"
            assert "401 Unauthorized; check user and password; next try in 600 s" in line["detail"]
            status, page = await service.get("/readyz")
            first, second = page.splitlines()
            assert (status, first) == (503, "not_registered")
            assert second.startswith("pbx/600: refused: ") and "check user and password" in second
            assert registered(await service.metrics()) == 0
            assert len(office.registers) == 2, "one try with the password, no more"
            assert "guess" not in service.said(100_000)


async def test_the_next_server_is_asked_when_one_is_dead_and_its_calls_are_taken(tmp_path: Path) -> None:
    dead = f"sip:127.0.0.3:{free_port()};transport=tcp"
    async with Office() as office:
        account = {"server": [dead, office.uri("tcp")], "user": "600", "password": "secret"}
        async with bench(tmp_path, SILENT, listen=["udp"], **trunk(account)) as (service, _):
            await office.registered()
            assert await asked(office, service) == "answered"


async def test_a_server_may_have_a_name(tmp_path: Path) -> None:
    async with Office(host="127.0.0.1") as office:
        account = {"server": f"localhost:{office.port}", "user": "600", "password": "secret"}
        async with bench(tmp_path, SILENT, **trunk(account)) as (service, _):
            await office.registered()
            assert office.registers[0].uri.text == "sip:localhost"
            assert await asked(office, service) == "answered"


async def test_of_several_addresses_the_one_that_leads_to_the_registrar_is_used(tmp_path: Path) -> None:
    other, own = free_port(host="127.0.0.9"), free_port()
    listen = [f"udp://127.0.0.9:{other}", f"udp://127.0.0.1:{own}"]
    async with Office() as office:
        async with bench(tmp_path, SILENT, sip={"listen": listen}, **trunk(office.account())):
            assert await office.registered() == f"sip:600@127.0.0.1:{own}"
            assert {request.via.host for request in office.registers} == {"127.0.0.1"}


async def test_each_registration_stands_for_itself(tmp_path: Path) -> None:
    async with Office() as office, Office(host="127.0.0.4") as other:
        trunks = {
            "pbx": {"register": [office.account(), office.account("601", "guess")]},
            "carrier": {"register": other.account("600")},
        }
        async with bench(tmp_path, SILENT, trunks=trunks) as (service, _):
            await office.registered()
            await other.registered()
            await until_state(service, "refused")
            metrics = await service.metrics()
            assert [registered(metrics, name) for name in ("pbx/600", "pbx/601", "carrier/600")] == [1, 0, 1]
            status, page = await service.get("/readyz")
            states = dict(line.split(": ")[:2] for line in page.splitlines()[1:])
            assert status == 200
            assert states == {"pbx/600": "registered", "pbx/601": "refused", "carrier/600": "registered"}
            assert await asked(office, service) == await asked(other, service) == "answered"
            assert [line["trunk"] for line in service.events("call.began")] == ["pbx", "carrier"]


async def test_it_takes_its_leave_before_it_waits_for_calls(tmp_path: Path) -> None:
    async with Office() as office:
        more = trunk(office.account(), peers=["127.0.0.0/8"])
        async with bench(tmp_path, SILENT, limits={"drain_s": 30}, **more) as (service, _), RawPhone() as phone:
            await office.registered()
            await phone.invite("127.0.0.1", service.sip_port)
            service.process.send_signal(signal.SIGTERM)
            await office.left()
            assert office.registers[-1].header("Expires") == "0"
            assert not phone.ended.is_set() and (await service.get("/healthz"))[0] == 200
            assert (await service.metrics())["sipbridge_calls_active"] == 1
            assert (await phone.bye()).status == 200
            assert await service.ended(10) == 0
        assert service.events("registration.gone")


async def test_a_dead_registrar_does_not_hold_up_the_end(tmp_path: Path) -> None:
    async with Office() as office:
        async with bench(tmp_path, SILENT, **trunk(office.account())) as (service, _):
            await office.registered()
            await office.agent.close()
            service.process.send_signal(signal.SIGTERM)
            assert await service.ended(8) == 0


async def test_our_calls_on_the_trunk_take_the_service_route(tmp_path: Path) -> None:
    """RFC 3608: the registrar names the proxies that calls of ours must pass."""
    invited: list[Invitation] = []

    def refuse(invitation: Invitation) -> None:
        invited.append(invitation)
        invitation.reject(486)

    async with Office(host="127.0.0.4", on_invite=refuse) as proxy:
        route = ("Service-Route", f"<sip:{proxy.host}:{proxy.port};lr>")
        async with Office(headers=[route]) as office:
            transfer = {"method": "bridge", "targets": {"sales": "sip:700@office.test"}}
            agent = {"greeting": "Begin.", "tools": ["transfer"], "transfer": transfer}
            script = "vad: false\nanswer: {items: [{audio_ms: 100}, {call: transfer, arguments: {target: sales}}]}"
            more = trunk(office.account(), peers=["127.0.0.1"]) | {"agent": agent}
            async with bench(tmp_path, script, **more) as (service, _), RawPhone() as phone:
                await office.registered()
                await phone.invite("127.0.0.1", service.sip_port)
                async with asyncio.timeout(10):
                    while not invited:
                        await asyncio.sleep(0.02)
                request = invited[0].request
                assert request.headers("Route") == [route[1]]
                assert request.uri.text == "sip:700@office.test"
                assert str(request.from_.uri) == f"sip:600@{HOST}", "as whom we are registered"
                await phone.bye()
