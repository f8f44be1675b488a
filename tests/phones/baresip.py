"""baresip without a sound card: says a WAV file, keeps what it hears as another, obeys over its control port.

What baresip 1.0.0 wants (measured): the WAV at the codec's own rate, for Opus in stereo; `net_interface` as an address;
as callee the account must carry the called user. It hangs up when the file ends, so the rig pads it to `seconds`.
"""

import asyncio
import json
import re
import shutil
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from . import wav
from .processes import NotReady, Program, free_port, free_port_range, free_signalling_port, taken

_MODULES = "/usr/lib/baresip/modules"
_CODECS = {"PCMU": "PCMU/8000/1", "PCMA": "PCMA/8000/1", "G722": "G722/16000/1", "opus": "opus/48000/2"}

_CONFIG = """\
poll_method epoll
sip_listen 127.0.0.1:{port}
net_interface 127.0.0.1
ctrl_tcp_listen 127.0.0.1:{control}
call_local_timeout 120
call_max_calls 4
audio_buffer 20-160
audio_source aufile,{folder}/say.wav
audio_player aubridge,null
audio_alert aubridge,alert
ausrc_format s16
auplay_format s16
auenc_format s16
audec_format s16
rtp_ports {media}-{media_last}
rtcp_mux {mux}
jitter_buffer_delay 1-5
snd_path {folder}
module_path {modules}
module g711.so
module g722.so
module opus.so
module sndfile.so
module aufile.so
module aubridge.so
module uuid.so
module srtp.so
module rtcpsummary.so
module_app account.so
module_app contact.so
module_app menu.so
module_app ctrl_tcp.so
"""


