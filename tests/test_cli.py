"""The command line as a user types it: what it prints, and how it exits."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import wave
from pathlib import Path

import pytest

from bridge import __version__
from bridge.settings import load
from tests.phones.processes import Program, free_port, free_port_range
from tests.service.rig import Service, bench

NO_KEY = {name: value for name, value in os.environ.items() if name != "OPENAI_API_KEY"}


def sipbridge(*arguments: str, within: float = 60, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    command = [sys.executable, "-m", "bridge", *arguments]
    return subprocess.run(
        command, env=NO_KEY | environ, capture_output=True, text=True, timeout=within, stdin=subprocess.DEVNULL
    )


async def running(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """The same, while the test's own loop serves."""
    return await asyncio.to_thread(sipbridge, *arguments, **environ)


def config(folder: Path, agent: str, port: int | None = None) -> Path:
    path = folder / "sipbridge.yaml"
    rtp = free_port_range(20)
    path.write_text(
        f"sip: {{listen: [udp://127.0.0.1:{port or free_port()}]}}\nagents: {{test: {agent}}}\n"
        f"media: {{ports: {rtp}-{rtp + 19}}}\nlimits: {{calls: 10}}\n"
        f"http: {{listen: 127.0.0.1:{free_port(socket.SOCK_STREAM)}}}\n"
    )
    return path


def test_version() -> None:
    done = sipbridge("--version")
    assert (done.returncode, done.stdout) == (0, f"sipbridge {__version__}\n")


def test_help_names_every_command() -> None:
    shown = sipbridge("--help").stdout
    assert all(name in shown for name in ("serve", "demo", "agent", "healthcheck", "check", "route", "call"))


def test_serve_without_a_key_says_what_to_do() -> None:
    done = sipbridge("serve", BRIDGE_SIP__LISTEN=f"[udp://127.0.0.1:{free_port()}]")
    assert done.returncode == 1
    assert "set OPENAI_API_KEY" in done.stderr and "Traceback" not in done.stderr


def test_serve_with_a_wrong_file_says_the_line(tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text("media:\n  portz: 1-2\n")
    done = sipbridge("serve", "--config", str(path))
    assert done.returncode == 1
    assert done.stderr == f"{path}:2: media.portz: unknown key; did you mean `ports`?\n"


def test_serve_on_a_port_that_is_taken_says_which(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        done = sipbridge("serve", "--config", str(config(tmp_path, "{provider: 'ws://127.0.0.1:9'}", port)))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"sip.listen: udp://127.0.0.1:{port}: another service has this port")
    assert "Traceback" not in done.stderr


def test_serve_on_an_address_of_another_machine_says_so(tmp_path: Path) -> None:
    done = sipbridge("serve", BRIDGE_SIP__LISTEN="udp://192.0.2.1:5060", BRIDGE_AGENTS__A__PROVIDER="ws://127.0.0.1:9/")
    assert done.returncode == 1 and "this machine does not have this address" in done.stderr


async def test_healthcheck_tells_life_from_death(tmp_path: Path) -> None:
    async with bench(tmp_path) as (service, _):
        path = str(tmp_path / "sipbridge.yaml")
        alive = await running("healthcheck", "--config", path)
        assert (alive.returncode, alive.stdout) == (0, "alive\n")
        service.stop()
        dead = await running("healthcheck", "--config", path)
        assert dead.returncode == 1 and "no answer" in dead.stderr


async def test_check_finds_all_well(tmp_path: Path) -> None:
    async with bench(tmp_path / "other") as (_, server):
        url = f"ws://127.0.0.1:{server_port(server)}/v1/realtime"
        done = await running("check", "--config", str(config(tmp_path, f"{{provider: '{url}'}}")))
        assert done.returncode == 0, done.stdout
        assert "FAIL" not in done.stdout and "PCMU in, PCMU out" in done.stdout


def server_port(server: object) -> int:
    return int(server._server.sockets[0].getsockname()[1])  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("agent", "words"),
    [
        ("{provider: openai}", "set OPENAI_API_KEY"),
        ("{provider: 'ws://127.0.0.1:9/x'}", "check the agent's `url`"),
    ],
)
def test_check_says_what_is_wrong_and_what_to_do(tmp_path: Path, agent: str, words: str) -> None:
    done = sipbridge("check", "--config", str(config(tmp_path, agent)))
    assert done.returncode == 1
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("FAIL")]
    assert words in line


