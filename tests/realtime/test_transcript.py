"""The transcript of a call: its order, what was heard of it, what a new session is told, and its bounds."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.realtime import events as ev
from bridge.realtime import transcript as module
from bridge.realtime.history import AgentWords, CallerWords, Note, ToolUse
from bridge.realtime.transcript import Entry, Transcript
from bridge.realtime.transcript_history import UNKNOWN_WORDS
from bridge.realtime.transcript_slot import TEXT_LIMIT, word_end

SENTENCE = "We open at nine and close at six every day."


@dataclass(frozen=True)
class Heard:
    item_id: str
    sent_ms: int


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Conversation:
    """A transcript, and short words for what happens in a call."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.transcript = Transcript(self.clock)

    def caller(self, item_id: str, text: str | None, behind: str | None = None) -> Conversation:
        self.tell(ev.Committed(item_id), ev.Placed(item_id, "caller", behind))
        return self.tell(ev.CallerSaid(item_id, text)) if text is not None else self

    def agent(self, item_id: str, text: str, behind: str | None = None, ms: float = 0) -> Conversation:
        """A finished item; its audio has `ms` milliseconds, by default 60 for a character."""
        self.tell(ev.Placed(item_id, "agent", behind), ev.AgentSaying(item_id, text))
        self.transcript.audio(item_id, ms or 60 * len(text))
        return self.tell(ev.AudioEnd(item_id), ev.AgentSaid(item_id, text))

    def tell(self, *events: ev.Event) -> Conversation:
        for event in events:
            self.transcript.observe(event)
        return self

    @property
    def lines(self) -> list[str]:
        return [f"{entry.role}: {entry.text}" for entry in self.transcript.entries()]

    def entry(self, item_id: str) -> Entry:
        return next(entry for entry in self.transcript.entries() if entry.item_id == item_id)


# Order


def test_the_callers_words_stand_before_the_answer_although_they_come_after_it() -> None:
    talk = Conversation().caller("u1", None)
    talk.agent("a1", "At nine.", behind="u1")
    talk.tell(ev.CallerSaid("u1", "When do you open?"))
    assert talk.lines == ["caller: When do you open?", "agent: At nine."]


def test_words_that_come_before_their_item_exists_make_its_place() -> None:
    talk = Conversation().agent("a1", "Hello.")
    talk.tell(ev.CallerSaid("u1", "Good morning."))
    talk.caller("u1", None, behind="a1").agent("a2", "What can I do for you?", behind="u1")
    assert talk.lines == ["agent: Hello.", "caller: Good morning.", "agent: What can I do for you?"]


def test_an_item_waits_for_the_one_it_stands_behind() -> None:
    talk = Conversation().agent("a1", "At nine.", behind="u1")
    talk.caller("u1", "When do you open?")
    assert talk.lines == ["caller: When do you open?", "agent: At nine."]


def test_an_item_without_a_predecessor_stands_behind_all_that_is_there() -> None:
    talk = Conversation().tell(ev.CallerSaid("u2", "And on Sunday?"))
    talk.caller("u1", "When do you open?").agent("a1", "At nine.", behind="u1")
    talk.tell(ev.Placed("u2", "caller", None))
    talk.agent("a2", "We are closed.", behind="u2")
    assert [entry.item_id for entry in talk.transcript.entries()] == ["u1", "a1", "u2", "a2"]


def test_a_second_place_without_a_predecessor_changes_nothing() -> None:
    talk = Conversation().caller("u1", "When?").agent("a1", "At nine.", behind="u1").caller("u2", "Thanks.", "a1")
    talk.tell(ev.Placed("a1", "agent", None), ev.Placed("u1", "caller", None))
    assert [entry.item_id for entry in talk.transcript.entries()] == ["u1", "a1", "u2"]


