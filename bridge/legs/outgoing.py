"""A call of ours as a leg: it rings, perhaps speaks before it answers, and then is a leg like any other."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from bridge.config import Media as MediaSettings
from bridge.legs.dialog import DialogLeg
from bridge.legs.leg import LegRefused
from bridge.legs.rtp import nothing
from bridge.media.pacer import Pacer
from bridge.media.ports import NoPort, PortPool
from bridge.records import EndReason
from bridge.sip.address import Address
from bridge.sip.advertise import family_of
from bridge.sip.errors import SipError
from bridge.sip.layer import Path
from bridge.sip.outgoing import Failure, OutgoingCall
from bridge.sip.replaces import Replaces
from bridge.sip.sdes import Policy
from bridge.sip.sdp import SessionDescription
from bridge.sip.ua import UserAgent
from bridge.sip.uri import Uri

if TYPE_CHECKING:
    from bridge.sip.digest import Authenticator


class OutgoingLeg(DialogLeg):
    """One call to somebody. `dial` places it; then wait for `outcome`.

    `on_ringing` gets 180 or 183; early media reaches `on_audio` before the answer.
    """

    def __init__(
        self,
        user_agent: UserAgent,
        *,
        pacer: Pacer,
        ports: PortPool,
        media: MediaSettings,
        srtp: Policy = "off",
    ) -> None:
        super().__init__(pacer=pacer, ports=ports, media=media, srtp=srtp)
        self.on_ended = self._on_over
        self.on_ringing: Callable[[int], None] = lambda status: None
        self.failure: Failure | None = None
        """Why it was not answered; None while nothing is known, or when it was."""
        self.is_over = False
        """Whether it was answered and has ended before anybody has set `on_ended`."""
        self._user_agent = user_agent
        self._outcome: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def dial(
        self,
        target: Uri,
        *,
        ring_limit_s: float,
        caller: str | None = None,
        routes: Sequence[str] = (),
        authenticator: Authenticator | None = None,
        headers: Sequence[tuple[str, str]] = (),
        redirects: Callable[[Uri], bool] = lambda uri: False,
        flow: Path | None = None,
        advertise: str | None = None,
    ) -> None:
        """Place the call, by `flow` to a phone that is registered with us; `advertise` as in `UserAgent.invite`.

        Raises LegRefused without a port, ValueError for a target or header nobody can send.
        """
        host = flow.peer[0] if flow is not None else _first_hop(target, routes)
        local_address = self._user_agent.local_address_for(host, advertise)
        try:
            # A name, or a redirection, may lead elsewhere: with the answer we know where.
            known = family_of(host) is not None
            self.open_port(local_address, "::" if ":" in local_address else "0.0.0.0", host if known else local_address)
        except (NoPort, OSError) as error:
            raise LegRefused(503, "no_rtp_port", str(error)) from error
        self._description = self.describe()
        try:
            call = self._user_agent.invite(
                str(target),
                sdp=bytes(self._description),
                caller=caller,
                headers=headers,
                routes=routes,
                authenticator=authenticator,
                ring_limit_s=ring_limit_s,
                redirects=redirects,
                flow=flow,
                advertise=advertise,
            )
        except ValueError:
            self.release()
            raise
        self._call = call
        self._until = asyncio.get_running_loop().time() + ring_limit_s
        self._listen(call)

    def _listen(self, call: OutgoingCall) -> None:
        self.call_id = call.id
        self.attend(call)
        call.on_ringing = lambda status: self.on_ringing(status)
        call.on_early_media = self._on_early_media
        call.on_answered = self._on_answered
        call.on_failed = self._on_failed

    async def outcome(self) -> str:
        """Wait until it is answered (an empty word) or has failed (the word for why), for as long as it may ring."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(self._until):
                await asyncio.shield(self._outcome)
        if not self._outcome.done():
            # A far end that says nothing at all keeps its transaction for 32 s more (64*T1), but not us.
            self.failure = Failure(487, "Request Terminated", "no_answer")
            self._call.cancel("no_answer")
            self.give_up()
            return "no_answer"
        return self._outcome.result() or ("hung_up" if self.is_over else "")

    @property
    def replaces(self) -> Replaces:
        """The name of this call for whoever shall take our place in it (RFC 3891)."""
        dialog = self._call.dialog
        return Replaces.at_peer(self._call.id, local_tag=dialog.local_tag, remote_tag=dialog.remote_tag)

    def give_up(self) -> None:
        """Nobody wants it any more."""
        self.close(EndReason.CALLER_HUNG_UP)

    def close(self, reason: EndReason) -> None:
        super().close(reason)
        self._settle_outcome("cancelled")

    def _on_over(self, word: str, detail: str) -> None:
        """It ends while nobody listens. Before the answer silence is no reason: few phones send while they ring."""
        if self._connected or word != "rtp_timeout":
            self.is_over = True
            self.close(EndReason.RTP_TIMEOUT if word == "rtp_timeout" else EndReason.CALLER_HUNG_UP)

    def _on_early_media(self, answer: SessionDescription) -> None:
        if self.stream is None and self._accept_early(answer) and self.stream is not None:
            self.stream.start()

    def _accept_early(self, answer: SessionDescription) -> bool:
        """Early media that we cannot use is no reason to give up: the answer may bring better."""
        if self._call.path is not None:
            self._signalling_host = self._call.path.peer[0]
        try:
            self.accept(self._description, answer)
        except SipError:
            return False
        return True

    def _on_answered(self, answer: SessionDescription | None) -> None:
        if answer is None or not self._accept_early(answer):
            self._settle_outcome("no_common_codec")
            self.close(EndReason.NO_COMMON_CODEC)
            return
        self.connect()
        self._settle_outcome("")

    def _on_failed(self, failure: Failure) -> None:
        self.failure = failure
        self.leave()
        self._settle_outcome(failure.word)

    def leave(self) -> None:
        super().leave()
        call = self._call
        call.on_ringing = call.on_early_media = call.on_answered = call.on_failed = nothing
        self.on_ringing = nothing

    def _settle_outcome(self, word: str) -> None:
        if not self._outcome.done():
            self._outcome.set_result(word)


def _first_hop(target: Uri, routes: Sequence[str]) -> str:
    """The host that the INVITE goes to, perhaps a name."""
    return Address.parse(routes[0], "Route").uri.host if routes else target.host


Dial = Callable[..., OutgoingLeg]
"""Places another call: whom, how many seconds it may ring, further headers. Raises LegRefused or ValueError."""


def cannot_dial(target: Uri, ring_limit_s: float, headers: Sequence[tuple[str, str]] = ()) -> OutgoingLeg:
    """A `Dial` of a call that has no way out."""
    raise LegRefused(503, "no_way_out", "this call has no trunk to call by")
