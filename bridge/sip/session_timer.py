"""Session timers: who refreshes a call, how often, and when it counts as dead (RFC 4028).

The header's `uac` and `uas` mean the sides of one request and change with each; a `Timer` says "us" or "peer".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

from .errors import SipError
from .grammar import parameter, parse_number, parse_parameters
from .message import Message, Request, Response
from .options import supports

OPTION = "timer"
"""The option tag for Supported and Require."""
SHORTEST_S = 90
"""What Min-SE means when it is absent, in seconds (section 5)."""
MAX_TRIES = 3
"""Answers 422 to one request of ours that we follow: each hop may have a minimum of its own."""

_LONGEST_S = 2**31 - 1
_LAST_WORD_S = 32.0
_T = TypeVar("_T")

Side = Literal["us", "peer"]


@dataclass(frozen=True, slots=True)
class TimerPolicy:
    """What we want: intervals in seconds, `expires_s` the longest that we grant, `min_s` the shortest.

    `refresher` is who refreshes where the choice is ours. "us" refreshes even with a peer that knows no session
    timers; "auto" leaves such a call alone, unless a proxy asks for the timer.
    """

    expires_s: int = 1800
    min_s: int = SHORTEST_S
    refresher: Literal["auto", "us", "peer"] = "auto"
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class SessionExpires:
    """A Session-Expires header (section 4); `refresher` is None when it names none that we know."""

    interval_s: int
    refresher: Literal["uac", "uas"] | None = None

    def __str__(self) -> str:
        return f"{self.interval_s};refresher={self.refresher}" if self.refresher else f"{self.interval_s}"

    @classmethod
    def parse(cls, text: str) -> SessionExpires:
        """Read `1800;refresher=uas`; SipError 400 otherwise."""
        interval, _, rest = text.partition(";")
        parameters = parse_parameters(rest.split(";"), "Session-Expires") if rest.strip() else ()
        seconds = parse_number(interval.strip(), "Session-Expires", _LONGEST_S)
        match (parameter(parameters, "refresher") or "").lower():
            case "uac":
                return cls(seconds, "uac")
            case "uas":
                return cls(seconds, "uas")
            case _:
                return cls(seconds)

    @classmethod
    def of(cls, message: Message) -> SessionExpires | None:
        """The Session-Expires of a message; None when it has none. SipError 400 when it is malformed."""
        text = message.header("Session-Expires")
        return None if text is None else cls.parse(text)


@dataclass(frozen=True, slots=True)
class Timer:
    """What both sides agreed on: the interval in seconds, who refreshes, the largest Min-SE of the dialog."""

    interval_s: int
    refresher: Side
    min_s: int = SHORTEST_S

    def refresh_at(self, now: float) -> float:
        """When our refresh is due after a 2xx at `now`, if it is ours: half the interval (section 7.2)."""
        return now + self.interval_s / 2

    def expires_at(self, now: float) -> float:
        """When to hang up if no refresh has succeeded since `now`: a little before the end (section 10)."""
        return now + self.interval_s - min(_LAST_WORD_S, self.interval_s / 3)


@dataclass(frozen=True, slots=True)
class Offer:
    """What a request of ours asks for. `refresher` None leaves the choice to the peer; `tries` counts 422s."""

    interval_s: int
    refresher: Side | None
    min_s: int = SHORTEST_S
    tries: int = 0

    @property
    def headers(self) -> list[tuple[str, str]]:
        """Session-Expires, and Min-SE where it says more than its absence; Supported is the caller's."""
        role: dict[Side | None, Literal["uac", "uas"] | None] = {"us": "uac", "peer": "uas", None: None}
        asked = SessionExpires(self.interval_s, role[self.refresher])
        least = [("Min-SE", str(self.min_s))] if self.min_s > SHORTEST_S else []
        return [("Session-Expires", str(asked)), *least]


def min_se(message: Message) -> int | None:
    """The Min-SE of a message in seconds (section 5); None when it has none. SipError 400 when malformed."""
    text = message.header("Min-SE")
    return None if text is None else parse_number(text.partition(";")[0].strip(), "Min-SE", _LONGEST_S)


# The side that answers.


