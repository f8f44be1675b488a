"""How long texts are cut for a service that takes 500 tokens at a time."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from bridge.realtime.live.texts import APPEND_TOKENS, pieces, shortened, tokens


def within_working_rule(piece: str) -> bool:
    """1,500 characters of Latin script, or 500 bytes of any other (reference section 14)."""
    return len(piece) <= 1500 and (piece.isascii() or tokens(piece) <= 500)


def test_a_short_text_stays_as_it_is() -> None:
    assert pieces("  One. Two!\nThree? ") == ["One. Two!\nThree?"]
    assert pieces(" \n ") == []


def test_latin_script_has_1500_characters_and_chinese_500_bytes() -> None:
    assert [len(piece) for piece in pieces("ä" * 3001)] == [1500, 1500, 1]
    assert [len(piece.encode()) for piece in pieces("好" * 200)] == [498, 102]


def test_a_long_text_is_cut_between_sentences() -> None:
    sentence = "a" * 600 + "."
    assert pieces(" ".join([sentence] * 5)) == [f"{sentence} {sentence}", f"{sentence} {sentence}", sentence]


def test_chinese_is_cut_behind_its_full_stops() -> None:
    sentence = "好" * 99 + "。"
    assert pieces(sentence * 3) == [sentence] * 3


def test_a_long_sentence_is_cut_between_words() -> None:
    words = "wonderful " * 200
    found = pieces(words)
    assert len(found) == 2
    assert " ".join(found) == words.strip()


@given(st.text(alphabet=st.sampled_from("ab. !好。\n…"), max_size=400), st.integers(3, 40))
def test_nothing_but_white_space_is_lost_and_no_piece_is_too_long(text: str, most: int) -> None:
    found = pieces(text, most)
    assert re.sub(r"\s", "", "".join(found)) == re.sub(r"\s", "", text)
    assert all(piece.strip() and tokens(piece) <= most for piece in found)


@given(st.text(max_size=3000))
def test_every_piece_keeps_to_the_working_rule(text: str) -> None:
    assert all(within_working_rule(piece) for piece in pieces(text, APPEND_TOKENS))


@given(st.text(max_size=200), st.integers(8, 20))
def test_what_is_shortened_fits(text: str, most: int) -> None:
    found = shortened(text, most)
    assert found == text or (found.endswith("…") and text.startswith(found[:-1]))
    assert tokens(found) <= most
