"""Reliable provisional answers: RSeq, RAck and PRACK, both sides without I/O (RFC 3262)."""

from __future__ import annotations

import secrets
from collections import deque
from dataclasses import dataclass, replace

from .errors import SipError, malformed
from .grammar import is_token, parse_number
from .headers import Headers
from .message import CSeq, Response
from .options import requires
from .transaction import Failed, Timers

OPTION = "100rel"
"""The option tag for Supported and Require."""
MAX_BRANCHES = 32
"""Early dialogs of one request whose numbers are remembered; a fork has a few, only a flood has more."""

_LARGEST = 2**32 - 1
_FIRST_BELOW = 2**31


@dataclass(frozen=True, slots=True)
class RAck:
    """A RAck header (section 7.2): which reliable answer (`rseq`) to which request (`cseq`)."""

    rseq: int
    cseq: CSeq

    def __str__(self) -> str:
        return f"{self.rseq} {self.cseq.number} {self.cseq.method}"

    @classmethod
    def parse(cls, text: str) -> RAck:
        """Read `776656 1 INVITE`; SipError 400 otherwise."""
        words = text.split()
        if len(words) != 3 or not is_token(words[2]):
            raise malformed("Malformed RAck")
        number = parse_number(words[1], "RAck", 2**31 - 1)
        return cls(parse_number(words[0], "RAck", _LARGEST), CSeq(number, words[2]))


class ReliableSender:
    """The answering side of one INVITE: numbers, repeats, and one answer at a time (section 3).

    Responses that it gives back are to be sent at once. Repeats come at T1, doubling without a limit, over
    every transport, as any hop may lose them; after 64*T1 without PRACK comes Failed("timeout"), once: the
    INVITE is then due a 504. `first` is the first RSeq, random when None.
    """

    def __init__(self, invite: CSeq, timers: Timers, first: int | None = None) -> None:
        self.outstanding: Response | None = None
        """The answer that waits for its PRACK, as sent; None when all are acknowledged."""
        self._invite = invite
        self._timers = timers
        self._rseq = (secrets.randbelow(_FIRST_BELOW - 1) + 1 if first is None else first) - 1
        self._waiting: deque[Response] = deque()
        self._interval = timers.t1
        self._repeat_at: float | None = None
        self._give_up_at: float | None = None

    @property
    def next_deadline(self) -> float | None:
        """When `tick` must be called next, in seconds; None when nothing is to be repeated."""
        return min((when for when in (self._repeat_at, self._give_up_at) if when is not None), default=None)

    @property
    def description_pending(self) -> bool:
        """Whether an unacknowledged answer carries a body: the 2xx must wait for its PRACK (section 3)."""
        return any(response.body for response in (self.outstanding, *self._waiting) if response is not None)

    def send(self, response: Response, now: float) -> list[Response]:
        """Make a provisional answer (101 to 199) reliable; nothing comes back while another is outstanding."""
        if self.outstanding is not None:
            self._waiting.append(response)
            return []
        return [self._start(response, now)]

    def acknowledge(self, rack: RAck, now: float) -> list[Response]:
        """A PRACK came: the answer that waited behind, if any. SipError 481 when it matches none."""
        if self.outstanding is None or rack != RAck(self._rseq, self._invite):
            raise SipError(481, reason="stray_prack")
        repeating = self._give_up_at is not None
        self.stop()
        self.outstanding = None
        return [self._start(self._waiting.popleft(), now)] if self._waiting and repeating else []

    def tick(self, now: float) -> list[Response | Failed]:
        """Repeat, or give up, if that is due."""
        if self.outstanding is None:
            return []
        if self._give_up_at is not None and self._give_up_at <= now:
            self.stop()
            return [Failed("timeout")]
        if self._repeat_at is None or self._repeat_at > now:
            return []
        self._interval *= 2
        self._repeat_at = now + self._interval
        return [self.outstanding]

    def stop(self) -> None:
        """A final answer goes out: repeat no more. A PRACK that is still under way is accepted."""
        self._repeat_at = self._give_up_at = None

    def _start(self, response: Response, now: float) -> Response:
        self._rseq += 1
        own = Headers.make((("Require", OPTION), ("RSeq", str(self._rseq))))
        self.outstanding = replace(response, lines=Headers((*response.lines, *own)))
        self._interval = self._timers.t1
        self._repeat_at = now + self._interval
        self._give_up_at = now + self._timers.life
        return self.outstanding


@dataclass(frozen=True, slots=True)
class Receipt:
    """What to do with a provisional answer: whether to look at it at all, and the PRACK that is due, if any."""

    process: bool
    rack: RAck | None = None


class ReliableReceiver:
    """The calling side: which reliable answers are new, per early dialog (section 4)."""

    def __init__(self) -> None:
        self._last: dict[tuple[int, str], int] = {}

    def accept(self, response: Response) -> Receipt:
        """Judge a provisional answer to our INVITE. Never raises for one that `message.parse` has read.

        A repeat or one that skips a number is not to be processed: the peer repeats what we miss. What cannot
        be acknowledged (no To tag, no proper RSeq) counts as an ordinary provisional answer.
        """
        rseq, tag = _rseq(response), response.to.tag
        if rseq is None or tag is None:
            return Receipt(True)
        branch = response.cseq.number, tag
        last = self._last.get(branch)
        if last is None and len(self._last) >= MAX_BRANCHES:
            return Receipt(False)
        if last is not None and rseq != last + 1:
            return Receipt(False)
        self._last[branch] = rseq
        return Receipt(True, RAck(rseq, response.cseq))


def _rseq(response: Response) -> int | None:
    text = response.header("RSeq")
    if text is None or not 100 < response.status < 200 or not requires(response, OPTION):
        return None
    try:
        return parse_number(text, "RSeq", _LARGEST) or None
    except SipError:
        return None
