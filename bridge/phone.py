"""A test phone in the box: dials, speaks, listens, and tells live what happens.

It is a leg turned around: a SIP call going out and one RTP stream, with a tape in place of a model.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bridge.audio import wav
from bridge.audio.g711 import Law, decode, encode
from bridge.audio.level import rms
from bridge.audio.resample import Resampler
from bridge.media.pacer import Pacer
from bridge.media.ports import PortPool
from bridge.media.stream import MediaStream
from bridge.sip import offer_answer
from bridge.sip.errors import SipError
from bridge.sip.sdp import SessionDescription
from bridge.sip.ua import ListenAddress, OutgoingCall, UserAgent

RTP_PORTS = (42000, 42998)
RATE = 8000
SPEECH_RMS = 250
"""Louder than this counts as speech; line silence of G.711 is below 10."""
SILENCE_S = 0.8
"""Quiet for so long: the other side has finished."""
FIRST_WORD_S = 6.0
"""How long to wait for the other side to begin."""
AFTER_LAST_S = 3.0


class PhoneError(Exception):
    """The call cannot be placed; the text says why."""


@dataclass(frozen=True, slots=True)
class Line:
    """Something to say: `pcm` is s16le at 8000 Hz; `words` is what the screen shows."""

    words: str
    pcm: bytes
    interrupt_after_s: float | None = None
    """Speak when the other side has spoken for so long; None: when it is silent."""


class Ear:
    """Hears when the other side begins and ends to speak."""

    def __init__(self, law: Law, tell: Callable[[str], None]) -> None:
        self.speaking_since: float | None = None
        """When the speech began (monotonic seconds); None while it is silent."""
        self.silent_since = time.monotonic()
        self.has_spoken = False
        self._law = law
        self._tell = tell
        self._last_loud = 0.0

    def hear(self, audio: bytes) -> None:
        """One frame."""
        now = time.monotonic()
        if rms(decode(audio, self._law)) > SPEECH_RMS:
            self._last_loud = now
            if self.speaking_since is None:
                self.speaking_since = now
                self.has_spoken = True
                self._tell("agent speaks")
        elif self.speaking_since is not None and now - self._last_loud > SILENCE_S:
            self._tell(f"agent is silent (spoke {self._last_loud - self.speaking_since:.1f} s)")
            self.speaking_since, self.silent_since = None, self._last_loud


class Phone:
    """One outgoing call."""

    def __init__(self, *, law: Law = Law.PCMU, tell: Callable[[str], None], tape: Tape | None = None) -> None:
        self.ear = Ear(law, self._say)
        self.answered = False
        self._law = law
        self._tell_line = tell
        self._tape = tape
        self._began = time.monotonic()
        self._pacer = Pacer()
        self._socket = PortPool(*RTP_PORTS).open("0.0.0.0")
        self._stream: MediaStream | None = None
        self._over = asyncio.Event()
        self._talking = asyncio.Event()
        self._drained = asyncio.Event()
        self._failure = ""

    async def call(self, target: str, lines: Sequence[Line], *, digits: str = "", seconds: float) -> bool:
        """The whole call; whether it was answered. Raises PhoneError when it cannot be placed at all."""
        agent = UserAgent(listen=[ListenAddress("udp", "0.0.0.0", 0)], on_invite=_busy)
        await agent.start()
        try:
            going = self._dial(agent, target)
            async with asyncio.timeout(seconds):
                await self._converse(lines, digits)
        except TimeoutError:
            self._say("time is up")
        except SipError as error:
            raise PhoneError(f"{target}: {error}: write it as sip:600@127.0.0.1:5060") from error
        finally:
            if self._stream is not None:
                self._stream.close()
            self._socket.close()
            self._pacer.close()
            if not self._over.is_set() and "going" in locals():
                going.hang_up()
                self._say("hung up")
                await asyncio.sleep(0.2)
            await agent.close()
        return self.answered

    def _dial(self, agent: UserAgent, target: str) -> OutgoingCall:
        self._say(f"dialling {target}")
        port = self._socket.getsockname()[1]
        other = Law.PCMA if self._law is Law.PCMU else Law.PCMU
        host = agent.local_address_for(_host_of(target))
        self._offer = offer_answer.offer(
            host, port, (self._law.payload_type, other.payload_type), session_id=secrets.randbits(31)
        )
        going = agent.invite(target, sdp=bytes(self._offer))
        going.on_ringing = lambda status: self._say("ringing" if status == 180 else f"progress {status}")
        going.on_answered = lambda answer: self._on_answered(answer, _host_of(target))
        going.on_failed = self._on_failed
        going.on_ended = self._on_ended
        return going

    def _on_answered(self, answer: SessionDescription, host: str) -> None:
        agreed = offer_answer.accept(self._offer, answer)
        self._law = self.ear._law = Law[agreed.codec]
        self._say(f"answered, {agreed.codec}")
        self.answered = True
        self._events = agreed.telephone_event
        self._stream = MediaStream(
            sock=self._socket,
            pacer=self._pacer,
            law=self._law,
            remote=(agreed.remote_host, agreed.remote_port),
            signalling_host=host,
            event_payload_type=agreed.telephone_event,
            on_audio=self._hear,
            on_digit=lambda digit: None,
            on_timeout=lambda: self._say("no RTP arrives"),
            rtp_timeout_s=5,
        )
        self._stream.playout.on_drained = self._drained.set
        if self._tape is not None:
            tape, law = self._tape, self._law
            self._stream.on_sent = lambda frame: tape.said(decode(frame, law))
        self._stream.start()
        self._talking.set()

    def _on_failed(self, status: int, phrase: str) -> None:
        self._say(f"refused: {status} {phrase}")
        self._over.set()

    def _on_ended(self, word: str) -> None:
        self._say(f"the other side ended the call ({word})")
        self._over.set()

    def _hear(self, audio: bytes) -> None:
        self.ear.hear(audio)
        if self._tape is not None:
            self._tape.heard(decode(audio, self._law))

    # The conversation

    async def _converse(self, lines: Sequence[Line], digits: str) -> None:
        talk = asyncio.create_task(self._talk(lines, digits))
        over = asyncio.create_task(self._over.wait())
        try:
            await asyncio.wait({talk, over}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            talk.cancel()
            over.cancel()
            await asyncio.wait({talk, over})

    async def _talk(self, lines: Sequence[Line], digits: str) -> None:
        await self._talking.wait()
        for line in lines:
            if line.interrupt_after_s is None:
                await self._agent_has_finished()
            else:
                await self._agent_has_spoken(line.interrupt_after_s)
            await self._speak(line)
        for digit in digits:
            await self._agent_has_finished()
            await self._press(digit)
        if not lines and not digits:
            await asyncio.Event().wait()  # listen until the time is up or the other side hangs up
        await self._agent_has_finished()
        await asyncio.sleep(AFTER_LAST_S)

    async def _agent_has_finished(self) -> None:
        began = time.monotonic()
        self.ear.has_spoken = self.ear.speaking_since is not None
        while self.ear.speaking_since is not None or (
            not self.ear.has_spoken and time.monotonic() - began < FIRST_WORD_S
        ):
            await asyncio.sleep(0.02)

    async def _agent_has_spoken(self, seconds: float) -> None:
        began = time.monotonic()
        while time.monotonic() - began < FIRST_WORD_S + seconds:
            since = self.ear.speaking_since
            if since is not None and time.monotonic() - since >= seconds:
                return
            await asyncio.sleep(0.02)

    async def _speak(self, line: Line) -> None:
        assert self._stream is not None
        self._say(f'caller: "{line.words}"' + (" (interrupting)" if line.interrupt_after_s is not None else ""))
        self._drained.clear()
        item = secrets.token_hex(4)
        self._stream.playout.push(item, encode(line.pcm, self._law))
        self._stream.playout.end(item)
        await self._drained.wait()

    async def _press(self, digit: str) -> None:
        assert self._stream is not None
        if self._events is None:
            self._say("the other side takes no telephone-events: the key is not sent")
            return
        self._say(f"key {digit}")
        self._stream.send_digit(digit)
        await asyncio.sleep(0.3)

    def _say(self, words: str) -> None:
        self._tell_line(f"{time.monotonic() - self._began:6.2f}  {words}")


class Tape:
    """Keeps a call as a WAV file of 8000 Hz: what was heard, or with `stereo` left the caller, right the agent."""

    def __init__(self, path: Path, *, stereo: bool = False) -> None:
        self._stereo = stereo
        self._writer = wav.WavWriter(path, RATE, 2 if stereo else 1)
        self._said = bytearray()
        self._heard = bytearray()

    def said(self, pcm: bytes) -> None:
        """What the phone sent."""
        if self._stereo:
            self._said += pcm
            self._write()

    def heard(self, pcm: bytes) -> None:
        """What the phone received."""
        if not self._stereo:
            self._writer.write(pcm)
            return
        self._heard += pcm
        self._write()

    def close(self) -> None:
        """Complete the file; the longer channel decides its length."""
        length = max(len(self._said), len(self._heard))
        self._said = self._said.ljust(length, b"\0")
        self._heard = self._heard.ljust(length, b"\0")
        self._write()
        self._writer.close()

    def _write(self) -> None:
        length = min(len(self._said), len(self._heard))
        frames = bytearray(2 * length)
        for channel, track in enumerate((self._said, self._heard)):
            for byte in (0, 1):
                frames[2 * channel + byte :: 4] = track[byte:length:2]
            del track[:length]
        self._writer.write(bytes(frames))


async def place_call(
    uri: str,
    *,
    say: Sequence[str],
    wavs: Sequence[Path],
    digits: str,
    keep: Path | None,
    seconds: float,
    law: str,
    interrupt_after_s: float | None,
    tell: Callable[[str], None],
) -> bool:
    """`sipbridge call`: whether it was answered. Raises PhoneError."""
    if law.upper() not in Law.__members__:
        raise PhoneError(f"--law {law}: use pcmu or pcma")
    lines = [await synthesized(text) for text in say] + [recorded(path) for path in wavs]
    if interrupt_after_s is not None:
        lines[1:] = [Line(line.words, line.pcm, interrupt_after_s) for line in lines[1:]]
    tape = Tape(keep) if keep else None
    try:
        phone = Phone(law=Law[law.upper()], tell=tell, tape=tape)
        return await phone.call(uri, lines, digits=digits, seconds=seconds)
    finally:
        if tape is not None:
            tape.close()
            tell(f"        kept {keep}")


def recorded(path: Path) -> Line:
    """A line from a WAV file, brought to 8000 Hz mono. Raises PhoneError."""
    try:
        sound = wav.mono(wav.read(path))
    except (OSError, ValueError) as error:
        raise PhoneError(f"{path}: {error}") from error
    if sound.rate == RATE:
        return Line(path.name, sound.pcm)
    return Line(path.name, Resampler(sound.rate, RATE).process(sound.pcm, last=True))


def _busy(invitation: object) -> None:
    """A test phone takes no calls; a stray INVITE is refused."""
    reject = getattr(invitation, "reject")  # noqa: B009
    reject(486)


def _host_of(target: str) -> str:
    from bridge.sip.uri import Uri

    return Uri.parse(target).host
