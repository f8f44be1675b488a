"""The session timer of one call: who refreshes, when, and what a peer that fell silent gets (RFC 4028)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import session_timer
from .alarms import Alarm
from .message import Request, Response
from .part import Part
from .sdp import SessionDescription
from .session_timer import Timer

if TYPE_CHECKING:
    from .session import Session

Header = tuple[str, str]


class SessionRefresh(Part):
    """Keeps a call from ending at its session interval, and ends it when the peer keeps it no longer."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.timer: Timer | None = None
        """What was agreed; None when neither side asked for a timer."""
        self._offer: session_timer.Offer | None = None  # what a request of ours that is out asks for
        self._alarm: Alarm | None = None
        self._expiry: Alarm | None = None

    @property
    def _policy(self) -> session_timer.TimerPolicy:
        return self._session.core.policy.timer

    def answer(self, request: Request) -> list[Header]:
        """Agree to an INVITE or UPDATE of the peer; what the 2xx says of it. SipError 422 when it asks too much."""
        return self.grant(self.asked(request), request)

    def asked(self, request: Request) -> Timer | None:
        """The timer that a 2xx to an INVITE or UPDATE of the peer would start. SipError 422 when it asks too much."""
        return session_timer.accept(request, self._policy, self.timer)

    def grant(self, timer: Timer | None, request: Request) -> list[Header]:
        """Start it, for only a 2xx does (section 9); what that 2xx says of it."""
        self._start(timer)
        return session_timer.response_headers(timer, request)

    def request_headers(self) -> list[Header]:
        """What an INVITE or UPDATE of ours says of the timer."""
        if self._offer is None:
            self._offer = session_timer.offered(self._policy, self.timer)
        return self._offer.headers if self._offer is not None else []

    def too_short(self, response: Response) -> bool:
        """422: whether asking once more with a longer interval is of use."""
        if self._offer is not None:
            self._offer = session_timer.after_422(response, self._offer)
        return self._offer is not None

    def agreed(self, response: Response) -> None:
        """The peer's 2xx to an INVITE or UPDATE of ours."""
        offer, self._offer = self._offer, None
        self._start(session_timer.agreed(response, self._policy, offer))

    def refused(self) -> None:
        """A final refusal of an INVITE or UPDATE of ours: the timer runs on as it was."""
        self._offer = None

    def stop(self) -> None:
        """The call is over."""
        for alarm in (self._alarm, self._expiry):
            if alarm is not None:
                alarm.cancel()

    def _start(self, timer: Timer | None) -> None:
        self.stop()
        self.timer = timer
        core = self._session.core
        if timer is None or self._session.is_over:
            return
        now = core.clock()
        if timer.refresher == "us":
            self._alarm = core.alarms.at(timer.refresh_at(now), self._refresh)
        self._expiry = core.alarms.at(timer.expires_at(now), self._expire)

    def _refresh(self) -> None:
        self._session.offers.refresh(self._refreshed)

    def _refreshed(self, status: int, answer: SessionDescription | None) -> None:
        """The 2xx has started the timer anew; after a refusal the next try comes before the session expires."""
        timer, core = self.timer, self._session.core
        if answer is not None and status < 300:
            self._session.on_answer(answer)  # the peer may have moved in it
        if status >= 300 and timer is not None and self._expiry is not None and not self._session.is_over:
            left = self._expiry.when - core.clock()
            self._alarm = core.after(max(left / 2, 1.0), self._refresh)

    def _expire(self) -> None:
        self._session.give_up("session_expired", "session_expired")
