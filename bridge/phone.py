"""A test phone in the box: dials, speaks, listens, and tells live what happens.

It is a leg turned around: a SIP call going out and one RTP stream, with a person's patience in place of a model.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from bridge.audio.g711 import Law, decode, encode
from bridge.audio.level import rms
from bridge.dialling import everywhere, ways
from bridge.legs.agreement import terms_of
from bridge.lines import Line, PhoneError
from bridge.media.pacer import Pacer
from bridge.media.ports import NoPort, PortPool
from bridge.media.stream import MediaStream
from bridge.sip import offer_answer
from bridge.sip.digest import Authenticator, Credentials
from bridge.sip.errors import SipError
from bridge.sip.layer import Path
from bridge.sip.outgoing import Failure, OutgoingCall
from bridge.sip.sdp import SessionDescription
from bridge.sip.tls import TlsError, TlsSettings
from bridge.sip.ua import UserAgent
from bridge.sip.uri import Uri, host_port
from bridge.tape import Tape

RTP_PORTS = (42000, 42998)
SPEECH_RMS = 250
"""Louder than this (of 32767) counts as speech; the silence of G.711 is below 10."""
SILENCE_S = 0.8
"""Quiet for so long: the other side has finished."""
FIRST_WORD_S = 6.0
"""How long to wait for the other side to begin."""
LINGER_S = 2.0
"""After the last word the other side may hang up first."""
NO_RTP_S = 5.0
GOODBYE_S = 2.0
"""How long the answer to our BYE may take."""


class Ear:
    """Hears when the other side begins and ends to speak."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.law = Law.PCMU
        self.speaking_since: float | None = None
        """Monotonic seconds; None while it is silent."""
        self.sentences = 0
        self._tell = tell
        self._last_loud = 0.0
        self._waiting: list[tuple[Callable[[float], bool], asyncio.Future[None]]] = []

    def hear(self, audio: bytes) -> None:
        """One frame."""
        now = time.monotonic()
        if rms(decode(audio, self.law)) > SPEECH_RMS:
            self._last_loud = now
            if self.speaking_since is None:
                self.speaking_since = now
                self.sentences += 1
                self._tell("the agent speaks")
        elif self.speaking_since is not None and now - self._last_loud > SILENCE_S:
            self._tell(f"the agent is silent, after {self._last_loud - self.speaking_since:.1f} s")
            self.speaking_since = None
        for condition, future in self._waiting:
            if not future.done() and condition(now):
                future.set_result(None)

    async def until(self, condition: Callable[[float], bool]) -> None:
        """Wait for a condition of (now), looked at with every frame."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (condition, future)
        self._waiting.append(entry)
        try:
            await future
        finally:
            self._waiting.remove(entry)


class Phone:
    """One outgoing call. `tell` gets each line for the screen.

    `tls` says whom to trust, `login` who we are when somebody asks.
    """

    def __init__(
        self,
        *,
        law: Law = Law.PCMU,
        tell: Callable[[str], None],
        tape: Tape | None = None,
        tls: TlsSettings | None = None,
        login: Credentials | None = None,
    ) -> None:
        self.answered = False
        self._tls = tls
        self._login = login
        self._law = law
        self._tell = tell
        self._tape = tape
        self._began = time.monotonic()
        self._ear = Ear(self._say)
        self._pacer = Pacer()
        self._stream: MediaStream | None = None
        self._takes_keys = False
        self._connected = asyncio.Event()
        self._over = asyncio.Event()
        self._drained = asyncio.Event()

    async def call(
        self,
        target: str,
        lines: Sequence[Line],
        *,
        digits: str = "",
        seconds: float,
        stop: asyncio.Event | None = None,
    ) -> bool:
        """The whole call; whether it was answered. `stop` hangs up. Raises PhoneError when it cannot be placed."""
        agent = UserAgent(listen=everywhere(), on_invite=lambda invitation: invitation.reject(486), tls=self._tls)
        try:
            await agent.start()
            going = self._dial(agent, target, await self._way(agent, target))
            await self._until_over(self._converse(lines, digits), seconds, stop or asyncio.Event())
            await self._hang_up(going)
        except TlsError as error:
            raise PhoneError(f"--{error.setting}: {error}") from error
        except (SipError, NoPort, OSError) as error:
            raise PhoneError(f"{target}: {error}: write it as sip:600@127.0.0.1:5060") from error
        finally:
            if self._stream is not None:
                self._stream.close()
            self._pacer.close()
            await agent.close()
        return self.answered

    async def _way(self, agent: UserAgent, target: str) -> Path:
        """Where the call will go first: its description must name an address of the same family."""
        paths = await ways(agent, Uri.parse(target))
        if not paths:
            raise PhoneError(f"{target}: no such server is known: write it as sip:600@127.0.0.1:5060")
        return paths[0]

    def _dial(self, agent: UserAgent, target: str, way: Path) -> OutgoingCall:
        self._host = way.peer[0]
        self._socket = PortPool(*RTP_PORTS).open("::" if ":" in self._host else "0.0.0.0")
        laws = sorted((law.value for law in Law), key=lambda name: name != self._law.value)
        self._offer = offer_answer.offer(
            agent.local_address_for(self._host),
            self._socket.getsockname()[1],
            [[name] for name in laws],
            session_id=secrets.randbits(31),
        )
        self._say(f"dialling {target} over {way.transport.name}, {host_port(*way.peer)}")
        login = self._login
        going = agent.invite(
            target,
            sdp=bytes(self._offer),
            caller=str(Uri.build(login.user, Uri.parse(target).host)) if login is not None else None,
            authenticator=Authenticator([login]) if login is not None else None,
        )
        going.on_ringing = lambda status: self._say("ringing" if status == 180 else f"progress {status}")
        going.on_answered = self._on_answered
        going.on_failed = self._on_failed
        going.on_ended = self._on_ended
        return going

    async def _until_over(self, conversation: Coroutine[None, None, None], seconds: float, stop: asyncio.Event) -> None:
        talking = asyncio.create_task(conversation)
        ends: list[asyncio.Task[Any]] = [asyncio.create_task(event.wait()) for event in (self._over, stop)]
        tasks = [talking, *ends]
        done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if not done:
            self._say("time is up")
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        if talking in done:
            talking.result()

    async def _hang_up(self, going: OutgoingCall) -> None:
        if self._over.is_set():
            return
        going.on_ended = lambda word: self._over.set()
        going.on_failed = lambda failure: self._over.set()
        going.hang_up()
        self._say("hung up")
        over = asyncio.create_task(self._over.wait())
        await asyncio.wait({over}, timeout=GOODBYE_S)
        over.cancel()

    # What the call says

    def _on_answered(self, answer: SessionDescription | None) -> None:
        try:
            agreed = offer_answer.accept(self._offer, answer) if answer is not None else None
        except SipError as error:
            self._say(f"answered with a description of no use: {error}")
            agreed = None
        if agreed is None:
            self._over.set()
            return
        self.answered = True
        law = self._law = self._ear.law = Law[agreed.codec]
        self._takes_keys = agreed.telephone_event is not None
        self._say(f"answered, {agreed.codec}")
        self._stream = MediaStream(
            sock=self._socket,
            pacer=self._pacer,
            terms=terms_of(agreed, self._host),
            signalling_host=self._host,
            on_audio=self._hear,
            on_digit=lambda digit: self._say(f"heard the key {digit}"),
            on_timeout=lambda: self._say(f"no RTP for {NO_RTP_S:g} s: is a firewall or NAT between?"),
            rtp_timeout_s=NO_RTP_S,
            lead_ms=0,
        )
        self._stream.playout.on_drained = self._drained.set
        if self._tape is not None:
            tape = self._tape
            self._stream.on_sent = lambda frame: tape.said(decode(frame, law))
        self._stream.start()
        self._connected.set()

    def _on_failed(self, failure: Failure) -> None:
        if failure.word == "unreachable":
            self._say(f"nobody answers at {self._host}: is it running, are port and transport right?")
        else:
            self._say(f"refused: {failure.status} {failure.phrase} ({failure.word})")
        self._over.set()

    def _on_ended(self, word: str) -> None:
        self._say("the other side hung up" if word == "bye" else f"the call ended: {word}")
        self._over.set()

    def _hear(self, audio: bytes) -> None:
        self._ear.hear(audio)
        if self._tape is not None:
            self._tape.heard(decode(audio, self._law))

    # The conversation

    async def _converse(self, lines: Sequence[Line], digits: str) -> None:
        await self._connected.wait()
        sentences = 0
        for line in lines:
            if line.interrupt_after_s is None:
                await self._agent_has_finished(sentences)
            else:
                await self._agent_has_spoken_for(line.interrupt_after_s)
            await self._speak(line)
            sentences = self._ear.sentences
        if digits:
            await self._agent_has_finished(sentences)
            sentences = self._ear.sentences
            await self._press(digits)
        if not lines and not digits:
            await asyncio.Event().wait()  # only listen, until the time is up or the other side hangs up
        await self._agent_has_finished(sentences)
        await asyncio.sleep(LINGER_S)

    async def _agent_has_finished(self, sentences: int) -> None:
        """The agent has said something since `sentences` and is silent, or says nothing for a while."""
        patience = time.monotonic() + FIRST_WORD_S

        def finished(now: float) -> bool:
            if self._ear.speaking_since is not None:
                return False
            return self._ear.sentences > sentences or now > patience

        await self._ear.until(finished)

    async def _agent_has_spoken_for(self, seconds: float) -> None:
        patience = time.monotonic() + FIRST_WORD_S + seconds

        def spoken(now: float) -> bool:
            since = self._ear.speaking_since
            return now > patience or (since is not None and now - since >= seconds)

        await self._ear.until(spoken)

    async def _speak(self, line: Line) -> None:
        assert self._stream is not None
        how = " (interrupting)" if line.interrupt_after_s is not None else ""
        self._say(f'the caller says{how}: "{line.words}"')
        self._drained.clear()
        item = secrets.token_hex(4)
        self._stream.playout.push(item, encode(line.pcm, self._law))
        self._stream.playout.end(item)
        await self._drained.wait()

    async def _press(self, digits: str) -> None:
        assert self._stream is not None
        if not self._takes_keys:
            self._say("the other side takes no telephone-events: the keys are not sent")
            return
        self._say(f"the caller presses {digits}")
        keypad = self._stream.keypad
        keypad.press(digits)
        await self._ear.until(lambda now: not keypad.busy)

    def _say(self, words: str) -> None:
        self._tell(f"{time.monotonic() - self._began:6.2f}  {words}")
