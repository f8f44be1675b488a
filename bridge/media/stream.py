"""The media of one call: the caller's audio and keys come up, the model's audio goes down on the slot clock."""

import secrets
import socket
import time
from collections.abc import Callable
from dataclasses import replace

from bridge.audio.g711 import Law, silence, translation
from bridge.media import dtmf
from bridge.media.dtmf import DtmfReceiver
from bridge.media.endpoint import RtpEndpoint
from bridge.media.jitter import JitterBuffer
from bridge.media.keypad import Keypad
from bridge.media.pacer import Handle, SlotClock
from bridge.media.playout import Playout
from bridge.media.rtp import RtpPacket, RtpWriter
from bridge.media.source import SourceLatch
from bridge.media.srtp import Keys, Opener, Sealer
from bridge.media.stats import MediaStats
from bridge.media.terms import Direction, Terms

COMFORT_NOISE = 13
"""Static payload type of RFC 3389: the caller's phone says that it is silent."""
FRAME = 160
NOWHERE = ("0.0.0.0", "::")


class MediaStream:
    """RTP of one call on one socket, which it owns and closes; protected when the terms have keys.

    From `start` to `close` one packet leaves per slot, silence between talkspurts. `on_audio` gets the caller's
    G.711 in order, concealment and silence included, mostly one packet's payload at a time; it also gets what
    comes while we are on hold (`recvonly`: look at `direction`). `on_digit` gets one key at a time. `on_timeout`
    is called once when nothing valid came for `rtp_timeout_s` (0: never); hold does not count. `on_fault` is
    called when a slot raised: the stream has then lost its clock, and the call is over.
    """

    def __init__(
        self,
        *,
        sock: socket.socket,
        pacer: SlotClock,
        terms: Terms,
        signalling_host: str,
        on_audio: Callable[[bytes], None],
        on_digit: Callable[[str], None],
        on_timeout: Callable[[], None],
        on_fault: Callable[[Exception], None] | None = None,
        rtp_timeout_s: float = 30,
        lead_ms: int = 60,
        jitter_ms: float = 60,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.terms = terms
        """What holds now."""
        self.direction: Direction = terms.direction
        self.playout = Playout(lead_ms=lead_ms, law=terms.law)
        self._jitter = JitterBuffer(terms.law, jitter_ms)
        self.stats = MediaStats(self._jitter, self.playout)
        self._pacer = pacer
        self._on_audio = on_audio
        self._on_digit = on_digit
        self._on_timeout = on_timeout
        self._on_fault = on_fault
        self._timeout = rtp_timeout_s
        self._clock = clock
        self._dtmf = DtmfReceiver()
        self.permitted = True
        """Whether audio may leave. False until the other side has shown that it is there; the playout waits."""
        self.on_sent: Callable[[bytes], None] | None = None
        """Gets the payload of each audio frame that left, for a recording."""
        self.keypad = Keypad(terms.event_payload_type)
        # The lower half of the sequence numbers: so soon nobody wonders how often they have wrapped (RFC 3711 3.3.1).
        self._writer = RtpWriter(secrets.randbits(32), secrets.randbits(15), secrets.randbits(32))
        self._talking = False  # whether the last slot carried the model's audio
        self._started = False
        self._heard_at: float | None = None  # while the time-out does not count
        self._handle: Handle | None = None  # while not on the clock
        self._laws: dict[int, Law] = {}  # of every payload type of audio that was ever agreed on
        latch = SourceLatch(terms.remote, signalling_host, frozenset())
        self._endpoint = RtpEndpoint(sock, latch, self.stats, clock, self._receive)
        self._opener: Opener | None = None
        self._sealer: Sealer | None = None
        self._adopt(terms, None)

    @property
    def remote(self) -> tuple[str, int]:
        """Where our packets go now."""
        return self._endpoint.latch.destination

    def start(self) -> None:
        """Receive and send from now on; needs a running loop. Started again, as by an answer after early media, the
        time-out alone begins anew."""
        self._heard_at = self._clock()
        if self._handle is None:
            self._endpoint.start()
            self._handle = self._pacer.add(self._tick, self._on_fault)

    @property
    def law(self) -> Law:
        """The law of the audio up and down."""
        return self.terms.law

    def follow(self, terms: Terms) -> None:
        """Follow a re-INVITE: another place, direction, law, payload type or key; SSRC, numbers and time go on.

        Unless we may send, nothing leaves and the model's audio waits where it is. Terms that change nothing, as of
        a refresh of the session, disturb nothing.
        """
        previous, self.terms = self.terms, terms
        if terms == previous:
            return
        self._endpoint.latch.retarget(terms.remote)
        self.direction = terms.direction
        self.playout.change_law(terms.law)
        self._jitter.change_law(terms.law)
        self._adopt(terms, previous.keys)
        self._talking = False
        self._jitter.suspend()
        self._heard_at = self._clock()

    def retarget(self, remote: tuple[str, int], *, direction: Direction = "sendrecv") -> None:
        """Follow a re-INVITE that changed no more than the place and the direction."""
        self.follow(replace(self.terms, remote=remote, direction=direction))

    def _adopt(self, terms: Terms, keys: Keys | None) -> None:
        """Payload types and keys of these terms; `keys` are those of before."""
        self._silence = silence(FRAME, terms.law)
        self._payload_type = terms.sends_as
        self._receive_payload_type = terms.receives_as
        self._event_payload_type = terms.receive_event_payload_type
        self.keypad.retype(terms.event_payload_type)
        # What was agreed on before is still under way (RFC 3264 section 8.3.2).
        self._laws |= {terms.receives_as: terms.law, **terms.also_receives}
        accepted = {*self._laws, COMFORT_NOISE, terms.receive_event_payload_type}
        self._endpoint.latch.payload_types = frozenset(number for number in accepted if number is not None)
        self._protect(terms.keys, keys)

    def _protect(self, keys: Keys | None, previous: Keys | None) -> None:
        """New keys begin new contexts; the same ones go on counting their packets."""
        suite = previous.suite if previous is not None else None
        if keys is None:
            self._opener = self._sealer = None
        else:
            if previous is None or (suite, previous.receive) != (keys.suite, keys.receive):
                self._opener = Opener(keys.suite, keys.receive)
            if previous is None or (suite, previous.send) != (keys.suite, keys.send):
                self._sealer = Sealer(keys.suite, keys.send)
        self._endpoint.protect(self._opener, self._sealer)

    def permit(self) -> None:
        """The other side is there: audio may leave, and its silence counts from now."""
        if not self.permitted:
            self.permitted = True
            self._heard_at = self._clock()

    def close(self) -> None:
        """Leave the clock and close the socket; a second call does nothing."""
        if self._handle is not None:
            self._pacer.remove(self._handle)
            self._handle = None
        self._endpoint.close()

    def _receive(self, packet: RtpPacket, now: float) -> None:
        if self.direction not in ("sendrecv", "recvonly"):
            self.stats.drop("direction")
            return
        self.permit()
        self._heard_at = now
        if packet.payload_type == self._receive_payload_type:
            for audio in self._jitter.put(packet, now):
                self._on_audio(audio)
        elif packet.payload_type == self._event_payload_type:
            self._receive_event(packet, now)
        elif packet.payload_type == COMFORT_NOISE:
            self._hand_up(self._jitter.put_silent(packet, 0, now))
        else:
            self._receive_other(packet, now)

    def _receive_other(self, packet: RtpPacket, now: float) -> None:
        """Audio of another payload type than the usual one, perhaps of the other law."""
        law = self._laws.get(packet.payload_type)
        if law is None:
            self.stats.drop("payload_type")
            return
        table = translation(law, self.law)
        audio = packet.payload if table is None else packet.payload.translate(table)
        self._hand_up(self._jitter.put(packet._replace(payload=audio), now))

    def _receive_event(self, packet: RtpPacket, now: float) -> None:
        event = dtmf.parse(packet.payload)
        self._hand_up(self._jitter.put_silent(packet, event.duration if event else 0, now))
        self._hand_up_digits(self._dtmf.receive(packet, now))

    def _tick(self, now: float, missed: int) -> None:
        """One slot of 20 ms: first what must leave on time, then what may wait some microseconds."""
        if missed:
            self.stats.skipped += missed
            self._writer.skip(missed * FRAME)
        if self._may_send():
            self._send_slot()
        else:
            self._writer.skip(FRAME)
        self._hand_up(self._jitter.due(now))
        self._hand_up_digits(self._dtmf.due(now))
        self._check_timeout(now)

    def _may_send(self) -> bool:
        host, port = self._endpoint.latch.destination
        return self.permitted and self.direction in ("sendrecv", "sendonly") and port != 0 and host not in NOWHERE

    def _send_slot(self) -> None:
        if self.keypad.busy and (key := self.keypad.packet(self._writer)) is not None:
            self._send_key(key)
            return
        frame = self.playout.pull()
        talking = frame is not None
        payload = frame.payload if frame is not None else self._silence
        # RFC 3551 section 4.1: the marker shows where a talkspurt begins after silence.
        marker = (talking and not self._talking) or not self._started
        if self._endpoint.send(self._writer.packet(payload, self._payload_type, FRAME, marker)):
            self._talking = talking
            self._started = True
            if self.on_sent is not None:
                self.on_sent(payload)
            return
        # Only what left the machine counts as heard: the frame is next again, its number too.
        self._retract()
        self.playout.put_back()

    def _send_key(self, packet: bytes) -> None:
        self._talking = False
        if self._endpoint.send(packet):
            self._started = True
        else:
            # The packets of a key repeat each other: the next one makes up for it.
            self._retract()

    def _retract(self) -> None:
        """Use the number of the last packet again, unless a keystream belongs to it (RFC 3711 section 9.1)."""
        if not self._endpoint.sealed:
            self._writer.retract()

    def _hand_up(self, audio: list[bytes]) -> None:
        for part in audio:
            self._on_audio(part)

    def _hand_up_digits(self, digits: str) -> None:
        for digit in digits:
            self.stats.digits += 1
            self._on_digit(digit)

    def _check_timeout(self, now: float) -> None:
        if not self._timeout or self._heard_at is None or self.direction != "sendrecv" or not self.permitted:
            return
        if now - self._heard_at >= self._timeout:
            self._heard_at = None
            self._on_timeout()
