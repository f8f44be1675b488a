"""A caller on SIP: the leg of an incoming call."""

from __future__ import annotations

from collections.abc import Sequence

from bridge.config import Media as MediaSettings
from bridge.legs.dialog import DialogLeg
from bridge.legs.leg import LegRefused
from bridge.legs.rtp import WISHES, nothing
from bridge.legs.wishes import Wishes
from bridge.media.pacer import Pacer
from bridge.media.ports import NoPort, PortPool
from bridge.sip.errors import SipError
from bridge.sip.invitation import Invitation
from bridge.sip.sdes import Policy
from bridge.sip.sdp import SessionDescription


class SipLeg(DialogLeg):
    """One incoming SIP call, as `call` sees it (see `leg.Leg`)."""

    def __init__(
        self,
        invitation: Invitation,
        *,
        pacer: Pacer,
        ports: PortPool,
        media: MediaSettings,
        srtp: Policy = "off",
        wishes: Wishes = WISHES,
    ) -> None:
        super().__init__(pacer=pacer, ports=ports, media=media, srtp=srtp, wishes=wishes)
        self.call_id = invitation.id
        self.caller = invitation.caller.uri.user or ""
        self.dialled = invitation.request.uri.user or ""
        self._invitation = invitation

    # The story of a call

    def prepare(self) -> None:
        """Take a port and agree on a codec. Raises LegRefused; nothing is held then."""
        invitation = self._invitation
        try:
            self.open_port(invitation.local_address, invitation.bind_host, invitation.source[0])
        except (NoPort, OSError) as error:
            raise LegRefused(503, "no_rtp_port", str(error), [("Retry-After", "5")]) from error
        try:
            self._description = self.describe() if invitation.offer is None else self.answer_to(invitation.offer)
        except SipError as error:
            self.release()
            raise LegRefused(error.status, "no_common_codec", str(error), error.headers) from error
        if self.stream is not None:
            # One INVITE with a forged description must not aim a stream of ours at a third party: nothing leaves
            # before the ACK or the caller's first packet.
            self.stream.permitted = False
        self.attend(invitation)
        invitation.on_confirmed = self._on_confirmed

    def ring(self) -> None:
        """180 Ringing; with our offer for a caller who wants it from us and insists on reliable answers."""
        self._invitation.ring(b"" if self.stream is not None else bytes(self._description))

    def progress(self) -> None:
        """183 with our description: early media. It only rings when the caller wants the offer from us."""
        if self.stream is None:
            self.ring()
            return
        self._invitation.progress(bytes(self._description))
        self.stream.start()

    def answer(self) -> None:
        """200 OK with our description; audio flows when the caller's is known."""
        self._invitation.answer(bytes(self._description))
        if self.stream is not None:
            self.connect()

    def refuse(self, status: int, headers: Sequence[tuple[str, str]] = ()) -> None:
        """A final answer that is not 200."""
        self._invitation.reject(status, headers=headers)

    def leave(self) -> None:
        super().leave()
        self._invitation.on_confirmed = nothing

    def _on_confirmed(self, answer: SessionDescription | None) -> None:
        """The ACK; after a delayed offer it brings the caller's answer, and only now is the codec known."""
        if self.stream is not None:
            self.stream.permit()
        elif answer is None:
            self.on_ended("no_common_codec", "the ACK brought no session description")
        elif self._accept(self._description, answer):
            self.connect()
