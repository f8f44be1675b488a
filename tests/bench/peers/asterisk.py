"""A pinned Asterisk that answers every call in one of three ways, with what it needs at the far end."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench.bench_service import Ports
from tests.bench.peers.subject import Subject
from tests.bench.programs import Pinned, ProgramFailed
from tests.bench.rig import Setting
from tests.phones import peers
from tests.phones.asterisk import write_configuration
from tests.phones.peers import Peer

WAYS = ("echo", "audiosocket", "websocket")
"""The extensions of `pbx/extensions.conf`."""
_CONFIGURATION = Path(__file__).parent / "pbx"
_UNUSED = ("acl", "ccss", "cdr", "cel", "features", "indications", "manager", "pjproject", "udptl", "http")
_RTP_PORTS = 4096
_READY_S = 20.0


@contextlib.contextmanager
def asterisk(setting: Setting, way: str, folder: Path) -> Iterator[Subject]:
    """Start it, and its far end where the way has one. Raises ProgramFailed, also where there is none."""
    peer = peers.asterisk() or peers.Peer.installed("asterisk")
    if peer is None:
        raise ProgramFailed("no Asterisk: scripts/peers unpacks one into .cache")
    with contextlib.ExitStack() as running:
        far, far_port = None, 9
        if way != "echo":
            command = [sys.executable, "-m", "tests.bench.peers.far_end", "--speaks", way]
            far = running.enter_context(Pinned(command, setting.load_cores, folder / "far_end.log"))
            far_port = int(far.line(_READY_S)["port"])
        ports = Ports.free()
        _configure(peer, folder, ports, far_port)
        command = [*peer.command, "-C", str(folder / "asterisk.conf"), "-f"]
        pbx = running.enter_context(Pinned(command, [setting.service_core], folder / "asterisk.log"))
        _until_booted(peer, pbx, folder)
        yield Subject(pbx.pid, f"127.0.0.1:{ports.sip}", far, to=way, frames=lambda report: int(report["frames"]))


def version() -> str:
    """What it calls itself; empty where there is none."""
    peer = peers.asterisk() or peers.Peer.installed("asterisk")
    if peer is None:
        return ""
    return subprocess.run([*peer.command, "-V"], capture_output=True, text=True, check=False).stdout.strip()


def _configure(peer: Peer, folder: Path, ports: Ports, far_port: int) -> None:
    settings: dict[str, object] = {
        "FOLDER": folder,
        "MODULES": next(peer.root.glob("usr/lib/*/asterisk/modules"), ""),
        "DATA": peer.root / "usr/share/asterisk",
        "PORT": ports.sip,
        "RTP_FIRST": ports.rtp,
        "RTP_LAST": ports.rtp + _RTP_PORTS - 1,
        "FAR_PORT": far_port,
    }
    write_configuration(_CONFIGURATION, folder, settings)
    for name in _UNUSED:
        (folder / f"{name}.conf").write_text("[general]\n")
    (folder / "var" / "keys").mkdir(parents=True)


def _until_booted(peer: Peer, pbx: Pinned, folder: Path) -> None:
    console = [*peer.command, "-C", str(folder / "asterisk.conf"), "-rx", "core waitfullybooted"]
    deadline = time.monotonic() + _READY_S
    while time.monotonic() < deadline and pbx.runs:
        asked = subprocess.run(console, capture_output=True, text=True, timeout=_READY_S, check=False)
        if "fully booted" in asked.stdout:
            return
        time.sleep(0.1)
    raise ProgramFailed(pbx.last_words())
