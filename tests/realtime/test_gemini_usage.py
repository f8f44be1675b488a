"""Tokens of a session: each counted once."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.realtime.faults import Malformed
from bridge.realtime.gemini.usage import MOST_TOKENS, TurnUsage, tokens_of


def usage(text: int = 0, audio: int = 0, out: int = 0) -> dict[str, Any]:
    return {
        "promptTokenCount": text + audio,
        "responseTokenCount": out,
        "promptTokensDetails": [
            {"modality": "TEXT", "tokenCount": text},
            {"modality": "AUDIO", "tokenCount": audio},
        ],
        "responseTokensDetails": [{"modality": "AUDIO", "tokenCount": out}],
    }


def test_kinds_follow_the_modalities_and_thoughts_are_text() -> None:
    told = usage(1150, 20, 85) | {"thoughtsTokenCount": 28, "toolUsePromptTokenCount": 7}
    assert tokens_of(told) == {"text_in": 1157, "audio_in": 20, "audio_out": 85, "text_out": 28}


def test_cached_tokens_are_not_in_the_others() -> None:
    told = usage(100, 50, 1) | {
        "cachedContentTokenCount": 90,
        "cacheTokensDetails": [
            {"modality": "TEXT", "tokenCount": 60},
            {"modality": "AUDIO", "tokenCount": 30},
        ],
    }
    assert tokens_of(told) == {"text_in": 40, "audio_in": 20, "text_cached": 60, "audio_cached": 30, "audio_out": 1}


def test_what_the_details_leave_out_is_not_lost() -> None:
    told = {"promptTokenCount": 9, "responseTokenCount": 4, "responseTokensDetails": [{"tokenCount": 1}]}
    assert tokens_of(told) == {"text_in": 9, "text_out": 1, "audio_out": 3}


def test_each_turn_counts_its_whole_prompt_again() -> None:
    turns = TurnUsage()
    assert turns.growth(usage(100, 0, 10)) == {"text_in": 100, "audio_out": 10}
    turns.turn_over()
    assert turns.growth(usage(120, 0, 5)) == {"text_in": 120, "audio_out": 5}


def test_a_count_that_grows_in_a_turn_is_counted_by_its_growth() -> None:
    turns = TurnUsage()
    first, second = turns.growth(usage(100, 0, 10)), turns.growth(usage(100, 0, 25))
    assert (first, second) == ({"text_in": 100, "audio_out": 10}, {"audio_out": 15})
    assert turns.growth(usage(100, 0, 25)) == {}


def test_what_is_said_again_after_the_turn_is_not_counted_again() -> None:
    turns = TurnUsage()
    turns.growth(usage(100, 0, 10))
    turns.turn_over()
    assert turns.growth(usage(100, 0, 10)) == {}
    assert turns.growth(usage(130, 0, 10)) == {"text_in": 130, "audio_out": 10}


@pytest.mark.parametrize("before", [0, 1, 2])
def test_what_comes_late_is_counted_and_so_is_the_turn_after_it(before: int) -> None:
    turns = TurnUsage()
    for number in range(before):
        turns.growth(usage(10 + number))
        turns.turn_over()
    turns.turn_over()
    assert turns.growth(usage(100)) == {"text_in": 100}
    assert turns.growth(usage(140)) == {"text_in": 140}
    turns.turn_over()
    assert turns.growth(usage(150)) == {"text_in": 150}


@pytest.mark.parametrize(
    "told",
    [
        {"promptTokenCount": -1},
        {"promptTokenCount": True},
        {"promptTokenCount": "5"},
        {"promptTokenCount": MOST_TOKENS + 1},
        {"promptTokensDetails": {"TEXT": 5}},
        {"promptTokensDetails": [5]},
        {"promptTokensDetails": [{"modality": "TEXT", "tokenCount": 1}] * 33},
        {"responseTokensDetails": [{"modality": "TEXT", "tokenCount": 1.5}]},
    ],
)
def test_what_is_no_count_is_malformed(told: dict[str, Any]) -> None:
    turns = TurnUsage()
    with pytest.raises(Malformed):
        turns.growth(told)
    assert turns.growth(usage(3)) == {"text_in": 3}