async def test_check_does_not_show_a_key_that_the_service_repeats(tmp_path: Path) -> None:
    script = """
rules:
  - {on: session_update, instead: true, do: [{error: {code: invalid_value, message: "Invalid value sk-hush"}}]}
"""
    async with bench(tmp_path / "other", script) as (_, server):
        agent = f"{{provider: 'ws://127.0.0.1:{server_port(server)}/v1/realtime', key: sk-hush}}"
        done = await running("check", "--config", str(config(tmp_path, agent)))
    assert done.returncode == 1 and "Invalid value (hidden)" in done.stdout
    assert "sk-hush" not in done.stdout + done.stderr


def test_check_finds_a_taken_port(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        path = config(tmp_path, "{provider: 'ws://127.0.0.1:9/x'}", other.getsockname()[1])
        shown = sipbridge("check", "--config", str(path)).stdout
    assert any(line.startswith("FAIL  sip udp://") and "already running" in line for line in shown.splitlines())


def test_a_route_that_can_never_fit_is_said_by_check_and_at_the_start(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        path = config(tmp_path, "{provider: 'ws://127.0.0.1:9/x'}", other.getsockname()[1])
        name = next(iter(load(path, {}).agents))
        path.write_text(f"{path.read_text()}\nroutes: [{{agent: {name}}}, {{to: 600, agent: {name}}}]\n")
        shown = sipbridge("check", "--config", str(path)).stdout
        told = sipbridge("serve", "--config", str(path))
    advice = "route 1 before it takes every call: put this one in front of it, or leave it out"
    assert f"warn  route 2: can never fit: {advice}" in shown.splitlines()
    (line,) = [line for line in (told.stdout + told.stderr).splitlines() if "route.never_fits" in line]
    assert advice in line and '"warning"' in line


def test_check_tries_every_listener(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as other:
        other.bind(("::1", 0))
        other.listen()
        port = other.getsockname()[1]
        path = config(tmp_path, "{provider: 'ws://127.0.0.1:9/x'}")
        listen = f"[tcp://127.0.0.1:{port}, 'tcp://[::1]:{port}', udp://192.0.2.1:5060]"
        shown = sipbridge("check", "--config", str(path), BRIDGE_SIP__LISTEN=listen).stdout
    lines = [line for line in shown.splitlines() if " sip " in line]
    assert lines == [
        f"ok    sip tcp://127.0.0.1:{port}: free",
        f"FAIL  sip tcp://[::1]:{port}: another service has this port; is sipbridge already running?",
        "FAIL  sip udp://192.0.2.1:5060: this machine does not have this address",
    ]


async def test_check_asks_the_trunks_servers(tmp_path: Path) -> None:
    from tests.service.office import Office

    async with Office() as office:
        path = config(tmp_path, "{provider: 'ws://127.0.0.1:9/x'}")
        register = f"{{server: '{office.uri('tcp')}', user: 600, password: hush}}"
        with path.open("a") as file:
            file.write(f"trunks: {{pbx: {{register: {register}}}}}\n")
        done = await running("check", "--config", str(path))
        assert f"ok    trunk pbx, register 600 at {office.uri('tcp')}: 127.0.0.2:{office.port} over TCP" in done.stdout
        assert office.registers == [] and "hush" not in done.stdout + done.stderr


async def test_call_speaks_a_file_and_keeps_what_it_hears(tmp_path: Path) -> None:
    script = "vad: false\nanswer: {items: [{audio_ms: 900, pattern: 'tone:400'}]}"
    with wave.open(str(tmp_path / "say.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(b"\x00\x20" * 16000)
    async with bench(tmp_path / "service", script, agent={"greeting": "Begin."}) as (service, server):
        target = f"sip:600@127.0.0.1:{service.sip_port}"
        wav, kept = str(tmp_path / "say.wav"), tmp_path / "heard.wav"
        done = await running("call", target, "--wav", wav, "--digits", "5#", "--keep", str(kept), "--seconds", "20")
        assert done.returncode == 0, done.stdout + done.stderr
        for words in ("ringing", "answered, PCMU", "the agent speaks", 'the caller says: "say.wav"', "presses 5#"):
            assert words in done.stdout
        await service.until("sipbridge_digits_total", 2)
        loud = sum(byte not in (0xFF, 0x7F) for byte in server.sessions[0].input_audio)
        assert 7000 < loud < 9000, "one second at 16 kHz is one second at 8 kHz"
    with wave.open(str(kept)) as file:
        assert (file.getnchannels(), file.getframerate()) == (1, 8000)
        samples = memoryview(file.readframes(file.getnframes())).cast("h")
    assert sum(abs(sample) > 1000 for sample in samples) > 4000


async def test_call_says_why_it_was_refused(tmp_path: Path) -> None:
    async with bench(tmp_path, routes=[{"to": "1", "agent": "test"}]) as (service, _):
        done = await running("call", f"sip:600@127.0.0.1:{service.sip_port}")
        assert done.returncode == 1 and "refused: 404 Not Found" in done.stdout


@pytest.mark.parametrize("target", ["600", "http://127.0.0.1", "sip:"])
def test_call_to_nothing_says_how_to_write_it(target: str) -> None:
    done = sipbridge("call", target)
    assert done.returncode == 1
    assert "write it as sip:600@127.0.0.1:5060" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--digits", "1x"), "telephone keys are"),
        (("--keep", "/nowhere/x.wav"), "/nowhere/x.wav: cannot be written"),
        (("--law", "opus"), "use pcmu or pcma"),
        (("--seconds", "-1"), "--seconds"),
        (("--wav", "/nowhere/x.wav"), "/nowhere/x.wav"),
    ],
)
def test_call_refuses_what_it_cannot_do_before_it_dials(arguments: tuple[str, ...], words: str) -> None:
    done = sipbridge("call", "sip:600@127.0.0.1:9", *arguments)
    assert done.returncode != 0 and words in done.stderr
    assert "Traceback" not in done.stderr and "dialling" not in done.stdout


async def test_call_hangs_up_when_it_is_stopped(tmp_path: Path) -> None:
    async with bench(tmp_path / "service", "vad: false") as (service, _):
        command = [sys.executable, "-m", "bridge", "call", f"sip:600@127.0.0.1:{service.sip_port}", "--seconds", "60"]
        with Program(command, tmp_path) as phone:
            await service.until("sipbridge_rtp_packets_received_total", 10)
            phone.process.terminate()
            await service.until('sipbridge_calls_total{reason="caller_hung_up"}', 1)
            assert await phone.ended(10) == 0


def test_the_agent_alone_prints_its_address_and_ends_on_signal(tmp_path: Path) -> None:
    (tmp_path / "script.yaml").write_text("vad: false")
    port = free_port(socket.SOCK_STREAM)
    command = [sys.executable, "-m", "bridge", "agent", "--listen", f"127.0.0.1:{port}", "--script", "script.yaml"]
    with Program(command, tmp_path) as agent:
        agent.wait_for_port(port, socket.SOCK_STREAM)
        agent.process.terminate()
        assert agent.process.wait(10) == 0
        assert agent.said().splitlines()[0] == f"ws://127.0.0.1:{port}/v1/realtime"


def test_a_wrong_script_is_said_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "script.yaml").write_text("rules: [{on: sneeze, do: []}]")
    done = sipbridge("agent", "--script", str(tmp_path / "script.yaml"))
    assert done.returncode == 1 and "rules[0]" in done.stderr and "Traceback" not in done.stderr


async def test_no_secret_and_no_number_is_logged(tmp_path: Path) -> None:
    from tests.phones.rawphone import RawPhone

    async with bench(tmp_path, "vad: false", agent={"key": "sk-hush"}) as (service, _):
        async with RawPhone(user="tel491511234567") as phone:
            await phone.invite("127.0.0.1", service.sip_port)
            await phone.bye()
        await service.until('sipbridge_calls_total{reason="caller_hung_up"}', 1)
        log = service.said(1_000_000)
        assert "sk-hush" not in log and "491511234567" not in log
        assert {line["call"] for line in service.lines() if line["event"].startswith("call.")} == {phone.call_id}


async def test_numbers_and_transcripts_are_logged_when_asked_for(tmp_path: Path) -> None:
    from tests.phones.rawphone import RawPhone

    script = "vad: false\nanswer: {items: [{audio_ms: 100, transcript: 'Hello there.'}]}"
    log = {"callers": True, "transcripts": True}
    async with bench(tmp_path, script, agent={"greeting": "Begin."}, log=log) as (service, _):
        async with RawPhone(user="tel491511234567") as phone:
            await phone.invite("127.0.0.1", service.sip_port)
            await service.until('sipbridge_responses_total{status="completed"}', 1)
            await phone.bye()
        assert service.events("call.began")[0]["caller"] == "tel491511234567"
        assert service.events("transcript")[0]["text"] == "Hello there."


def test_route_says_who_answers_and_exits_like_it(tmp_path: Path) -> None:
    path = tmp_path / "sipbridge.yaml"
    path.write_text("agents: {a: {}, b: {}}\nroutes: [{to: 7*, agent: a}, {from: '+49*', agent: b}]\n")
    done = sipbridge("route", "--to", "600", "--from", "+49301", "-c", str(path))
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "agent b: from +49* fits '+49301'")
    done = sipbridge("route", "--to", "600", "--header", "From: <sip:1@x>", "-c", str(path))
    assert (done.returncode, done.stdout.splitlines()[-1]) == (1, "no route fits: the caller gets 404")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "say whom the call is for with --to, or give --invite FILE"),
        (("--to", "1", "--invite", "x"), "say whom the call is for with --to, or give --invite FILE"),
        (("--invite", "x", "--from", "1"), "leave --from and --header out"),
        (("--invite", "/nowhere/x"), "/nowhere/x: cannot be read"),
        (("--to", "1", "--trunk", "nix"), "--trunk nix: there is no such trunk"),
    ],
)
def test_route_says_what_it_needs(arguments: tuple[str, ...], words: str) -> None:
    done = sipbridge("route", *arguments)
    assert done.returncode == 1 and words in done.stderr and "Traceback" not in done.stderr


async def test_the_built_in_agent_dies_with_the_service(tmp_path: Path) -> None:
    path = config(tmp_path, "{provider: builtin}")
    http = int(path.read_text().rpartition(":")[2].strip(" }\n"))
    with Program([sys.executable, "-m", "bridge", "serve", "--config", str(path)], tmp_path) as program:
        await asyncio.to_thread(program.wait_for_port, http, socket.SOCK_STREAM, 30)
        children = child_processes(program.process.pid)
        assert children
        program.process.kill()
        program.process.wait()
        async with asyncio.timeout(10):
            while any(Path(f"/proc/{pid}/cmdline").exists() and alive(pid) for pid in children):
                await asyncio.sleep(0.05)


def child_processes(parent: int) -> list[int]:
    """All processes below one, by the system's table."""
    below: list[int] = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, fields = int(entry.parent.name), entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == parent:
            below += [pid, *child_processes(pid)]
    return below


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


assert Service
