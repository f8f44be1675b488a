"""What a call that lost its session must look like afterwards, judged from outside.

The judges are the journals of the servers, dead or alive, the packets on the wire, and the numbers of the caller's own
frames. What a server wrote in its last moment may never have reached the service: there must be one point in its
journal up to which everything was known, so that all that the next session was told, heard and was asked fits to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from tests.realtime_events import problems
from tests.service.killed_server import Lived
from tests.service.numbered_caller import MS, count
from tests.service.survival_journal import (
    OLDER,
    Beginning,
    Known,
    Told,
    Turn,
    back,
    beginning,
    known,
    text_of,
    told,
    wanted,
)

MARK = "...[interrupted]"
QUIET_MS = 6000
"""So much of a caller who says nothing is told again; of a turn, all of it."""
UNKNOWN_MS = 1500
"""What a server has written so long before its death has reached the service."""


class Unlike(AssertionError):
    """What was seen does not fit to what was known."""


@dataclass
class Call:
    """One call: its sessions that heard anything, in order, what of each item was on the wire, what tools gave."""

    sessions: list[Lived]
    wire: dict[int, int]
    """Item → bytes."""
    results: dict[str, str]
    """call_id → JSON of the result, as far as the application has answered."""
    settled: set[str]
    """Those of them that were there some time before the last session was over."""
    kills: dict[int, int]
    unfinished: int = 0
    """The item that the caller was just hearing when he hung up: of it and those behind nothing was told; 0: none."""
    missing: set[int] = field(default_factory=set)
    """Frames that no server has heard in the middle of what it heard: what the network's side left out."""
    lag_ms: list[float] = field(default_factory=list)
    """How much of each dead server's last words was not known."""
    phases: list[str] = field(default_factory=list)
    """What the call was doing when its session was lost."""

    def judge(self) -> None:
        """All of it; AssertionError tells what is wrong."""
        past: list[Turn] = []
        self.lag_ms, self.phases, self.missing = [], [], set()
        for session in self.sessions:
            for _, event in session.received:
                assert problems(event, "client") == [], event
        self._judge_audio()
        for former, session in pairwise(self.sessions):
            past += self._judge_change(past, former, session)
        for session in self.sessions:
            self._judge_ledger(session)

    def seen(self) -> Iterator[str]:
        """What has happened in it, to count: a test in which nothing happens proves nothing."""
        for session in self.sessions:
            for event in session.got("conversation.item.truncate"):
                yield "cut" if event["audio_end_ms"] else "cut unheard"
            for event in session.got("conversation.item.delete"):
                yield "corrected" if event["item_id"].startswith("back_") else "deleted"
            first = {each.item_id for each in beginning(session).told} if session is not self.sessions[0] else set()
            for each in told(session.got("conversation.item.create")):
                if each.item_id.startswith("back_"):
                    kind = "tool" if each.line.startswith("You called") else "audio" if each.audio else "words"
                    yield f"{kind} put back{'' if each.item_id in first else ' later'}"

    # The caller

    def _judge_audio(self) -> None:
        """Each session has heard a piece of the caller in order, each frame once, and begins within what came before.

        `missing` gets the holes: the caller of the test must know whether the network's side has left so much out.
        """
        previous: list[int] = []
        for session in self.sessions:
            numbers = count(session.audio).numbers
            assert numbers, "heard nothing"
            assert all(a < b for a, b in pairwise(numbers)), f"server {session.server}: repeats, or out of order"
            self.missing |= set(range(numbers[0], numbers[-1])) - set(numbers)
            if previous:
                assert numbers[0] <= previous[-1] + 1, f"lost {previous[-1] + 1}..{numbers[0] - 1}"
            previous = numbers

    def _start(self, former: Lived, now: Known, replay: bytes) -> None:
        """The next session hears first what the one before had made no item of, from its very first frame on."""
        heard = count(former.audio)
        from_ms = now.done_ms if now.turn_ms is None else now.turn_ms
        expected = next((number for at, number in heard.frames if at >= from_ms * MS), heard.numbers[-1] + 1)
        begins = count(replay).numbers[0]
        longest = len(former.audio) // MS - from_ms
        if now.turn_ms is None and longest > QUIET_MS - UNKNOWN_MS:
            fits = expected <= begins <= heard.numbers[-1] + 1
        else:
            fits = begins == expected
        if not fits:
            raise Unlike(f"the next session hears from frame {begins}, not {expected}")

    # The change from one session to the next

    def _judge_change(self, past: list[Turn], former: Lived, session: Lived) -> list[Turn]:
        """One point of the old journal explains the new session; the turns of the old one up to there."""
        died = self.kills[former.server]
        total = len(former.sent)
        first: AssertionError | None = None
        seen = beginning(session)
        for upto in range(total, -1, -1):
            now = known(former, upto)
            try:
                self._fits(past, former, now, seen, session)
            except AssertionError as unlike:
                first = first or unlike
                if upto and died - former.sent[upto - 1][0] > UNKNOWN_MS * 1_000_000:
                    break
            else:
                self.lag_ms.append((died - former.sent[upto][0]) / 1e6 if upto < total else 0.0)
                self.phases.append(self._phase(former, now))
                return now.turns
        raise first or AssertionError

    def _fits(self, past: list[Turn], former: Lived, now: Known, seen: Beginning, session: Lived) -> None:
        self._start(former, now, seen.replay)
        self._order([*past, *now.turns], seen)
        self._judge_words(now.turns, self.sessions[-1])
        owed = self._owed(past, former, now, seen)
        if seen.asked != owed:
            raise Unlike(f"asked for {seen.asked}, owed was {owed}")

    def _order(self, turns: list[Turn], seen: Beginning) -> None:
        """Everything that was said is there, once, in order, and nothing else."""
        left = list(seen.told)
        for turn in turns:
            if left and self._is(turn, left[0]):
                left.pop(0)
            elif not self._may_be_missing(turn):
                raise Unlike(f"{turn.who} {turn.item_id} {turn.text!r} is not put back, but {left[:1]} is")
        if left:
            raise Unlike(f"nobody said {left}")

    def _is(self, turn: Turn, told_: Told) -> bool:
        if told_.item_id and told_.item_id != back(turn.call_id or turn.item_id):
            return False
        if turn.who == "tool":
            return told_.line == f"You called {turn.name}({turn.text}): {self.results.get(turn.call_id)}"
        if turn.who == "agent":
            return _is_beginning(told_.line.removeprefix("You: "), turn)
        if turn.known:
            return told_.line == f"Caller: {turn.text}"
        return told_.line == "Caller: (not understood)" and (not told_.item_id or told_.audio == turn.audio)

    def _may_be_missing(self, turn: Turn) -> bool:
        if turn.who == "agent":  # of which no word was heard
            return self.wire.get(turn.number, 0) // MS < 600
        if turn.who == "tool":  # its result came later: `_judge_words`
            return True
        return turn.known and not turn.text

    def _owed(self, past: list[Turn], former: Lived, now: Known, seen: Beginning) -> list[str]:
        """What the caller waits for."""
        if now.turn_ms is not None and not now.begun:
            return []  # he speaks: he will be answered when he has finished
        tools = [turn for turn in (*past, *now.turns) if turn.who == "tool"]
        if not all(any(self._is(turn, each) for each in seen.told) for turn in tools):
            return []  # one still runs: its result will ask
        if any(not _is_answered(former, call) for call in now.calls):
            return ["answer"]
        asked = [event for event in former.got("response.create")]
        began = any(turn.who == "agent" and turn.received_ms for turn in now.turns)
        if now.active or now.waits or _is_asked(former, now):
            greeting = not began and len(asked) == 1 and wanted(asked[0]) == "greeting"
            caller_spoke = any(turn.who == "caller" for turn in now.turns)
            return ["rest" if now.active and now.begun else "greeting" if greeting and not caller_spoke else "answer"]
        return []

    def _phase(self, former: Lived, now: Known) -> str:
        if now.turn_ms is not None:
            return "the caller speaks"
        if any(not _is_answered(former, call) for call in now.calls):
            return "a tool runs"
        if not any(turn.who == "caller" for turn in now.turns):
            return "greeting" if now.active else "silence"
        if now.active:
            return "the agent speaks" if now.begun else "the agent thinks"
        return "no answer yet" if now.waits else "silence"

    # Afterwards

    def _judge_ledger(self, session: Lived) -> None:
        """Truncates name items of the session they are sent to, and exactly the milliseconds on the wire."""
        own = {turn.item_id: turn for turn in known(session, len(session.sent)).turns if turn.who == "agent"}
        for event in session.got("conversation.item.truncate"):
            turn = own.get(event["item_id"])
            assert turn is not None, f"server {session.server} has no item {event['item_id']}"
            on_wire = self.wire.get(turn.number, 0)
            assert event["audio_end_ms"] == on_wire // MS, f"item {turn.number}: {on_wire} bytes on the wire"
        for event in session.got("conversation.item.delete"):
            turn = own.get(event["item_id"])
            assert event["item_id"].startswith("back_") or (turn and not self.wire.get(turn.number)), event

    def _judge_words(self, past: list[Turn], session: Lived) -> None:
        """What the last session has of all that was said before it is what was heard, and each tool's result once."""
        texts: dict[str, str] = {}
        for _, event in session.received:
            if event["type"] == "conversation.item.create" and event["item"].get("role") == "assistant":
                after = event.get("previous_item_id")
                texts[after or event["item"]["id"]] = event["item"]["content"][0]["text"]
                corrected = after
            elif event["type"] == "conversation.item.delete" and event["item_id"].startswith("back_"):
                if event["item_id"] != corrected:
                    texts.pop(event["item_id"], None)
                corrected = ""
        creates = session.got("conversation.item.create")
        older = any(OLDER in text_of(event["item"]) for event in creates)
        lines = [told_.line for told_ in told(creates)]
        for turn in past:
            if turn.who == "agent" and (back(turn.item_id) in texts or not older):
                self._judge_heard(turn, texts.get(back(turn.item_id), ""))
            elif turn.who == "tool" and turn.call_id in self.settled:
                line = f"You called {turn.name}({turn.text}): {self.results[turn.call_id]}"
                assert lines.count(line) == 1, f"{line}: {lines.count(line)} times"

    def _judge_heard(self, turn: Turn, text: str) -> None:
        heard_ms = self.wire.get(turn.number, 0) // MS
        untold = 0 < self.unfinished <= turn.number and heard_ms < turn.received_ms
        if untold and (not text or _fits_heard(turn, text, turn.received_ms)):
            return
        assert _fits_heard(turn, text, heard_ms), f"item {turn.number}: {heard_ms} of {turn.received_ms} ms, {text!r}"


