"""Which words were heard, by the place of each sentence in the sound."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.agent.heard import heard_text
from bridge.agent.items import Item

ONE, TWO = "One two three.", " Four five six."


def item(sent_ms: int, truncated_ms: int | None = None, *, whole: bool = False, second_at: int | None = 1000) -> Item:
    marks = [(0, ONE)] + ([] if second_at is None else [(8 * second_at, TWO)])
    words = "".join(text for _, text in marks)
    return Item(
        "i", "message", role="assistant", words=words, sent_bytes=8 * sent_ms, marks=marks, said_whole=whole,
        truncated_ms=truncated_ms,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("truncated_ms", "heard"),
    [
        (None, ONE + TWO),
        (2500, ONE + TWO),
        (2499, ONE + " Four five"),
        (1800, ONE + " Four"),
        (1000, ONE),
        (999, "One two"),
        (400, "One"),
        (0, ""),
    ],
)
def test_words_up_to_the_truncation(truncated_ms: int | None, heard: str) -> None:
    assert heard_text(item(2500, truncated_ms, whole=True)) == heard


def test_a_truncation_at_the_last_whole_millisecond_cuts_nothing() -> None:
    spoken = item(2500, 2500, whole=True)
    spoken.sent_bytes += 5
    assert heard_text(spoken) == ONE + TWO


def test_the_end_of_a_sentence_that_was_cut_off_is_judged_by_the_ones_before() -> None:
    # 14 letters took 1000 ms, so 15 letters take 1071 ms; half of them were sent.
    assert heard_text(item(1540)) == ONE + " Four"
    assert heard_text(item(1540, 1200)) == ONE
    assert heard_text(item(1000)) == ONE


def test_the_only_sentence_is_judged_by_usual_speech() -> None:
    assert heard_text(item(500, second_at=None)) == "One two"
    assert heard_text(item(5000, second_at=None)) == ONE


def test_an_item_without_sound_or_marks() -> None:
    assert heard_text(Item("i", "message", role="assistant", words="Written.")) == "Written."
    assert heard_text(Item("i", "message", role="assistant")) == ""
    plain = Item("i", "message", role="assistant", words="One two three four", sent_bytes=8000, truncated_ms=500)
    assert heard_text(plain) == "One two"


@given(
    st.lists(st.tuples(st.integers(0, 3000), st.text(max_size=30)), min_size=1, max_size=6),
    st.integers(0, 20_000),
    st.booleans(),
)
def test_more_time_never_means_fewer_words(parts: list[tuple[int, str]], end_ms: int, whole: bool) -> None:
    marks, at = [], 0
    for ms, text in parts:
        marks.append((8 * at, text))
        at += ms
    words = "".join(text for _, text in parts)
    spoken = Item("i", "message", role="assistant", words=words, sent_bytes=8 * at, marks=marks, said_whole=whole)
    heard = []
    for spoken.truncated_ms in (0, min(end_ms, at) // 2, min(end_ms, at)):
        heard.append(heard_text(spoken))
    assert all(words.startswith(each) for each in heard)
    assert [len(each) for each in heard] == sorted(len(each) for each in heard)
