"""A real Asterisk 22 as a small PBX on loopback: phones, a trunk to the service, an account for it to register at.

Its configuration lies in `pbx/`. What the extensions do:

    20X  the phones, 201 and 202          700  the account `agent`, at which the service may register
    600  the service over UDP             601  over TCP            602  over TLS      603  over TLS with SRTP
    610  hold goes through as re-INVITE   630  REFER is refused
    800  1000 Hz   801  echo   802  busy   803  reads four keys   804  rings and rings
    805  says what `speaks` was given, and keeps what it hears for `heard`
"""

import asyncio
import re
import socket
import subprocess
from pathlib import Path
from typing import Self

from .certificates import Authority
from .peers import Peer
from .processes import NotReady, Program, free_port, free_port_range, free_signalling_port

PASSWORD = "secret"
MILLIWATT = bytes.fromhex("1e0b0b1e9e8b8b9e")
"""One period of the 1000 Hz of extension 800 in µ-law; the tone is these bytes again and again."""
MUSIC = bytes.fromhex("2131415161718191")
"""One period of the music on hold in µ-law."""

_CONFIGURATION = Path(__file__).parent / "pbx"
_RTP_PORTS = 100
_WITHOUT_SETTINGS = ("acl", "ccss", "cdr", "cel", "features", "indications", "manager", "pjproject", "udptl")
"""Files that it complains about when they are missing."""


class Asterisk(Program):
    """A running PBX. `with Asterisk.start(...) as pbx: await pbx.cli("core show channels")`."""

    port: int
    """SIP over UDP and TCP at 127.0.0.1."""
    tls_port: int
    mark: int
    """Where in its log the calls that `serve` or `originate` prepared begin."""
    _peer: Peer

    @classmethod
    def start(cls, peer: Peer, folder: Path, authority: Authority) -> Self:
        """Start it and wait until it takes calls. NotReady with its log when it does not."""
        port, tls_port, rtp = free_signalling_port(), free_port(socket.SOCK_STREAM), free_port_range(_RTP_PORTS)
        certificate = authority.issue("asterisk")
        settings = {
            "FOLDER": folder,
            "MODULES": next(peer.root.glob("usr/lib/*/asterisk/modules"), ""),
            "DATA": peer.root / "usr/share/asterisk",
            "PORT": port,
            "TLS_PORT": tls_port,
            "RTP_FIRST": rtp,
            "RTP_LAST": rtp + _RTP_PORTS - 1,
            "PASSWORD": PASSWORD,
            "CERTIFICATE": certificate.certificate,
            "KEY": certificate.key,
            "CA": authority.certificate,
        }
        write_configuration(_CONFIGURATION, folder, settings)
        for name in _WITHOUT_SETTINGS:
            (folder / f"{name}.conf").write_text("[general]\n")
        (folder / "var" / "keys").mkdir(parents=True)
        (folder / "music").mkdir()
        (folder / "music" / "tone.ulaw").write_bytes(MUSIC * 5000)
        pbx = cls([*peer.command, "-C", str(folder / "asterisk.conf"), "-f"], folder)
        pbx.port, pbx.tls_port, pbx._peer = port, tls_port, peer
        try:
            pbx.wait_for_port(port)
            pbx.run("core waitfullybooted")
        except (NotReady, subprocess.SubprocessError) as error:
            pbx.stop()
            raise NotReady(f"{error}\n{pbx.said()}") from None
        pbx.log, pbx.mark = folder / "pbx.log", 0
        return pbx

    async def cli(self, command: str) -> str:
        """What it answers to a command of its console."""
        return await asyncio.to_thread(self.run, command)

    def run(self, command: str) -> str:
        """The same, without a loop."""
        console = [*self._peer.command, "-C", str(self.folder / "asterisk.conf"), "-rx", command]
        return subprocess.run(console, capture_output=True, text=True, timeout=15, check=False).stdout

    async def serve(self, *, port: int, tls_port: int = 0) -> None:
        """Let the extensions 6XX lead to a service at 127.0.0.1."""
        self.mark = len(self.output())
        await self.cli(f"dialplan set global SERVICE 127.0.0.1:{port}")
        await self.cli(f"dialplan set global SERVICE_TLS 127.0.0.1:{tls_port}")

    async def originate(self, endpoint: str, uri: str, extension: str) -> None:
        """Call `uri` as the trunk `endpoint`; once it answers, our side is `extension`. Comes back at once."""
        self.mark = len(self.output())
        await self.cli(f"channel originate PJSIP/{endpoint}/{uri} extension {extension}@phones")

    def speaks(self, pcm: bytes) -> None:
        """What extension 805 says: 16-bit PCM at 16000 Hz."""
        (self.folder / "heard.sln16").unlink(missing_ok=True)
        (self.folder / "say.sln16").write_bytes(pcm)

    def heard(self) -> bytes:
        """What extension 805 has heard: 16-bit PCM at 16000 Hz."""
        return (self.folder / "heard.sln16").read_bytes()

    async def rtcp(self, within: float = 5.0) -> dict[str, float]:
        """What its RTCP knew of the last call at its end: txcount, rxcount, lp, rlp, rxjitter, txjitter (s), rtt ..."""
        found = await self.says(r"app_verbose\.c: rtcp of the call: (\S+)", within, after=self.mark)
        pairs = (pair.partition("=") for pair in found[1].split(";") if pair)
        return {name: float(value) for name, _, value in pairs}

    async def channels(self) -> int:
        """How many channels there are."""
        found = re.search(r"(\d+) active channels?", await self.cli("core show channels count"))
        return int(found[1]) if found else 0

    async def hang_up_all(self) -> None:
        """End every call."""
        await self.cli("channel request hangup all")

    async def hang_up(self, endpoint: str, *, application: str) -> None:
        """End the calls of an endpoint that are in an application of the dial plan."""
        for line in (await self.cli("core show channels concise")).splitlines():
            fields = line.split("!")
            if fields[0].startswith(f"PJSIP/{endpoint}-") and fields[5] == application:
                await self.cli(f"channel request hangup {fields[0]}")

    def requests(self, method: str, *, after: int = 0) -> int:
        """How many such requests it has received, as its log tells (from the character `after` on)."""
        return len(re.findall(rf"<--- Received SIP request .*\n{method} ", self.output()[after:]))

    async def until_quiet(self, within: float = 10.0) -> None:
        """Wait until no call is left; TimeoutError after `within` seconds."""
        async with asyncio.timeout(within):
            # Another process ends them: there is no event to wait for.
            while await self.channels():
                await asyncio.sleep(0.05)

    async def contacts_of(self, account: str) -> list[str]:
        """The Contacts that are registered for an account now."""
        return re.findall(rf"Contact:\s+{account}/(\S+)", await self.cli("pjsip show contacts"))

    async def contact_of(self, account: str, within: float = 10.0) -> str:
        """The Contact that somebody has registered for an account, once there is one."""
        async with asyncio.timeout(within):
            while not (found := await self.contacts_of(account)):
                await asyncio.sleep(0.1)
        return found[0]

    def uri(self, extension: str, transport: str = "udp") -> str:
        """Where an extension is reached."""
        port = self.tls_port if transport == "tls" else self.port
        return f"sip:{extension}@127.0.0.1:{port};transport={transport}"


def write_configuration(source: Path, folder: Path, settings: dict[str, object]) -> None:
    """Copy every file of `source` into `folder`, each @NAME@ replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in source.iterdir():
        text = re.sub(r"@([A-Z_]+)@", lambda found: str(settings[found[1]]), path.read_text())
        (folder / path.name).write_text(text)
