"""Where a text that is still being written may be cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.agent.sentences import FIRST_CHARS, MAX_CHARS, Sentences, speakable


def cut(text: str) -> list[str]:
    sentences = Sentences()
    return sentences.feed(text) + sentences.finish()


@pytest.mark.parametrize(
    "pieces",
    [
        ["One is here.", " Two is there!", " And three?"],
        ["Yes.", " No.", " I did."],
        ["“Really?”", " Yes (I think so.)", " Good."],
        ["Wait...", " Now."],
        ["Dr. Smith and Mrs. J. R. Jones are here.", " Come in."],
        ["Your total is 12.50 euros.", " Thanks."],
        ["Am 3. Mai um 14 Uhr, z.B. bei Hr. Maier.", " Gut."],
        ["We met in 2024.", " Then we left."],
        ["He asked: what? and left.", " End."],
        ["See example.com for more.", " Bye."],
        ["First line\n", "Second line\n", "\nThird"],
        ["今日は。", "お元気ですか？", "はい"],
        ["Version 2. 5 is out."],
    ],
)
def test_sentences_are_told_from_stops_that_are_none(pieces: list[str]) -> None:
    assert cut("".join(pieces)) == pieces


def test_a_sentence_is_given_as_soon_as_the_next_begins() -> None:
    sentences = Sentences()
    assert sentences.feed("This is it.") == []
    assert sentences.feed(" ") == []
    assert sentences.feed("N") == ["This is it."]
    assert sentences.feed("ow") == []
    assert sentences.finish() == [" Now"]


def test_only_the_beginning_may_be_cut_at_a_comma() -> None:
    text = "If you would like to book a table, I can do that, of course. After that we talk about it, if you like."
    pieces = cut(text)
    assert pieces[0] == "If you would like to book a table,"
    assert pieces[1:] == [" I can do that, of course.", " After that we talk about it, if you like."]
    assert cut("Well, yes, of course.") == ["Well, yes, of course."]
    assert len("Well, yes, of course.") < FIRST_CHARS


def test_a_sentence_without_end_is_cut_at_a_clause_or_a_blank_or_anywhere() -> None:
    for text in ("word, " * 200, "word " * 200, "w" * 1000):
        pieces = cut(text)
        assert "".join(pieces) == text
        assert max(map(len, pieces)) <= MAX_CHARS
    assert all(piece.rstrip().endswith(",") for piece in cut("word word, " * 200))
    assert all(piece.strip().split()[-1] == "word" for piece in cut("word " * 200) if piece.strip())


@given(st.text(alphabet="aAI .,!?\n\"'1。", max_size=600), st.lists(st.integers(1, 40), max_size=40))
def test_the_pieces_join_to_the_text_however_it_comes(text: str, sizes: list[int]) -> None:
    sentences, pieces, start = Sentences(), [], 0
    for size in [*sizes, len(text)]:
        pieces += sentences.feed(text[start : start + size])
        start += size
    pieces += sentences.finish()
    assert "".join(pieces) == text
    assert all(0 < len(piece) <= MAX_CHARS for piece in pieces)


@given(st.text(max_size=900))
def test_no_text_breaks_it(text: str) -> None:
    assert "".join(cut(text)) == text
    speakable(text)


@pytest.mark.parametrize(
    ("piece", "spoken"),
    [
        (" **Yes**, `now`.", "Yes, now."),
        ("## Title\n", "Title"),
        ("- an entry", "an entry"),
        ("see [our page](https://example.com/a_b) now", "see our page now"),
        ("a - b", "a - b"),
        ("3 * 4", "3  4"),
        (" ---\n", ""),
        ("🙂", ""),
        ("\n\n", ""),
        ("ты", "ты"),
    ],
)
def test_the_voice_gets_words_without_marks(piece: str, spoken: str) -> None:
    assert speakable(piece) == spoken