def test_what_follows_a_deleted_item_stands_behind_it() -> None:
    talk = Conversation().caller("u1", "When?").agent("a1", "At nine.", behind="u1").caller("u2", "Thanks.", "u1")
    assert [entry.item_id for entry in talk.transcript.entries()] == ["u1", "a1", "u2"]


def test_a_note_stands_where_it_was_made() -> None:
    talk = Conversation().caller("u1", "My number is")
    talk.transcript.asked("The caller pressed 42.")
    talk.agent("a1", "Thank you.", behind="u1").caller("u2", "Bye.", "a1")
    assert talk.lines == ["caller: My number is", "note: The caller pressed 42.", "agent: Thank you.", "caller: Bye."]


@given(st.integers(1, 12), st.data())
def test_any_order_of_events_gives_the_order_of_the_chain(length: int, data: st.DataObject) -> None:
    events: list[ev.Event] = []
    for number in range(length):
        previous = f"i{number - 1}" if number else None
        if number % 2:
            events += [ev.Placed(f"i{number}", "agent", previous), ev.AgentSaid(f"i{number}", f"answer {number}")]
        else:
            events += [ev.Placed(f"i{number}", "caller", previous), ev.CallerSaid(f"i{number}", f"question {number}")]
            events += [ev.Committed(f"i{number}")]
    talk = Conversation().tell(*data.draw(st.permutations(events)))
    assert [entry.item_id for entry in talk.transcript.entries()] == [f"i{number}" for number in range(length)]
    texts = [entry.text or entry.unheard for entry in talk.transcript.entries()]
    assert texts == [f"{'answer' if number % 2 else 'question'} {number}" for number in range(length)]


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=40))
def test_rings_and_repeated_places_lose_no_entry(pairs: list[tuple[int, int]]) -> None:
    talk = Conversation()
    for item, previous in pairs:
        talk.tell(ev.Placed(f"i{item}", "caller", f"i{previous}"), ev.CallerSaid(f"i{item}", "yes"))
    assert sorted(entry.item_id for entry in talk.transcript.entries()) == sorted({f"i{item}" for item, _ in pairs})


def test_times_are_those_of_the_call_and_a_caller_begins_when_he_begins_to_speak() -> None:
    talk = Conversation()
    talk.clock.now = 4.18
    talk.tell(ev.SpeechStarted(4180, "u1"))
    talk.clock.now = 6.02
    talk.caller("u1", "When do you open?")
    talk.clock.now = 6.5
    talk.agent("a1", "At nine.", "u1")
    assert [entry.at_ms for entry in talk.transcript.entries()] == [4180, 6500]


# What the caller said


def test_a_later_transcript_of_the_same_words_replaces_the_earlier_one() -> None:
    talk = Conversation().caller("u1", "When do").tell(ev.CallerSaid("u1", "When do you open?"))
    assert talk.lines == ["caller: When do you open?"]


def test_a_turn_without_words_is_told_as_one_and_a_turn_of_silence_is_not() -> None:
    talk = Conversation().caller("u1", None).caller("u2", "", "u1").tell(ev.NotTranscribed("u3"))
    assert talk.lines == ["caller: (not transcribed)", "caller: (not transcribed)"]
    assert talk.transcript.history() == (Note(UNKNOWN_WORDS), Note(UNKNOWN_WORDS))


def test_noise_that_was_deleted_is_no_turn_even_when_its_words_come_later() -> None:
    talk = Conversation().caller("u1", None)
    talk.transcript.cut([ev.Truncated("u1", -1), ev.Truncated("u2", -1)])
    talk.tell(ev.CallerSaid("u1", "Hm."), ev.Committed("u2"))
    assert talk.lines == []
    assert talk.transcript.history() == ()


def test_an_item_that_is_only_placed_is_no_entry() -> None:
    talk = Conversation().tell(ev.Placed("u1", "caller"), ev.Placed("a1", "agent"), ev.Placed("t1", "tool"))
    assert talk.lines == []


