"""What scanners learn of the service as it is out of the box: nothing. What a peer may ask is answered."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bridge import __version__
from tests.phones.processes import Program
from tests.service.rig import bench

pytestmark = pytest.mark.interop


def _program(name: str, package: str) -> str:
    if (path := shutil.which(name)) is None:
        pytest.skip(f"{name} is not installed (Debian package {package})")
    return path


async def _run(folder: Path, *command: str, within: float = 40) -> tuple[int, str]:
    """Exit code and words of a program."""
    with Program(command, folder) as program:
        return await program.ended(within), program.output()


SCANS = {
    "svmap": ["svmap", "-b", "127.0.0.1", "-x", "127.0.0.1"],
    "svmap-invite": ["svmap", "-b", "127.0.0.1", "-x", "127.0.0.1", "-m", "INVITE"],
    "svwar-register": ["svwar", "-b", "127.0.0.1", "-x", "127.0.0.1", "-m", "REGISTER", "-e", "100-110"],
    "svwar-options": ["svwar", "-b", "127.0.0.1", "-x", "127.0.0.1", "-m", "OPTIONS", "-e", "100-110", "--force"],
    "svwar-invite": ["svwar", "-b", "127.0.0.1", "-x", "127.0.0.1", "-m", "INVITE", "-e", "100-110", "--force"],
}


@pytest.mark.parametrize("scan", SCANS)
async def test_sipvicious_learns_nothing(tmp_path: Path, scan: str) -> None:
    """Silence: no device found, no extension, not even that somebody is there; each try is counted."""
    name, *options = SCANS[scan]
    program = _program(name, "sipvicious")
    async with bench(tmp_path, "vad: false") as (service, server):
        target = ["-p", str(service.sip_port), "127.0.0.1"]
        _, said = await _run(tmp_path / "scan", program, *options, *target)
        metrics = await service.metrics()
        answered = sum(value for key, value in metrics.items() if key.startswith("sipbridge_sip_responses_sent"))
    assert answered == 0, said
    assert "sip:" not in said and "SIP/2.0" not in said, said
    assert server.sessions == []
    assert metrics['sipbridge_sip_dropped_total{reason="scanner"}'] >= 1, metrics


async def test_sipsak_of_a_peer_is_answered_and_learns_no_more(tmp_path: Path) -> None:
    """OPTIONS from a private network: 200 with what we can do, and no version of ours."""
    program = _program("sipsak", "sipsak")
    async with bench(tmp_path, "vad: false") as (service, _):
        code, said = await _run(tmp_path / "ask", program, "-vv", "-s", f"sip:600@127.0.0.1:{service.sip_port}")
    assert code == 0 and "SIP/2.0 200" in said, said
    assert __version__ not in said


async def test_sipsak_cannot_register(tmp_path: Path) -> None:
    """Without a registrar REGISTER is no method of ours."""
    program = _program("sipsak", "sipsak")
    async with bench(tmp_path, "vad: false") as (service, _):
        uri = f"sip:600@127.0.0.1:{service.sip_port}"
        code, said = await _run(tmp_path / "register", program, "-vv", "-i", "-U", "-x", "60", "-s", uri)
    assert code and "SIP/2.0 405" in said
