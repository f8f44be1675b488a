"""The snippets of deploy/ as a real Asterisk and a real Kamailio take them: loaded without a complaint, and used."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.interop.sound import GREETS, SAYS_A_SENTENCE
from tests.phones import asterisk, kamailio, peers
from tests.phones.asterisk import Asterisk
from tests.phones.certificates import Authority
from tests.phones.kamailio import Kamailio
from tests.phones.processes import free_signalling_port
from tests.phones.rawpeer import RawPeer
from tests.phones.rawphone import RawPhone
from tests.service.rig import Service, bench
from tests.service.transfers import ENDED, OUTCOME, agent, asks

pytestmark = pytest.mark.interop

DEPLOY = Path(__file__).parents[2] / "deploy"
UDP = "[transport-udp]\ntype=transport\nprotocol=udp\nbind=127.0.0.1:@PORT@\n"
GLOBAL = "[global]\ntype=global\nuser_agent=Asterisk\ndebug=yes\n"
COLLEAGUE = (
    "[1001]\ntype=endpoint\ncontext=internal\naors=1001\ndisallow=all\nallow=ulaw\n[1001]\ntype=aor\ncontact={}\n"
)


def part(number: int) -> str:
    """One of the three parts of pjsip.conf."""
    return (DEPLOY / "asterisk" / "pjsip.conf").read_text().split("; --- ")[number].partition("\n")[2]


def on_loopback(text: str, service: Service | None = None) -> str:
    """A snippet with the addresses of this machine in place of those of the documents."""
    port, tls_port = (service.sip_port, service.tls_port) if service else (9, 9)
    text = re.sub(r"192\.0\.2\.2[01]:5060", f"127.0.0.1:{port}", text)
    text = re.sub(r"sipbridge\.example:5061", f"127.0.0.1:{tls_port}", text)
    text = re.sub(r"/etc/asterisk/keys/(\w+)\.(\w+)", _file, text)
    return text.replace("0.0.0.0:5061", "127.0.0.1:@TLS_PORT@").replace("192.0.2.20", "127.0.0.1")


def _file(found: re.Match[str]) -> str:
    return {"ca.pem": "@CA@", "asterisk.pem": "@CERTIFICATE@", "asterisk.key": "@KEY@"}[f"{found[1]}.{found[2]}"]


def pbx_with(folder: Path, authority: Authority, patch: pytest.MonkeyPatch, *sections: str) -> Asterisk:
    """An Asterisk with these sections for PJSIP, and the dial plan of deploy/ behind the tests' own."""
    if (peer := peers.asterisk()) is None:
        pytest.skip("no Asterisk here (scripts/peers says why)")
    source = folder / "pbx-source"
    shutil.copytree(asterisk._CONFIGURATION, source)
    (source / "pjsip.conf").write_text("\n".join((GLOBAL, UDP, *sections)))
    with (source / "extensions.conf").open("a") as plan:
        plan.write((DEPLOY / "asterisk" / "extensions.conf").read_text())
    patch.setattr(asterisk, "_CONFIGURATION", source)
    return Asterisk.start(peer, folder / "pbx", authority)


def complaints(pbx: Asterisk) -> list[str]:
    """What Asterisk does not like about its configuration."""
    return [
        line
        for line in pbx.output().splitlines()
        if re.search(r"(ERROR|WARNING).*(res_pjsip|pbx_config|sorcery)", line)
    ]