def test_audio_stands_for_words_until_they_come() -> None:
    talk = Conversation().caller("u1", None)
    talk.transcript.turn_audio("u1", b"\x7f" * 800)
    assert talk.transcript.history() == (CallerWords("u1", "", b"\x7f" * 800),)
    talk.tell(ev.CallerSaid("u1", "Hello?"))
    assert talk.transcript.history() == (CallerWords("u1", "Hello?"),)
    talk.transcript.turn_audio("u1", b"\x7f" * 800)
    assert talk.transcript.history() == (CallerWords("u1", "Hello?"),)


def test_audio_of_turns_is_bounded_and_the_oldest_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AUDIO_BYTES", 1000)
    talk = Conversation()
    for item in ("u1", "u2", "u3"):
        talk.transcript.turn_audio(item, bytes(400))
    talk.transcript.turn_audio("u4", bytes(1001))
    kept = [turn.item_id for turn in talk.transcript.history() if isinstance(turn, CallerWords)]
    assert kept == ["u2", "u3"]
    talk.tell(ev.CallerSaid("u3", "Yes."))
    talk.transcript.turn_audio("u5", bytes(600))
    assert [turn.audio for turn in talk.transcript.history() if isinstance(turn, CallerWords)] == [
        bytes(400),
        b"",
        bytes(600),
    ]


# What the agent said


def test_words_that_were_not_heard_stand_apart() -> None:
    talk = Conversation().agent("a1", SENTENCE, ms=4000)
    talk.transcript.cut([Heard("a1", 2000)])
    entry = talk.entry("a1")
    assert (entry.heard, entry.unheard) == ("We open at nine and", "close at six every day.")
    assert (entry.text, entry.cut) == ("We open at nine and...[interrupted]", True)
    assert (entry.received_ms, entry.heard_ms) == (4000, 2000)
    assert talk.transcript.heard_text("a1") == "We open at nine and...[interrupted]"
    assert talk.transcript.history() == (AgentWords("a1", "We open at nine and...[interrupted]", cut=True),)


def test_an_item_heard_to_its_end_is_not_cut() -> None:
    talk = Conversation().agent("a1", SENTENCE, ms=4000.5)
    talk.transcript.cut([Heard("a1", 4000)])
    assert (talk.entry("a1").text, talk.entry("a1").cut) == (SENTENCE, False)


def test_what_was_deleted_unheard_is_told_to_no_session_but_stays_on_record() -> None:
    talk = Conversation().agent("a1", SENTENCE)
    talk.tell(ev.Truncated("a1", -1))
    assert (talk.entry("a1").heard, talk.entry("a1").unheard, talk.entry("a1").cut) == ("", SENTENCE, True)
    assert talk.transcript.heard_text("a1") == ""
    assert talk.transcript.history() == ()


def test_the_smallest_of_several_cuts_counts() -> None:
    talk = Conversation().agent("a1", SENTENCE, ms=4000)
    talk.transcript.cut([Heard("a1", 2000), ev.Truncated("a1", 1000), Heard("a1", 3000), Heard("unknown", 1)])
    assert talk.entry("a1").heard_ms == 1000


def test_words_of_which_no_audio_came_were_not_heard() -> None:
    talk = Conversation().tell(ev.AgentSaying("a1", "Text only."), ev.AudioEnd("a1"), ev.AgentSaid("a1", "Text only."))
    assert (talk.entry("a1").text, talk.entry("a1").unheard, talk.entry("a1").cut) == ("", "Text only.", True)
    assert talk.transcript.history() == ()


def test_pieces_are_kept_until_the_whole_text_takes_their_place() -> None:
    talk = Conversation().tell(ev.AgentSaying("a1", "We opn "), ev.AgentSaying("a1", "at nine."))
    talk.transcript.audio("a1", 5000)
    assert talk.entry("a1").heard == "We opn at nine."
    talk.tell(ev.AudioEnd("a1"), ev.AgentSaid("a1", "We open at nine."), ev.AgentSaying("a1", " late piece"))
    assert talk.lines == ["agent: We open at nine."]
    talk.tell(ev.AgentSaid("a1", "We open at 9."))
    assert talk.lines == ["agent: We open at 9."]


