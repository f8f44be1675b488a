"""What `sipbridge check` says of trunks: who may call, which server answers where, and what to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bridge.config import Config
from bridge.trunk_checks import Finding, server_findings, trunk_findings
from tests.phones.certificates import Authority
from tests.phones.processes import free_port
from tests.service.office import Office


def config(**sections: Any) -> Config:
    return Config.model_validate(sections)


def account(*servers: str) -> dict[str, Any]:
    return {"server": list(servers), "user": "600", "password": "secret"}


async def served(*servers: str, **sections: Any) -> list[Finding]:
    settings = config(trunks={"pbx": {"register": account(*servers)}}, **sections)
    found = [finding async for finding in server_findings(settings)]
    assert [finding.what for finding in found] == [f"trunk pbx, register 600 at {server}" for server in servers]
    return found


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_server_that_is_there_says_so_and_nothing_is_registered(transport: str) -> None:
    async with Office() as office:
        (finding,) = await served(office.uri(transport))
        place = f"127.0.0.2:{office.port} over {transport.upper()}"
        assert (finding.well, finding.words) == (True, f"{place} answers (OPTIONS: 200)")
        assert office.registers == []


async def test_a_name_shows_where_it_leads() -> None:
    async with Office(host="127.0.0.1") as office:
        (finding,) = await served(f"sip:localhost:{office.port}")
        assert finding.well and finding.words.startswith(f"127.0.0.1:{office.port} over UDP answers")


async def test_servers_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.trunk_checks.PATIENCE_S", 0.2)
    dead, silent, unknown = (
        f"sip:127.0.0.1:{free_port()};transport=tcp",
        f"sip:127.0.0.1:{free_port()}",
        "sip:pbx.invalid",
    )
    first, second, third = await served(dead, silent, unknown)
    assert first.well is False and "over TCP cannot be reached" in first.words and "is it running" in first.words
    assert second.well is None and "over UDP does not answer OPTIONS: is the address right" in second.words
    assert third.well is False and "no such server is known: is the name right" in third.words


async def test_a_server_whose_certificate_is_not_trusted(tmp_path: Path) -> None:
    from bridge.sip.tls import TlsSettings
    from bridge.sip.ua import ListenAddress, UserAgent

    own, other = Authority.make(tmp_path / "own"), Authority.make(tmp_path / "other")
    issued = own.issue("server")
    server = UserAgent(
        listen=[ListenAddress("tls", "127.0.0.1", 0)],
        on_invite=lambda invitation: invitation.reject(486),
        tls=TlsSettings(issued.certificate, issued.key),
    )
    await server.start()
    try:
        uri = f"sip:127.0.0.1:{server.local[0][2]};transport=tls"
        (good,) = await served(uri, sip={"tls": {"ca": str(own.certificate)}})
        (bad,) = await served(uri, sip={"tls": {"ca": str(other.certificate)}})
    finally:
        await server.close()
    assert good.well
    assert bad.well is False and "does sip.tls.ca sign its certificate?" in bad.words


async def test_a_proxy_is_asked_too() -> None:
    async with Office() as office:
        settings = config(trunks={"pbx": {"peers": "10.0.0.0/8", "proxy": office.uri("tcp")}})
        (finding,) = [finding async for finding in server_findings(settings)]
        assert finding.well and finding.what == f"trunk pbx, proxy {office.uri('tcp')}"


def test_who_may_call_is_said_for_each_trunk() -> None:
    users = {"700": {"password": "x"}}
    trunks = {
        "a": {"peers": ["10.0.0.0/8", "192.0.2.1"], "users": users},
        "b": {"register": account("pbx.example")},
        "c": {},
        "d": {"peers": ["192.0.2.2"], "advertise": "203.0.113.7"},
        "e": {"peers": ["192.0.2.3"], "advertise": "auto"},
    }
    said = {finding.what: finding.words for finding in trunk_findings(config(trunks=trunks))}
    assert said == {
        "trunk a": "calls from 10.0.0.0/8, 192.0.2.1 and 1 user(s) with a password",
        "trunk b": "calls from the servers it is registered at",
        "trunk c": "calls from private networks",
        "trunk d": "calls from 192.0.2.2; our address there is 203.0.113.7",
        "trunk e": "calls from 192.0.2.3; our address is found for each peer",
    }
    (default,) = trunk_findings(config())
    assert default.well and "calls from private networks only" in default.words
    *_, everybody = trunk_findings(config(trunks={"a": {"peers": "0.0.0.0/0"}}))
    assert everybody.well is None and "everybody may call" in everybody.words
    (registrar, _) = trunk_findings(config(registrar={"users": users}))
    assert registrar.words == "1 user(s) may register, from anywhere"


def test_tls_files_are_tried(tmp_path: Path) -> None:
    own = Authority.make(tmp_path).issue("service")
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("x")
    good = {"certificate": str(own.certificate), "key": str(own.key)}
    first, *_ = trunk_findings(config(sip={"tls": good}))
    assert (first.what, first.well, first.words) == ("sip.tls", True, "the files fit; TLS 1.2 or later")
    first, *_ = trunk_findings(config(sip={"tls": good | {"key": str(garbage)}}))
    assert (first.what, first.well) == ("sip.tls.key", False) and "has no private key" in first.words


def test_keys_in_clear_are_looked_at(tmp_path: Path) -> None:
    own = Authority.make(tmp_path).issue("service")
    trunks = {"pbx": {"peers": "10.0.0.0/8", "srtp": "optional"}, "other": {"peers": "192.0.2.1"}}
    tls = {"certificate": str(own.certificate), "key": str(own.key)}
    for listen, warned in ((["udp://0.0.0.0", "tls://0.0.0.0"], True), (["tls://0.0.0.0"], False)):
        found = trunk_findings(config(trunks=trunks, sip={"listen": listen, "tls": tls}))
        words = [finding for finding in found if "keys travel in the signalling" in finding.words]
        assert [(one.what, one.well) for one in words] == ([("trunk pbx", None)] if warned else [])