class Baresip(Program):
    """One softphone. `async with await Baresip.start(...) as phone: await phone.dial("sip:600@127.0.0.1:5060")`."""

    port: int
    """Its SIP port (UDP and TCP) at 127.0.0.1; TLS is at the next one."""
    rate: int
    """Of its sound, in Hz: that of its codec."""
    events: list[dict[str, Any]]
    """What it told over the control port: `type` is CALL_RINGING, CALL_ESTABLISHED, CALL_CLOSED ..."""
    _reader: asyncio.StreamReader
    _writer: asyncio.StreamWriter
    _listening: asyncio.Task[None]
    _arrived: asyncio.Event

    @classmethod
    async def start(
        cls,
        folder: Path,
        *,
        pcm: bytes = b"",
        seconds: float = 10.0,
        codec: str = "PCMU",
        offers: Sequence[str] = (),
        ptime_ms: int = 20,
        mux: bool = False,
        user: str = "baresip",
        transport: str = "udp",
        registrar: str = "",
        password: str = "",
        answer: str = "auto",
        encryption: str = "",
        outbound: str = "",
        trust: Path | None = None,
        certificate: Path | None = None,
    ) -> Self:
        """A phone that says `pcm` (16 bit, mono, of the codec's rate), then silence up to `seconds`.

        NotReady with its log. `codec` (PCMU, PCMA, G722, opus) is the one that will be agreed on, `offers` are all that
        it has (default: that one);
        `ptime_ms` is what it asks for and sends, `mux` lets it offer RTCP on the port of RTP.
        `registrar` ("host:port") makes it register as `user`; `answer` is auto or manual; `encryption` is srtp (when
        the other side has it too) or srtp-mand; `outbound` the URI of a proxy; `trust` the authority of its TLS,
        `certificate` its own with the key in one file.
        """
        account = f"answermode={answer};regint={60 if registrar else 0}"
        account += f";auth_user={user};auth_pass={password}" if password else ""
        account += f";mediaenc={encryption}" if encryption else ""
        account += f';outbound="{outbound}"' if outbound else ""
        port, control = _free_ports(), free_port(socket.SOCK_STREAM)
        uri = f"sip:{user}@{registrar or f'127.0.0.1:{port}'};transport={transport}"
        codecs = ",".join(_CODECS[name] for name in offers or (codec,))
        _prepare(folder, f"<{uri}>;audio_codecs={codecs};ptime={ptime_ms};{account}", port, control, mux)
        tls = {"sip_cafile": trust, "sip_certificate": certificate}
        with (folder / "config").open("a") as config:
            config.writelines(f"{name} {path}\n" for name, path in tls.items() if path)
        _, rate, channels = _CODECS[codec].split("/")
        wav.write(folder / "say.wav", pcm, seconds, rate=int(rate), channels=int(channels))
        phone = cls([shutil.which("baresip") or "baresip", "-4", "-s", "-f", str(folder)], folder)
        phone.port, phone.rate, phone.events, phone._arrived = port, int(rate), [], asyncio.Event()
        try:
            await phone._connect(control)
        except (NotReady, OSError):
            phone.stop()
            raise
        return phone

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listening.cancel()
        await asyncio.gather(self._listening, return_exceptions=True)
        self._writer.close()
        # It takes its leave of its registrar first, and that may live in this loop.
        await asyncio.to_thread(self.stop)

    async def _connect(self, control: int) -> None:
        await asyncio.to_thread(self.wait_for_port, control, socket.SOCK_STREAM)
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", control)
        self._listening = asyncio.ensure_future(self._listen())

    async def _listen(self) -> None:
        """Read netstrings of JSON for as long as the connection lasts."""
        try:
            while True:
                length = int((await self._reader.readuntil(b":"))[:-1])
                text = await self._reader.readexactly(length + 1)
                self.events.append(json.loads(text[:-1]))
                self._arrived.set()
        except (asyncio.IncompleteReadError, ConnectionError):
            return

    async def command(self, name: str, parameters: str = "") -> str:
        """Give a command of its menu (dial, hangup, hold, resume, sndcode, transfer ...); what it answers.

        RuntimeError when it refuses.
        """
        token = f"t{len(self.events)}"
        text = json.dumps({"command": name, "params": parameters, "token": token}).encode()
        self._writer.write(b"%d:%s," % (len(text), text))
        answer = await self._next(lambda event: event.get("token") == token, f"an answer to {name}", 5.0)
        if not answer.get("ok"):
            raise RuntimeError(f"baresip refused {name}: {answer.get('data', '').strip()}")
        return str(answer.get("data", "")).strip()

    async def event(self, kind: str, within: float = 10.0) -> dict[str, Any]:
        """Wait for the first event of that type (those of the past count too); TimeoutError tells the log."""
        return await self._next(lambda event: event.get("type") == kind, kind, within)

    async def registered(self, within: float = 10.0) -> None:
        """Wait until its registrar has accepted it. (The event may come before the control port is open.)"""
        async with asyncio.timeout(within):
            # Another process writes the log: there is no event to wait for.
            while not re.search(r"200 OK .*\d+ bindings?\]", self.said()):
                await asyncio.sleep(0.02)

    async def _next(self, wanted: Any, what: str, within: float) -> dict[str, Any]:
        try:
            async with asyncio.timeout(within):
                while not (found := [event for event in self.events if wanted(event)]):
                    self._arrived.clear()
                    await self._arrived.wait()
                return found[0]
        except TimeoutError:
            types = [event.get("type", "answer") for event in self.events]
            raise TimeoutError(f"baresip: no {what}; it told {types} and said: {self.said()}") from None

    async def dial(self, uri: str, within: float = 10.0) -> None:
        """Call and wait until it is answered."""
        await self.command("dial", _bare(uri))
        await self.event("CALL_ESTABLISHED", within)

    async def refused(self, uri: str, within: float = 10.0) -> str:
        """Call and wait until it is refused; status and phrase of the answer."""
        await self.command("dial", _bare(uri))
        return str((await self.event("CALL_CLOSED", within)).get("param", ""))

    async def press(self, digits: str, gap_s: float = 0.3) -> None:
        """Send keys as RFC 4733 events."""
        for digit in digits:
            await self.command("sndcode", digit)
            await asyncio.sleep(gap_s)

    def keys(self) -> str:
        """The keys that it has got, as often as it got each."""
        return "".join(event["param"] for event in self.events if event.get("type") == "CALL_DTMF_START")

    async def hold(self) -> None:
        """Put the call on hold (a re-INVITE with a=sendonly)."""
        await self.command("hold")

    async def resume(self) -> None:
        """Take it off hold."""
        await self.command("resume")

    async def transfer(self, uri: str) -> None:
        """Ask the other side to call `uri` in our place (REFER)."""
        await self.command("transfer", uri)

    async def hang_up(self) -> None:
        """End the call and wait until baresip has closed it."""
        await self.command("hangup")
        await self.event("CALL_CLOSED", 5.0)

    def heard(self) -> bytes:
        """16-bit mono PCM at `rate` of everything it has played out so far (whole files once the call is over)."""
        return b"".join(wav.read(path) for path in self._recordings("dec"))

    def _recordings(self, side: str) -> Sequence[Path]:
        return sorted(self.folder.glob(f"dump-*-{side}.wav"))


def _bare(uri: str) -> str:
    """Without a transport: it adds its account's own, and would send two."""
    return re.sub(r";transport=\w+", "", uri)


def _free_ports() -> int:
    """A port for UDP and TCP with the next one free for TLS."""
    for _ in range(100):
        if not taken((port := free_signalling_port()) + 1, socket.SOCK_STREAM):
            return port
    raise NotReady("no two ports in a row are free")


def _prepare(folder: Path, account: str, port: int, control: int, mux: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    media = free_port_range(8)
    config = _CONFIG.format(
        port=port,
        control=control,
        media=media,
        media_last=media + 7,
        mux="yes" if mux else "no",
        folder=folder,
        modules=_MODULES,
    )
    (folder / "config").write_text(config)
    (folder / "accounts").write_text(account + "\n")
    (folder / "contacts").write_text("")