def test_a_text_that_a_server_blanks_after_a_cut_stays_as_it_was() -> None:
    talk = Conversation().agent("a1", SENTENCE, ms=4000).tell(ev.AgentSaid("a1", ""))
    assert talk.lines == [f"agent: {SENTENCE}"]


def test_a_server_that_shortens_the_text_of_what_was_cut_says_what_was_heard() -> None:
    talk = Conversation().agent("a1", SENTENCE, ms=4000)
    talk.transcript.cut([Heard("a1", 2000)])
    talk.tell(ev.AgentSaid("a1", "We open at..."))
    entry = talk.entry("a1")
    assert (entry.text, entry.heard) == ("We open at...[interrupted]", "We open at")
    assert entry.unheard == "nine and close at six every day."


def test_a_shorter_text_of_what_was_not_cut_is_a_correction() -> None:
    assert Conversation().agent("a1", SENTENCE).tell(ev.AgentSaid("a1", "We open")).lines == ["agent: We open"]


def test_of_an_answer_that_a_dead_socket_cut_off_only_what_its_audio_could_hold_was_said() -> None:
    talk = Conversation().tell(ev.Placed("a1", "agent"), ev.AgentSaying("a1", SENTENCE))
    talk.transcript.audio("a1", 1000)  # text runs ahead: at the usual 15 characters a second
    assert talk.transcript.history() == (AgentWords("a1", "We open at nine...[interrupted]", cut=True),)
    talk.transcript.new_session()
    assert talk.transcript.history() == (AgentWords("a1", "We open at nine...[interrupted]", cut=True),)
    talk.transcript.cut([Heard("a1", 500)])
    assert talk.transcript.heard_text("a1") == "We open...[interrupted]"


def test_the_agents_own_pace_tells_how_much_it_has_said() -> None:
    talk = Conversation().agent("a1", "x" * 100, ms=10_000).tell(ev.AgentSaying("a2", SENTENCE))
    talk.transcript.audio("a2", 1000)
    assert talk.transcript.heard_text("a2") == "We open at...[interrupted]"  # 10 characters


def test_a_completed_response_ends_items_that_the_server_forgot_to_end() -> None:
    talk = Conversation().tell(ev.AgentSaying("a1", SENTENCE))
    talk.transcript.audio("a1", 1000)
    talk.tell(ev.ResponseEnded("r1", "cancelled", "turn_detected"))
    assert talk.entry("a1").cut
    talk.tell(ev.ResponseEnded("r1", "completed", ""))
    assert talk.lines == [f"agent: {SENTENCE}"]


def test_an_item_cut_while_it_was_made_was_never_finished() -> None:
    talk = Conversation().tell(ev.AgentSaying("a1", SENTENCE))
    talk.transcript.audio("a1", 1000)
    talk.transcript.cut([Heard("a1", 1000)])
    talk.tell(ev.AudioEnd("a1"), ev.AgentSaid("a1", SENTENCE))
    assert (talk.entry("a1").heard, talk.entry("a1").cut) == ("We open at nine", True)


@pytest.mark.parametrize(
    ("text", "length", "end"),
    [
        ("We open at nine.", 9, "We open "),
        ("We open at nine.", 7, "We open"),
        ("We open at nine.", 8, "We open "),
        ("We open at nine.", 1, ""),
        ("We open at nine.", 16, "We open at nine."),
        ("我们九点开门", 3, "我们九"),
        ("เราเปิดเก้าโมง", 3, "เรา"),
        ("", 0, ""),
    ],
)
def test_a_text_is_cut_at_a_words_end_downwards(text: str, length: int, end: str) -> None:
    assert text[: word_end(text, length)] == end


