"""linphone without a sound card: says a WAV file again and again, keeps what it hears, obeys at its terminal.

What linphonec 5.1.65 wants (measured): the folder .local/share/linphone in its home, else it has no SIP port at all;
a bind address for SIP and for RTP, else its description offers another interface; over TLS it may ask at its terminal
for the password of a key and takes the next line for it. Its TLS library does not know addresses in certificates, so it
checks who signed, not the name.
"""

import asyncio
import contextlib
import os
import re
import shutil
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from . import wav
from .processes import NotReady, Program, free_port, free_port_range, free_signalling_port

_SETTINGS = """\
[sip]
sip_port={port}
sip_tcp_port={port}
sip_tls_port={tls_port}
bind_address=127.0.0.1
contact=sip:{user}@127.0.0.1
guess_hostname=0
use_ipv6=0
use_info={info}
use_rfc2833={rfc2833}
media_encryption={encryption}
media_encryption_mandatory={mandatory}
verify_server_certs={verify}
verify_server_cn=0
root_ca={trust}
default_proxy={proxy}
[rtp]
bind_address=127.0.0.1
audio_rtp_port={media}-{media_last}
rtcp_mux={mux}
[sound]
echocancellation=0
local_ring=
[video]
enabled=0
capture=0
display=0
automatically_initiate=0
automatically_accept=0
"""

_CODEC = """\
[audio_codec_{place}]
mime={name}
rate={rate}
channels={channels}
enabled={enabled}
"""

_CODECS = {
    "opus": (48000, 2),
    "G722": (8000, 1),
    "PCMU": (8000, 1),
    "PCMA": (8000, 1),
    "speex": (16000, 1),
    "GSM": (8000, 1),
    "G729": (8000, 1),
}
"""Those that it knows: what is not in its settings it would offer by itself."""

_ACCOUNT = """\
[proxy_0]
reg_proxy=<sip:{registrar};transport={transport}>
reg_identity=sip:{user}@{registrar}
reg_expires=300
reg_sendregister=1
publish=0
[auth_info_0]
username={user}
passwd={password}
realm={realm}
"""


class Linphone(Program):
    """One softphone. `async with await Linphone.start(...) as phone: await phone.dial("sip:600@127.0.0.1:5060")`."""

    port: int
    """SIP over UDP and TCP at 127.0.0.1."""
    tls_port: int

    @classmethod
    async def start(
        cls,
        folder: Path,
        *,
        pcm: bytes = b"",
        seconds: float = 10.0,
        user: str = "linphone",
        transport: str = "udp",
        registrar: str = "",
        password: str = "",
        realm: str = "",
        encryption: str = "none",
        keys: str = "rtpevent",
        trust: Path | None = None,
        answer: bool = False,
        codecs: Sequence[str] = (),
        rate: int = 8000,
        mux: bool = False,
    ) -> Self:
        """A phone that says `pcm` (16 bit, mono, of that `rate`), then silence up to `seconds`, again and again.

        `codecs` are all that it offers (opus, G722, PCMU, PCMA; default: what it likes); `mux`: RTCP comes on the port
        of RTP.
        `registrar` ("host:port") makes it register as `user`; `encryption` is none or srtp (then it insists on it);
        `keys` is rtpevent or info; `trust` the authority of its TLS. NotReady with its log.
        """
        port, tls_port, media = free_signalling_port(), free_port(socket.SOCK_STREAM), free_port_range(8)
        (folder / ".local/share/linphone").mkdir(parents=True)
        settings = _SETTINGS.format(
            port=port,
            tls_port=tls_port if transport == "tls" else -1,
            user=user,
            info=int(keys == "info"),
            rfc2833=int(keys != "info"),
            encryption=encryption,
            mandatory=int(encryption != "none"),
            verify=int(trust is not None),
            trust=trust or "",
            proxy=0 if registrar else -1,
            media=media,
            media_last=media + 7,
            mux=int(mux),
        )
        if codecs:
            settings += _offering(codecs)
        if registrar:
            settings += _ACCOUNT.format(
                registrar=registrar, transport=transport, user=user, password=password, realm=realm
            )
        (folder / "settings").write_text(settings)
        wav.write(folder / "say.wav", pcm, seconds, rate=rate)
        command = [shutil.which("linphonec") or "linphonec", "-c", "settings", "-d", "6", "-l", "trace.log"]
        home = dict(os.environ) | {"HOME": str(folder)}
        phone = cls([*command, *(["-a"] if answer else [])], folder, environment=home, typing=True)
        phone.port, phone.tls_port = port, tls_port
        try:
            await asyncio.to_thread(phone.wait_for_port, port)
        except NotReady:
            phone.stop()
            raise
        phone.type("soundcard use files")
        phone.type(f"play {folder / 'say.wav'}")
        phone.type(f"record {folder / 'heard.wav'}")
        return phone

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        with contextlib.suppress(BrokenPipeError, TimeoutError):
            self.type("quit")
            await self.ended(3.0)
        await asyncio.to_thread(self.stop)

    async def registered(self, within: float = 10.0) -> None:
        """Wait until its registrar has accepted it."""
        await self.traces("to \\[LinphoneRegistrationOk\\]", within)

    async def traces(self, pattern: str, within: float = 10.0) -> None:
        """Wait until its own trace matches, which says more than its terminal."""
        deadline = time.monotonic() + within
        while not re.search(pattern, self._trace()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"it never traced {pattern!r}: {self.said()}")
            await asyncio.sleep(0.05)

    def _trace(self) -> str:
        return (self.folder / "trace.log").read_text("utf-8", "replace")

    async def dial(self, uri: str, within: float = 10.0, *, call: int = 1) -> None:
        """Call and wait until it is answered and sound flows. `call`: the how many-th call of this phone it is."""
        self.type(f"call {uri}")
        await self.says(rf"Media streams established with .* for call {call}\b", within)

    async def refused(self, uri: str, within: float = 10.0) -> str:
        """Call and wait until it is refused; status and phrase of the last answer."""
        self.type(f"call {uri}")
        await self.says(r"Call \d+ with .* (error|ended)", within)
        return re.findall(r"SIP/2.0 ([3-6]\d\d [^\r\n]*)", (self.folder / "trace.log").read_text("utf-8", "replace"))[
            -1
        ]

    async def press(self, digits: str) -> None:
        """Send keys."""
        for digit in digits:
            self.type(digit)
            await asyncio.sleep(0.5)

    def keys(self) -> str:
        """The keys that it has got, as often as it got each."""
        return "".join(re.findall(r"Receiving tone (\S) from", self.output()))

    async def hang_up(self) -> None:
        """End the call and wait until linphone has closed it."""
        self.type("terminate")
        await self.says(r"Call \d+ with .* ended", 5.0)

    def heard(self) -> bytes:
        """16-bit mono PCM of what it has played out so far."""
        return wav.read(self.folder / "heard.wav")

    @property
    def heard_rate(self) -> int:
        """Of that, in Hz: it takes the codec's."""
        return wav.rate(self.folder / "heard.wav")


def _offering(codecs: Sequence[str]) -> str:
    """The settings for these and no others; the three rates of speex count as one each."""
    rows = [(name, *_CODECS[name], 1) for name in codecs]
    rows += [(name, *kind, 0) for name, kind in _CODECS.items() if name not in codecs]
    rows += [("speex", rate, 1, 0) for rate in (8000, 32000)]
    return "".join(
        _CODEC.format(place=place, name=name, rate=rate, channels=channels, enabled=enabled)
        for place, (name, rate, channels, enabled) in enumerate(rows)
    )