async def test_a_trunk_by_address_calls_and_takes_a_transfer_to_its_context_alone(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = asks()
    async with RawPeer(user="1001") as colleague, bench(tmp_path, script, agent=agent(desk="1001")) as (service, _):
        sections = (on_loopback(part(1), service), COLLEAGUE.format(f"sip:1001@127.0.0.1:{colleague.port}"))
        with pbx_with(tmp_path, authority, monkeypatch, *sections) as pbx:
            await pbx.cli("channel originate Local/600@internal extension 801@phones")
            await colleague.got("INVITE")
            await service.until(ENDED("transferred"), 1)
            assert (await service.metrics())[OUTCOME("transferred")] == 1
            assert pbx.requests("REFER") == 1
            await pbx.cli("pjsip qualify sipbridge")
            await service.until('sipbridge_sip_responses_sent_total{status="200"}', 2)
            await pbx.hang_up_all()
            assert complaints(pbx) == []


async def test_a_number_that_is_not_in_the_context_is_not_reached(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bench(tmp_path, asks(), agent=agent("refer", desk="801")) as (service, _):
        with pbx_with(tmp_path, authority, monkeypatch, on_loopback(part(1), service)) as pbx:
            await pbx.cli("channel originate Local/600@internal extension 801@phones")
            await service.until(OUTCOME("not_found"), 1)
            await pbx.hang_up_all()


async def test_an_account_that_the_service_registers_at(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pbx_with(tmp_path, authority, monkeypatch, on_loopback(part(2))) as pbx:
        register = {"server": f"sip:127.0.0.1:{pbx.port}", "user": "voice-model", "password": "change-me"}
        trunks = {"pbx": {"register": register}}
        async with bench(tmp_path, SAYS_A_SENTENCE, agent=GREETS, trunks=trunks) as (service, _):
            await pbx.contact_of("voice-model")
            await pbx.cli("channel originate PJSIP/voice-model extension 801@phones")
            await service.until("sipbridge_calls_active", 1)
            await pbx.hang_up_all()
            await service.until(ENDED("caller_hung_up"), 1)
            assert service.events("call.began")[0]["trunk"] == "pbx"
        assert complaints(pbx) == []


async def test_a_trunk_over_tls_with_srtp(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = {"listen": ("udp", "tls"), "authority": authority}
    trunks = {"pbx": {"peers": ["127.0.0.0/8"], "srtp": "required"}}
    async with bench(tmp_path, SAYS_A_SENTENCE, agent=GREETS, trunks=trunks, **more) as (service, _):
        with pbx_with(tmp_path, authority, monkeypatch, on_loopback(part(3), service)) as pbx:
            await pbx.cli("channel originate PJSIP/600@sipbridge-tls extension 801@phones")
            await service.until("sipbridge_calls_active", 1)
            await service.until("sipbridge_rtp_packets_received_total", 20)
            await pbx.hang_up_all()
            await service.until(ENDED("caller_hung_up"), 1)
            assert complaints(pbx) == []


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
async def test_calls_through_the_dispatcher_and_out_again(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch, transport: str
) -> None:
    """The caller reaches the service through Kamailio; the second call of a transfer goes by it to the PBX."""
    if (peer := peers.kamailio()) is None:
        pytest.skip("no Kamailio here (scripts/peers says why)")
    port = free_signalling_port()
    trunks = {"edge": {"peers": ["127.0.0.0/8"], "proxy": f"sip:127.0.0.1:{port}"}}
    more = {"listen": [*dict.fromkeys(("udp", transport))], "authority": authority, "trunks": trunks}
    target = agent("bridge", desk="200")
    async with (
        RawPeer() as pbx,
        RawPhone(host="127.0.0.2") as caller,
        bench(tmp_path, asks(), agent=target, **more) as (service, _),
    ):
        source = tmp_path / "proxy-source"
        _dispatcher(source, service, transport, pbx.port)
        monkeypatch.setattr(kamailio, "_CONFIGURATION", source)
        monkeypatch.setattr(kamailio, "free_signalling_port", lambda: port)
        with Kamailio.start(peer, tmp_path / "proxy", authority):
            answer = await caller.invite("127.0.0.1", port)
            assert answer.status == 200 and "127.0.0.1" in answer.header("Record-Route")
            invite = await pbx.got("INVITE")
            assert invite.start.startswith("INVITE sip:200@") and invite.header("Record-Route")
            await service.until(OUTCOME("joined"), 1)
            await caller.bye()
            await pbx.got("BYE")
            await service.until(ENDED("transferred"), 1)


def _dispatcher(source: Path, service: Service, transport: str, pbx_port: int) -> None:
    """Kamailio's files of deploy/, on loopback, with TLS."""
    source.mkdir()
    text = (DEPLOY / "kamailio" / "kamailio.cfg").read_text()
    text = text.replace("##!define", "#!define").replace("#!KAMAILIO", '#!KAMAILIO\nmpath="@MODULES@"')
    text = text.replace("192.0.2.10:5060", "127.0.0.1:@PORT@").replace("192.0.2.10:5061", "127.0.0.1:@TLS_PORT@")
    text = text.replace("/etc/kamailio", "@FOLDER@").replace("192.0.2.5:5060", f"127.0.0.1:{pbx_port}")
    (source / "kamailio.cfg").write_text(text)
    tls = (DEPLOY / "kamailio" / "tls.cfg").read_text()
    for name, file in (("CERTIFICATE", "kamailio.pem"), ("KEY", "kamailio.key"), ("CA", "ca.pem")):
        tls = tls.replace(f"/etc/kamailio/tls/{file}", f"@{name}@")
    (source / "tls.cfg").write_text(tls)
    (source / "dispatcher.list").write_text(f"1 {service.uri(transport).replace('600@', '')} 0 0\n")