@given(st.text(max_size=60), st.integers(0, 5000), st.integers(1, 5000))
def test_heard_and_unheard_together_are_what_was_said(text: str, heard_ms: int, received_ms: int) -> None:
    talk = Conversation().tell(ev.Placed("a1", "agent"))
    talk.transcript.audio("a1", received_ms)
    talk.tell(ev.AudioEnd("a1"), ev.AgentSaid("a1", text))
    talk.transcript.cut([Heard("a1", heard_ms)])
    if text:
        entry = talk.entry("a1")
        assert "".join((entry.heard + entry.unheard).split()) == "".join(text.split())
        assert len(entry.heard) <= len(text) * min(heard_ms, received_ms) / received_ms


# Tools


def test_a_call_and_its_result_stand_together_where_the_call_was_made() -> None:
    talk = Conversation().caller("u1", "Have you got B-12?")
    talk.tell(ev.Placed("f1", "tool", "u1"), ev.ToolCall("c1", "stock_level", '{"article": "B-12"}'))
    talk.agent("a1", "Let me look.", "f1").caller("u2", "Hurry.", "a1")
    assert talk.lines[1] == 'tool: stock_level({"article": "B-12"}) -> no result'
    assert [type(turn) for turn in talk.transcript.history()] == [CallerWords, AgentWords, CallerWords]
    talk.transcript.tool_result("c1", {"level": 4})
    talk.transcript.tool_result("c1", {"level": 5})
    assert talk.lines[1] == 'tool: stock_level({"article": "B-12"}) -> {"level": 4}'
    assert talk.transcript.history()[1] == ToolUse("c1", "stock_level", '{"article": "B-12"}', '{"level": 4}')


def test_the_same_call_in_several_events_is_one() -> None:
    talk = Conversation().tell(ev.ToolCall("c1", "look", "{}"), ev.ToolCall("c1", "look", "{}"))
    assert talk.lines == ["tool: look({}) -> no result"]


def test_parallel_calls_get_their_own_results() -> None:
    talk = Conversation().tell(ev.ToolCall("c1", "look", "{}"), ev.ToolCall("c2", "ask", "{}"))
    talk.transcript.tool_result("c2", {"n": 2})
    talk.transcript.tool_result("c1", {"n": 1})
    talk.transcript.tool_result("unknown", {})
    assert talk.lines == ['tool: look({}) -> {"n": 1}', 'tool: ask({}) -> {"n": 2}']


def test_a_cancelled_call_has_no_result_any_more() -> None:
    talk = Conversation().tell(ev.ToolCall("c1", "look", "{}"), ev.ToolCancelled("c1"))
    talk.transcript.tool_result("c1", {})
    talk.transcript.new_session()
    assert talk.lines == ["tool: look({}) -> cancelled"]
    assert talk.transcript.history() == ()
    assert talk.transcript.unfinished_call("c1") is None
    assert not talk.transcript.has_unfinished_calls


def test_a_call_that_outlived_its_session_is_known_until_its_result_comes() -> None:
    talk = Conversation().tell(ev.ToolCall("c1", "look", "{}"))
    assert talk.transcript.unfinished_call("c1") is None
    assert talk.transcript.has_unfinished_calls
    talk.transcript.new_session()
    talk.caller("u1", "Still there?")
    assert talk.transcript.unfinished_call("c1") == ev.ToolCall("c1", "look", "{}")
    talk.transcript.tool_result("c1", {"ok": True})
    assert talk.transcript.unfinished_call("c1") is None
    assert not talk.transcript.has_unfinished_calls
    assert [type(turn) for turn in talk.transcript.history()] == [ToolUse, CallerWords]