def accept(request: Request, policy: TimerPolicy, current: Timer | None = None) -> Timer | None:
    """The timer that our 2xx to an INVITE or UPDATE starts (section 9); None for none.

    `current` is the timer that the dialog has so far. SipError 422 with our Min-SE when the interval is too
    small and the peer understands that answer, 400 when a header is malformed.
    """
    if not policy.enabled:
        return None
    asked, least, known = SessionExpires.of(request), min_se(request), supports(request, OPTION)
    if asked is None and not known and policy.refresher != "us":
        return None
    if asked is not None and known and asked.interval_s < policy.min_s:
        raise SipError(
            422,
            "Session Interval Too Small",
            reason="session_interval",
            headers=(("Min-SE", str(policy.min_s)),),
        )
    minimum = max(policy.min_s, least or 0, current.min_s if current else 0)
    return Timer(_interval(asked, minimum, policy), _refresher(asked, known, policy, current), minimum)


def _interval(asked: SessionExpires | None, minimum: int, policy: TimerPolicy) -> int:
    wanted = max(policy.expires_s, minimum)
    if asked is None:
        return wanted
    # Never more than asked. Only the request of a peer that cannot understand 422 is below our minimum here:
    # that interval is raised (erratum 1687), as nobody but us refreshes.
    return min(wanted, max(asked.interval_s, policy.min_s))


def _refresher(asked: SessionExpires | None, known: bool, policy: TimerPolicy, current: Timer | None) -> Side:
    """Table 2 of section 9; our own choice falls on us: a timer of ours is one that we know to run."""
    if not known:
        return "us"
    if asked is not None and asked.refresher is not None:
        return "peer" if asked.refresher == "uac" else "us"
    if current is not None:
        return current.refresher
    return "peer" if policy.refresher == "peer" else "us"


def response_headers(timer: Timer | None, request: Request) -> list[tuple[str, str]]:
    """What our 2xx says about the timer: Require only to a peer that knows the tag (section 9)."""
    if timer is None:
        return []
    granted = SessionExpires(timer.interval_s, "uas" if timer.refresher == "us" else "uac")
    demand = [("Require", OPTION)] if supports(request, OPTION) else []
    return [("Session-Expires", str(granted)), *demand]


# The side that asks.


def offered(policy: TimerPolicy, current: Timer | None = None) -> Offer | None:
    """What our INVITE or UPDATE asks for (sections 7.1 and 7.4); None when session timers are off.

    Inside a dialog with a timer, `current` keeps interval and refresher as they are.
    """
    if not policy.enabled:
        return None
    if current is not None:
        return Offer(current.interval_s, current.refresher, current.min_s)
    side: Side | None = None if policy.refresher == "auto" else policy.refresher
    return Offer(max(policy.expires_s, policy.min_s), side, policy.min_s)


def after_422(response: Response, previous: Offer) -> Offer | None:
    """What to ask for after "Session Interval Too Small" (section 7.3); None when another try is no use."""
    least = _or_none(min_se, response)
    if least is None or least <= previous.min_s or previous.tries >= MAX_TRIES:
        return None
    return Offer(max(previous.interval_s, least), previous.refresher, least, previous.tries + 1)


def agreed(response: Response, policy: TimerPolicy, offer: Offer | None) -> Timer | None:
    """The timer that a 2xx to our request starts (section 7.2); None for none. Never raises.

    A malformed Session-Expires counts as absent: a call that stands is not given up for it. An interval below
    what we asked for at least is raised to that, so that nobody can make us refresh without pause.
    """
    if offer is None:
        return None
    answer = _or_none(SessionExpires.of, response)
    if answer is None:
        alone = policy.refresher == "us"
        return Timer(offer.interval_s, "us", offer.min_s) if alone else None
    sides: dict[str | None, Side] = {"uac": "us", "uas": "peer", None: "us"}
    # What we asked for cannot be changed by an answer (table 2): one that tries is taken for what it had to say.
    return Timer(max(answer.interval_s, offer.min_s), offer.refresher or sides[answer.refresher], offer.min_s)


def _or_none(read: Callable[[Message], _T | None], message: Message) -> _T | None:
    try:
        return read(message)
    except SipError:
        return None
