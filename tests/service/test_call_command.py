"""`sipbridge call` against the running service: every transport, passwords, certificates, names."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.phones.certificates import Authority
from tests.service.rig import bench
from tests.test_cli import running

SCRIPT = "vad: false\nanswer: {items: [{audio_ms: 300, pattern: 'tone:400'}, {call: hang_up, arguments: {}}]}"
AGENT = {"greeting": "Begin.", "tools": ["hang_up"]}


@pytest.mark.parametrize("name", ["udp", "tcp", "tls", "udp6", "tcp6", "tls6"])
async def test_a_call_over_every_transport(tmp_path: Path, name: str) -> None:
    authority = Authority.make(tmp_path / "ca")
    async with bench(tmp_path, SCRIPT, agent=AGENT, listen=[name], authority=authority) as (service, _):
        host = "[::1]" if name.endswith("6") else "localhost"
        port = service.tls_port if name.startswith("tls") else service.sip_port
        uri = f"sip:600@{host}:{port};transport={name[:3]}"
        done = await running("call", uri, "--ca", str(authority.certificate), "--seconds", "20")
        assert done.returncode == 0, done.stdout + done.stderr
        for words in (f"over {name[:3].upper()}, ", "answered, PCMU", "the agent speaks", "the other side hung up"):
            assert words in done.stdout
        await service.until('sipbridge_calls_total{reason="agent_hung_up"}', 1)


async def test_a_certificate_that_nobody_vouches_for(tmp_path: Path) -> None:
    authority = Authority.make(tmp_path / "ca")
    async with bench(tmp_path, SCRIPT, agent=AGENT, listen=["tls"], authority=authority) as (service, _):
        uri = service.uri("tls")
        done = await running("call", uri, "--seconds", "20")
        assert done.returncode == 1
        assert "nobody answers at 127.0.0.1" in done.stdout
        assert "certificate" in done.stdout + done.stderr, "why"
        assert (await running("call", uri, "--insecure", "--seconds", "20")).returncode == 0


async def test_a_password_where_one_is_asked_for(tmp_path: Path) -> None:
    trunks = {"pbx": {"peers": ["192.0.2.0/24"], "users": {"700": {"password": "secret"}}}}
    async with bench(tmp_path, SCRIPT, agent=AGENT, trunks=trunks) as (service, _):
        target = service.uri()
        done = await running("call", target, "--user", "700", "--seconds", "20", SIPBRIDGE_PASSWORD="secret")
        assert done.returncode == 0, done.stdout + done.stderr
        assert service.events("call.began")[0]["user"] == "700"
        wrong = await running("call", target, "--user", "700", "--password", "guess", "--seconds", "20")
        assert wrong.returncode == 1 and "refused: 401 Unauthorized" in wrong.stdout


async def test_what_cannot_be_called_is_said_before_anything_is_sent(tmp_path: Path) -> None:
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("x")
    for arguments, words in (
        (("sip:600@nowhere.invalid",), "no such server is known"),
        (("sip:600@127.0.0.1;transport=tls", "--ca", str(garbage)), f"--ca: {garbage} has no certificate of a CA"),
        (("sip:600@127.0.0.1;transport=tls", "--ca", "/nowhere.pem"), "--ca: /nowhere.pem: No such file"),
        (("sip:600@127.0.0.1", "--password", "x"), "say with --user whose it is"),
    ):
        done = await running("call", *arguments)
        assert done.returncode == 1 and words in done.stderr, done.stderr
        assert "Traceback" not in done.stderr and "dialling" not in done.stdout


async def test_nobody_at_a_tcp_port(tmp_path: Path) -> None:
    done = await running("call", "sip:600@127.0.0.1:9;transport=tcp")
    assert done.returncode == 1 and "nobody answers at 127.0.0.1: is it running" in done.stdout