@pytest.mark.parametrize("arguments", ["{not json", "", "[" * 100_000, '{"a": "' + "x" * 50_000 + '"}'])
def test_whatever_a_model_writes_as_arguments_is_put_back_as_json(arguments: str) -> None:
    talk = Conversation().tell(ev.ToolCall("c1", "look", arguments))
    talk.transcript.tool_result("c1", {"text": "y" * 50_000, "odd": "\ud800", "other": object()})
    used = talk.transcript.history()[0]
    assert isinstance(used, ToolUse)
    for text in (used.arguments, used.output):
        assert len(text.encode()) <= 2 * TEXT_LIMIT
        assert isinstance(json.loads(text), dict)


# Sessions


def test_what_a_new_session_says_stands_behind_everything_before() -> None:
    talk = Conversation().caller("item_1", "Hello.").agent("item_2", "Hi.", "item_1")
    talk.transcript.new_session()
    talk.agent("item_9", "Where were we?").caller("item_1", "At nine.", "item_0")
    assert talk.lines == ["caller: Hello.", "agent: Hi.", "agent: Where were we?", "caller: At nine."]
    assert [talk.transcript.is_former(f"item_{number}") for number in (1, 2, 9, 0)] == [False, True, False, False]


def test_an_item_of_a_former_session_can_still_be_cut() -> None:
    talk = Conversation().agent("a1", SENTENCE, ms=4000)
    talk.transcript.new_session()
    talk.transcript.cut([Heard("a1", 2000)])
    assert talk.transcript.heard_text("a1") == "We open at nine and...[interrupted]"


TURNS = st.lists(st.tuples(st.sampled_from(["caller", "agent", "tool", "note", "session"]), st.booleans()), max_size=30)


@given(TURNS)
def test_the_history_is_what_was_said_and_done_across_all_sessions(turns: list[tuple[str, bool]]) -> None:
    talk, expected, last = Conversation(), [], None
    for number, (what, good) in enumerate(turns):
        item = f"i{number}"
        if what == "caller":
            talk.caller(item, "Yes." if good else None, last)
            expected.append(CallerWords(item, "Yes.") if good else Note(UNKNOWN_WORDS))
        elif what == "agent":
            talk.agent(item, "Three whole words", last, ms=1000)
            talk.transcript.cut([] if good else [Heard(item, 500)])
            expected.append(AgentWords(item, "Three whole words" if good else "Three...[interrupted]", not good))
        elif what == "tool":
            talk.tell(ev.Placed(item, "tool", last), ev.ToolCall(item, "look", "{}"))
            if good:
                talk.transcript.tool_result(item, {"n": number})
                expected.append(ToolUse(item, "look", "{}", f'{{"n": {number}}}'))
        elif what == "note":
            talk.transcript.asked("He pressed 1.")
            expected.append(Note("He pressed 1."))
        else:
            talk.transcript.new_session()
            last = None
        last = item if what in ("caller", "agent", "tool") else last
    assert list(talk.transcript.history()) == expected


# Bounds


def test_a_history_is_bounded_in_turns_and_says_what_it_leaves_out() -> None:
    talk = Conversation()
    for number in range(250):
        talk.caller(f"u{number}", f"word {number}")
    history = talk.transcript.history()
    assert history[0] == Note("50 earlier turns of this conversation are left out.")
    assert history[1:] == tuple(CallerWords(f"u{number}", f"word {number}") for number in range(50, 250))


def test_a_history_is_bounded_in_characters() -> None:
    talk = Conversation()
    for number in range(10):
        talk.caller(f"u{number}", "x" * 15_000)
    assert talk.transcript.history() == (
        Note("8 earlier turns of this conversation are left out."),
        CallerWords("u8", "x" * 15_000),
        CallerWords("u9", "x" * 15_000),
    )