def _fits_heard(turn: Turn, text: str, heard_ms: int) -> bool:
    """Whether these are the words of so many milliseconds, marked where they were cut."""
    words, is_cut = text.removesuffix(MARK), text.endswith(MARK)
    whole = turn.ended and heard_ms >= turn.received_ms
    if is_cut != (bool(words) and not whole):
        return False
    if turn.ended:  # exactly: the words that lie wholly within what was heard
        return words == _whole_words(turn.text, len(turn.text) * heard_ms // max(1, turn.received_ms))
    spoken = len(words) / 0.015  # how fast it was said is an estimate
    return 0.55 * heard_ms - 900 <= spoken <= 1.5 * heard_ms + 450


def _is_beginning(text: str, turn: Turn) -> bool:
    words = text.removesuffix(MARK)
    return bool(words) and turn.text.startswith(words)


def _whole_words(text: str, length: int) -> str:
    while 0 < length < len(text) and not (text[length - 1].isspace() or text[length].isspace()):
        length -= 1
    return text[:length].rstrip()


def _is_answered(session: Lived, call_id: str) -> bool:
    outputs = (event["item"] for event in session.got("conversation.item.create"))
    return any(item["type"] == "function_call_output" and item["call_id"] == call_id for item in outputs)


def _is_asked(session: Lived, now: Known) -> bool:
    """Whether the bridge had asked for a response that had not begun."""
    asked = [t for t, event in session.received if event["type"] == "response.create"]
    return bool(asked) and asked[-1] > now.begun_at
