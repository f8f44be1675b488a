"""Who said what, out of fragments of text: OpenAI Live's transcripts have times and no items (reference section 8).

A line is what one of the two said without a pause of more than 800 ms. What the agent says belongs to the item of the
track it is heard in, so that the transcript knows what of it was heard; text that comes before its sound gives the
item its id. Lines are placed in the order in which they began. Times are the session's, in ms.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

from bridge.realtime import events as ev
from bridge.realtime.faults import milliseconds, text
from bridge.realtime.options import Json

GAP_MS = 800
SETTLED_MS = 1500
"""No line grows after so long without another fragment: they come late, but not that late."""
LINE_LETTERS = 8000
"""A line that grows longer is cut: a server may talk for ever."""
_PLACES = 16
"""Lines whose place is known: a fragment that is later still comes behind the last one before them."""


@dataclass(frozen=True, slots=True)
class Fragment:
    """A piece of text as it came, spaces and all, and the time it belongs to."""

    text: str
    start_ms: int
    end_ms: int

    @classmethod
    def of(cls, event: Json) -> Fragment:
        """From a transcript's delta. Raises Malformed."""
        return cls(text(event, "delta"), milliseconds(event, "start_ms"), milliseconds(event, "end_ms"))


@dataclass(slots=True)
class _Line:
    item_id: str
    text: str
    start_ms: int
    end_ms: int
    came_at: int

    def add(self, fragment: Fragment, now: int) -> None:
        self.text += fragment.text
        self.end_ms = max(self.end_ms, fragment.end_ms)
        self.came_at = now

    def is_behind(self, fragment: Fragment) -> bool:
        """Whether the fragment is so late that it was said before this line."""
        return fragment.end_ms + GAP_MS < self.start_ms


class Lines:
    """The two open lines of a session."""

    def __init__(self) -> None:
        self.name = "live"
        """Of the session, in the ids of its items."""
        self._items = 0
        self._caller: _Line | None = None
        self._agent: _Line | None = None
        self._awaited = ""  # the item whose text is here and whose sound is not
        self._told = ""  # the last item of the track that has got text
        self._agent_start = 0  # of its last fragment
        self._order: list[tuple[int, str, ev.Role]] = []  # begin, item, who: the newest
        self._before: str | None = None  # the item behind which these stand; None: nothing came before

    def caller(self, fragment: Fragment, now: int) -> list[ev.Event]:
        """The caller said this."""
        line = self._caller
        if line is not None and line.is_behind(fragment):
            return self._stray("caller", fragment)
        if line is not None and self._caller_goes_on(line, fragment):
            line.add(fragment, now)
            return []
        found = self._end_caller()
        item_id = self._new_id()
        self._caller = _Line(item_id, fragment.text, fragment.start_ms, fragment.end_ms, now)
        return [*found, *self._place(item_id, "caller", fragment.start_ms)]

    def agent(self, fragment: Fragment, now: int, *, heard_in: str, sounding: bool) -> list[ev.Event]:
        """The agent says this; `heard_in` is the item that is open on the track, if one is."""
        line = self._agent
        if line is not None and line.is_behind(fragment):
            return self._stray("agent", fragment)
        self._agent_start = fragment.start_ms
        found: list[ev.Event] = []
        if line is not None and self._agent_goes_on(line, fragment, heard_in, sounding):
            line.add(fragment, now)
        else:
            found = self._end_agent()
            line, placed = self._begin_agent(fragment, now, heard_in)
            found += placed
        return [*found, ev.AgentSaying(line.item_id, fragment.text)]

    def sound(self, now: int) -> tuple[str, list[ev.Event]]:
        """The agent is heard anew: the id of what it says, which may have its text already.

        What the caller has said till then is what it answers: a session that is lost must not be asked that again.
        """
        found = self._end_caller()
        item_id, self._awaited = self._awaited, ""
        if item_id:
            self._told = item_id
            return item_id, found
        item_id = self._new_id()
        return item_id, [*found, *self._place(item_id, "agent", now)]

    def settle(self, now: int, *, heard_in: str) -> list[ev.Event]:
        """End the lines that will not grow any more."""
        found: list[ev.Event] = []
        waits_ms = GAP_MS if heard_in else SETTLED_MS
        if self._caller is not None and now - self._caller.came_at >= waits_ms:
            found += self._end_caller()
        agent = self._agent
        if agent is not None and agent.item_id != heard_in and now - agent.came_at >= SETTLED_MS:
            found += self._end_agent()
        return found

    def close(self) -> list[ev.Event]:
        """The session is over: end both lines."""
        return [*self._end_caller(), *self._end_agent()]

    def _caller_goes_on(self, line: _Line, fragment: Fragment) -> bool:
        answered = line.end_ms < self._agent_start <= fragment.start_ms
        return not answered and fragment.start_ms - line.end_ms <= GAP_MS and len(line.text) < LINE_LETTERS

    def _agent_goes_on(self, line: _Line, fragment: Fragment, heard_in: str, sounding: bool) -> bool:
        if len(line.text) >= LINE_LETTERS:
            return False
        if line.item_id == heard_in and sounding:
            return True
        if heard_in and line.item_id not in (heard_in, self._awaited):
            return False  # its sound is over and something else is heard
        return fragment.start_ms - line.end_ms <= GAP_MS

    def _begin_agent(self, fragment: Fragment, now: int, heard_in: str) -> tuple[_Line, list[ev.Event]]:
        placed: list[ev.Event] = []
        if heard_in and heard_in != self._told:
            item_id = self._told = heard_in
        else:
            item_id = self._awaited = self._new_id()
            placed = self._place(item_id, "agent", fragment.start_ms)
        self._agent = _Line(item_id, fragment.text, fragment.start_ms, fragment.end_ms, now)
        return self._agent, placed

    def _new_id(self) -> str:
        self._items += 1
        return f"{self.name}-{self._items}"

    def _end_caller(self) -> list[ev.Event]:
        line, self._caller = self._caller, None
        return [ev.Committed(line.item_id), ev.CallerSaid(line.item_id, line.text)] if line is not None else []

    def _end_agent(self) -> list[ev.Event]:
        line, self._agent = self._agent, None
        return [ev.AgentSaid(line.item_id, line.text)] if line is not None else []

    def _stray(self, role: ev.Role, fragment: Fragment) -> list[ev.Event]:
        """A fragment that came too late for its line is a line of its own, in its place."""
        item_id = self._new_id()
        said = ev.CallerSaid if role == "caller" else ev.AgentSaid
        return [*self._place(item_id, role, fragment.start_ms), said(item_id, fragment.text)]

    def _place(self, item_id: str, role: ev.Role, start_ms: int) -> list[ev.Event]:
        """An item in its place; those that are behind it, if it comes late, are told theirs anew."""
        at = bisect_right(self._order, start_ms, key=lambda placed: placed[0])
        before = self._order[at - 1][1] if at else self._before
        behind = self._order[at:]
        found: list[ev.Event] = [ev.Placed(item_id, role, before if behind else None)]
        leader = item_id
        for _, follower, follower_role in behind:
            found.append(ev.Placed(follower, follower_role, leader))
            leader = follower
        self._order.insert(at, (start_ms, item_id, role))
        if len(self._order) > _PLACES:
            self._before = self._order.pop(0)[1]
        return found