@pytest.mark.parametrize("per_session", [10_000, 700])
def test_the_oldest_entries_make_room_and_a_note_says_so(per_session: int) -> None:
    talk = Conversation()
    for number in range(5000):
        if number % per_session == per_session - 1:
            talk.transcript.new_session()
        talk.caller(f"u{number}", f"word {number}")
    entries = talk.transcript.entries()
    assert 1500 < len(entries) <= module.ENTRIES + 1
    assert entries[0].text == f"{5000 - len(entries) + 1} earlier entries were not kept"
    assert [entry.text for entry in entries[1:]] == [f"word {number}" for number in range(5001 - len(entries), 5000)]
    assert talk.transcript.history()[0] == Note("4800 earlier turns of this conversation are left out.")


def test_characters_are_bounded_too() -> None:
    talk = Conversation()
    for number in range(200):
        talk.caller(f"u{number}", "x" * 1_000_000).tell(ev.ToolCall(f"c{number}", "look", "y" * 1_000_000))
        talk.transcript.tool_result(f"c{number}", {"z": "z" * 100_000})
    kept = talk.transcript.entries()[1:]
    assert kept[-1].text.startswith("look(")
    assert sum(len(entry.text) for entry in kept) <= module.CHARACTERS


def test_endless_pieces_of_one_item_stay_bounded() -> None:
    talk = Conversation()
    for _ in range(200):
        talk.tell(ev.AgentSaying("a1", "x" * 1000))
    assert len(talk.entry("a1").unheard) == TEXT_LIMIT


def test_items_with_absurd_or_no_ids_are_left_out() -> None:
    long = "i" * 100_000
    talk = (
        Conversation().caller(long, "Hello.").caller("", "Hello.").agent(long, "Hi.").tell(ev.ToolCall(long, "f", ""))
    )
    talk.tell(ev.Placed("u1", "caller", long), ev.CallerSaid("u1", "Yes."))
    assert talk.lines == ["caller: Yes."]


def test_a_flood_of_places_and_of_calls_takes_no_more_room_than_a_call() -> None:
    talk = Conversation().caller("u0", "Hello.")
    for number in range(5000):
        talk.tell(
            ev.Placed(f"p{number}", "tool"), ev.ToolCall(f"c{number}", "f", "{}"), ev.AgentSaying(f"a{number}", "x")
        )
    assert all(
        len(getattr(talk.transcript, name)) <= module.ENTRIES
        for name in ("_slots", "_past", "_former", "_calls", "_unfinished", "_open", "_places")
    )


EVENTS = st.one_of(
    st.builds(
        ev.Placed,
        st.sampled_from("abcd"),
        st.sampled_from(["caller", "agent", "tool", "note"]),
        st.sampled_from("abcd"),
    ),
    st.builds(ev.CallerSaid, st.sampled_from("abcd"), st.text(max_size=5)),
    st.builds(ev.AgentSaying, st.sampled_from("abcd"), st.text(max_size=5)),
    st.builds(ev.AgentSaid, st.sampled_from("abcd"), st.text(max_size=5)),
    st.builds(ev.AudioEnd, st.sampled_from("abcd")),
    st.builds(ev.Committed, st.sampled_from("abcd")),
    st.builds(ev.Truncated, st.sampled_from("abcd"), st.integers(-1, 100)),
    st.builds(ev.ToolCall, st.sampled_from("abcd"), st.text(max_size=5), st.text(max_size=5)),
    st.just(ev.Back(ev.Ready("s", "m", "PCMU", "PCMU"))),  # type: ignore[arg-type]
)


@given(st.lists(EVENTS, max_size=40))
def test_no_events_in_any_order_break_it(events: list[ev.Event]) -> None:
    talk = Conversation()
    for event in events:
        if isinstance(event, ev.Back):
            talk.transcript.new_session()
        talk.tell(event)
        talk.transcript.audio("a", 10)
        talk.transcript.turn_audio("b", b"x")
    talk.transcript.entries()
    talk.transcript.history()
    sessions = 1 + sum(isinstance(event, ev.Back) for event in events)
    assert talk.transcript._audio_bytes <= sessions, "a byte of each session's turn"
