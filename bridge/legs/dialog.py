"""A leg whose call stands in a SIP dialog: re-INVITEs from either side, keys by INFO, the end with its reason."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

import structlog

from bridge.legs.rtp import RtpLeg, nothing
from bridge.media.terms import Direction
from bridge.records import EndReason
from bridge.sip import info
from bridge.sip.errors import SipError
from bridge.sip.replaces import Replaces
from bridge.sip.sdp import SessionDescription
from bridge.sip.session import Session
from bridge.sip.transfer import Referred, Transfer
from bridge.sip.uri import Uri

log = structlog.get_logger("sipbridge.call")

INFO_GAP_S = 0.25
"""Between two keys by INFO, in seconds: a gateway plays each of them, and needs a pause to tell them apart."""

MOST_WAITING = 128
"""Keys that wait to be sent, half a minute of them; more come from nobody who presses keys, and are lost."""

_CAUSES = {
    EndReason.SESSION_FAILED: 503,
    EndReason.SESSION_LOST: 503,
    EndReason.SHUTDOWN: 503,
    EndReason.SPEND_LIMIT: 503,
    EndReason.RTP_TIMEOUT: 408,
    EndReason.NO_COMMON_CODEC: 488,
    EndReason.INTERNAL_ERROR: 500,
}
"""The SIP status that says the same as a reason, for the Reason header (RFC 3326); 200 for the normal ends."""


class DialogLeg(RtpLeg):
    """What incoming and outgoing calls share once they are calls. Call `attend` with the session of the call."""

    call_id: str
    session: Session
    """The SIP side of the call."""
    on_referred: Callable[[Referred], bool] = staticmethod(lambda referred: False)
    on_digits_refused: Callable[[], None]

    def attend(self, session: Session) -> None:
        """Listen to what the dialog says."""
        self.session = session
        self._offer: SessionDescription | None = None  # while an offer of ours waits for its answer
        self._unsent: deque[str] = deque()
        self._refused = False  # whether the log knows that keys by INFO are not taken
        self._sending: asyncio.TimerHandle | None = None  # while keys wait
        session.on_offer = self._on_offer
        session.on_answer = self._on_answer
        session.on_info = self._on_info
        session.on_refer = lambda referred: self.on_referred(referred)
        session.on_ended = lambda word: self.on_ended(word, "")

    def hold(self, on_result: Callable[[int], None] = nothing) -> None:
        """Hold the other side: nothing of it is heard until `resume`. `on_result` gets the final status.

        491 comes when the other side offers at the same time: nothing has changed then, as after any other failure.
        """
        self._reoffer("sendonly", on_result)

    def resume(self, on_result: Callable[[int], None] = nothing) -> None:
        """Both directions again."""
        self._reoffer("sendrecv", on_result)

    def send_digits(self, digits: str) -> None:
        """Press keys (0-9, *, #, A-D): in RTP where the other side takes it (RFC 4733), else by INFO.

        ValueError for what is no key.
        """
        if not set(digits.upper()) <= set(info.KEYS):
            raise ValueError(f"not keys: {digits!r}")
        if self.stream is not None and self.agreed is not None and self.agreed.telephone_event is not None:
            keypad = self.stream.keypad
            keypad.press(digits[: max(0, MOST_WAITING - len(keypad))])
            return
        self._unsent.extend(digits.upper()[: MOST_WAITING - len(self._unsent)])
        if self._sending is None:
            self._send_digit()

    def refer(
        self, target: Uri, on_progress: Callable[[int, bool], None], replaces: Replaces | None = None
    ) -> Transfer:
        """Ask the other side to call `target`; see `sip.session.Session.refer`."""
        return self.session.refer(target, on_progress, replaces)

    @property
    def base(self) -> Uri:
        """Where a bare number on this side belongs: the next hop of the dialog."""
        return self.session.dialog.hop

    def close(self, reason: EndReason) -> None:
        """BYE, or whatever else ends the dialog in its state, saying why; the port goes back. Idempotent."""
        self.on_ended = nothing
        cause = _CAUSES.get(reason, 200)
        self.session.hang_up([("Reason", f'SIP;cause={cause};text="{reason.value}"')])
        self.leave()

    def leave(self) -> None:
        """Hear nothing of the dialog any more, and release the media.

        Its transactions live on for 32 s (64*T1); they must not keep the call's media and session alive with them.
        """
        session = self.session
        session.on_answer = session.on_ended = nothing
        session.on_offer = lambda offer: 481
        session.on_info = lambda content_type, body: 481
        session.on_refer = self.on_referred = lambda referred: False
        if self._sending is not None:
            self._sending.cancel()
        self.release()

    def _on_offer(self, offer: SessionDescription | None) -> bytes | int:
        """A re-INVITE or UPDATE. SipError is the refusal, with its Warning; the call then goes on as before."""
        if offer is None:
            self._offer = self.describe()
            return bytes(self._offer)
        return bytes(self.answer_to(offer))

    def _on_answer(self, answer: SessionDescription) -> None:
        """The answer to an offer of ours that the dialog made: asked for by a re-INVITE, or to refresh the session."""
        ours, self._offer = self._offer, None
        if ours is not None:
            self._accept(ours, answer)
        elif self.session.local_sdp:
            self._accept(SessionDescription.parse(self.session.local_sdp), answer)

    def _accept(self, ours: SessionDescription, answer: SessionDescription) -> bool:
        """An answer cannot be refused any more: one without audio is the end."""
        try:
            self.accept(ours, answer)
        except SipError as error:
            self.on_ended("no_common_codec", str(error))
            return False
        return True

    def _reoffer(self, wanted: Direction, on_result: Callable[[int], None]) -> None:
        ours = self.describe(wanted)

        def answered(status: int, answer: SessionDescription | None) -> None:
            if status < 300:
                if answer is None:
                    status = 488  # an offer without an answer: nothing was agreed on
                elif self._accept(ours, answer):
                    self.wanted = wanted
                else:
                    return
            on_result(status)

        self.session.reinvite(bytes(ours), answered)

    def _on_info(self, content_type: str, body: bytes) -> int:
        try:
            key = info.digits(content_type, body)
        except SipError as error:
            return error.status
        if key is not None:
            self.press("info", key)
        return 200

    def _note_refusal(self, status: int) -> None:
        if status >= 300 and not self._refused:
            self._refused = True
            advice = "let the other side offer telephone-event, or take INFO"
            log.warning("digits.refused", call=self.call_id, status=status, advice=advice)
            self.on_digits_refused()

    def _send_digit(self) -> None:
        self._sending = None
        if self._unsent:
            if not self.session.awaits_ack:  # before the ACK the other side may not know that it is answered
                self.session.info(*info.body(self._unsent.popleft()), on_result=self._note_refusal)
            self._sending = asyncio.get_running_loop().call_later(INFO_GAP_S, self._send_digit)
