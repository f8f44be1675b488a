"""A caller on SIP: one dialog and one RTP stream, joined by their session descriptions."""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Callable, Sequence
from typing import cast

from bridge.audio.g711 import Law, silence
from bridge.config import Media as MediaSettings
from bridge.legs.leg import LegRefused
from bridge.media.pacer import Pacer
from bridge.media.playout import Heard
from bridge.media.ports import NoPort, PortPool
from bridge.media.stats import MediaStats
from bridge.media.stream import Direction, MediaStream
from bridge.records import EndReason
from bridge.sip import offer_answer
from bridge.sip.errors import SipError
from bridge.sip.invitation import Invitation
from bridge.sip.offer_answer import Negotiated
from bridge.sip.sdp import SessionDescription
from bridge.sip.ua import UserAgent

_CAUSES = {
    EndReason.SESSION_FAILED: 503,
    EndReason.SESSION_LOST: 503,
    EndReason.SHUTDOWN: 503,
    EndReason.RTP_TIMEOUT: 408,
    EndReason.NO_COMMON_CODEC: 488,
    EndReason.INTERNAL_ERROR: 500,
}
"""The SIP status that says the same as a reason, for the Reason header (RFC 3326); 200 for the normal ends."""
PAYLOAD_TYPES = (Law.PCMU.payload_type, Law.PCMA.payload_type)


def _nothing(*_: object) -> None:
    """A callback nobody has set yet."""


class SipLeg:
    """One incoming SIP call, as `call` sees it (see `leg.Leg`)."""

    def __init__(
        self,
        invitation: Invitation,
        user_agent: UserAgent,
        *,
        pacer: Pacer,
        ports: PortPool,
        media: MediaSettings,
        rtp_host: str = "0.0.0.0",
    ) -> None:
        self.call_id = invitation.id
        self.caller = invitation.caller.uri.user or ""
        self.dialled = invitation.request.uri.user or ""
        self.law = Law.PCMU
        self.on_connected: Callable[[], None] = _nothing
        self.on_audio: Callable[[bytes], None] = _nothing
        self.on_digit: Callable[[str], None] = _nothing
        self.on_drained: Callable[[], None] = _nothing
        self.on_ended: Callable[[str, str], None] = _nothing
        self.stream: MediaStream | None = None
        """The RTP stream; None until both descriptions are known."""
        self._invitation = invitation
        self._local_address = user_agent.local_address_for(invitation.source[0])
        self._pacer = pacer
        self._ports = ports
        self._media = media
        self._rtp_host = rtp_host
        self._session_id = secrets.randbits(31)
        self._no_stats = MediaStats()

    # The story of a call

    def prepare(self) -> None:
        """Take a port and agree on a codec. Raises LegRefused; nothing is held then."""
        try:
            self._socket = self._ports.open(self._rtp_host)
        except NoPort as error:
            raise LegRefused(503, "no_rtp_port", str(error), [("Retry-After", "5")]) from error
        self._port = self._socket.getsockname()[1]
        try:
            self._describe()
        except SipError as error:
            self._ports.release(self._socket)
            raise LegRefused(error.status, "no_common_codec", str(error), error.headers) from error
        self._invitation.on_confirmed = self._on_confirmed
        self._invitation.on_ended = self._on_dialog_ended
        self._invitation.on_offer = self._on_offer
        self._invitation.on_answer = self._on_answer

    def ring(self) -> None:
        """180 Ringing."""
        self._invitation.ring()

    def answer(self) -> None:
        """200 OK with our description; RTP flows when the caller's is known and he has shown that he is there.

        One INVITE with a forged description must not aim a stream of ours at a third party: nothing leaves before the
        ACK or the caller's first packet.
        """
        self._invitation.answer(bytes(self._ours))
        if self.stream is not None:
            self.stream.permitted = False
            self._connect(self.stream)

    def refuse(self, status: int, headers: Sequence[tuple[str, str]] = ()) -> None:
        """A final answer that is not 200."""
        self._invitation.reject(status, headers=headers)

    def close(self, reason: EndReason) -> None:
        """BYE, or a final answer when there was none yet; the port goes back. Idempotent."""
        self.on_ended = _nothing
        cause = _CAUSES.get(reason, 200)
        self._invitation.hang_up([("Reason", f'SIP;cause={cause};text="{reason.value}"')])
        # Its transactions live on for 32 s (64*T1); they must not keep the call's media and session alive with them.
        self._invitation.on_confirmed = self._invitation.on_answer = self._invitation.on_ended = _nothing
        self._invitation.on_offer = lambda offer: 481
        if self.stream is not None:
            self.stream.close()
        else:
            self._ports.release(self._socket)

    # Audio

    def play(self, item_id: str, audio: bytes) -> bool:
        """Queue audio of an item."""
        return self.stream is not None and self.stream.playout.push(item_id, audio)

    def end_item(self, item_id: str) -> None:
        """No more audio of the item comes."""
        if self.stream is not None:
            self.stream.playout.end(item_id)

    def end_all(self) -> None:
        """No more audio comes of anything that is queued."""
        if self.stream is not None:
            self.stream.playout.end_all()

    def flush(self) -> tuple[Heard, ...]:
        """Fall silent; what was sent of each item that was cut."""
        return self.stream.playout.flush() if self.stream is not None else ()

    @property
    def drained(self) -> bool:
        """Whether nothing waits to be played."""
        return self.stream is None or self.stream.playout.drained

    def summary(self) -> dict[str, int]:
        """The counts that are worth a place in the log line of the call's end."""
        counts = self.stats.counts()
        shown = ("packets_in", "packets_out", "lost", "late", "concealed_ms", "underruns", "skipped")
        strangers = {"strangers": counts["dropped.stranger"]} if "dropped.stranger" in counts else {}
        return {name: counts[name] for name in shown} | strangers

    @property
    def stats(self) -> MediaStats:
        """The stream's counts, also after its end."""
        return self.stream.stats if self.stream is not None else self._no_stats

    def _hear(self, audio: bytes) -> None:
        """The caller's audio; while the caller holds us, silence of the same length instead of music."""
        if self.stream is not None and self.stream.direction != "sendrecv":
            audio = silence(len(audio), self.law)
        self.on_audio(audio)

    # Descriptions

    def _describe(self) -> None:
        offer = self._invitation.offer
        if offer is None:
            self._ours = offer_answer.offer(self._local_address, self._port, PAYLOAD_TYPES, session_id=self._session_id)
            return
        self._ours, negotiated = self._answer_to(offer, PAYLOAD_TYPES)
        self._open_stream(negotiated)

    def _answer_to(
        self, offer: SessionDescription, payload_types: Sequence[int]
    ) -> tuple[SessionDescription, Negotiated]:
        return offer_answer.answer(offer, self._local_address, self._port, payload_types, session_id=self._session_id)

    def _open_stream(self, negotiated: Negotiated) -> MediaStream:
        self.law = Law[negotiated.codec]
        stream = MediaStream(
            sock=self._socket,
            pacer=self._pacer,
            law=self.law,
            remote=self._remote(negotiated),
            signalling_host=self._invitation.source[0],
            event_payload_type=negotiated.telephone_event,
            rtp_timeout_s=self._media.rtp_timeout_s,
            lead_ms=self._media.lead_ms,
            jitter_ms=self._media.jitter_ms,
            on_audio=self._hear,
            on_digit=lambda digit: self.on_digit(digit),
            direction=_direction(negotiated),
            on_fault=lambda error: self.on_ended("fault", repr(error)),
            on_timeout=lambda: self.on_ended("rtp_timeout", f"no RTP for {self._media.rtp_timeout_s:g} s"),
        )
        stream.playout.on_drained = lambda: self.on_drained()
        self.stream = stream
        return stream

    def _remote(self, negotiated: Negotiated) -> tuple[str, int]:
        """Where to send; a name in c= is not looked up: the signalling source is the better guess than a wait."""
        try:
            ipaddress.ip_address(negotiated.remote_host)
        except ValueError:
            return self._invitation.source[0], negotiated.remote_port
        return negotiated.remote_host, negotiated.remote_port

    def _follow(self, negotiated: Negotiated) -> None:
        """What a re-INVITE changed: the place, hold or resume."""
        if self.stream is not None:
            self.stream.retarget(self._remote(negotiated), direction=_direction(negotiated))

    def _connect(self, stream: MediaStream) -> None:
        self.on_connected()
        stream.start()

    # What the dialog says

    def _on_confirmed(self, answer: SessionDescription | None) -> None:
        """The ACK; after a delayed offer it brings the caller's answer, and only now is the codec known."""
        if self.stream is not None:
            self.stream.permit()
            return
        if answer is None:
            self.on_ended("no_common_codec", "the ACK brought no session description")
            return
        try:
            stream = self._open_stream(offer_answer.accept(self._ours, answer))
        except SipError as error:
            self.on_ended("no_common_codec", str(error))
            return
        self._connect(stream)

    def _on_offer(self, offer: SessionDescription | None) -> bytes | int:
        """A re-INVITE: the same codec at a new place, hold or resume; all else is refused, and the call goes on."""
        if offer is None:
            return self._invitation.local_sdp
        try:
            description, negotiated = self._answer_to(offer, (self.law.payload_type,))
        except SipError as error:
            return error.status
        self._follow(negotiated)
        return bytes(description)

    def _on_answer(self, answer: SessionDescription) -> None:
        """The answer to a re-INVITE that asked for our offer."""
        try:
            self._follow(offer_answer.accept(SessionDescription.parse(self._invitation.local_sdp), answer))
        except SipError as error:
            self.on_ended("no_common_codec", str(error))

    def _on_dialog_ended(self, word: str) -> None:
        self.on_ended(word, "")


def _direction(negotiated: Negotiated) -> Direction:
    return cast(Direction, negotiated.direction)
