"""The section of a pipeline."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from bridge.config.pipeline import Pipeline

BRAIN = {"url": "http://127.0.0.1:8000/v1", "model": "qwen3"}


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"brain": BRAIN},
        {"turns": "webrtcvad", "aggressiveness": 0},
        {"ears": {"url": "https://example.com/openai/v1/"}, "voice": {"url": "http://[::1]:80/v1", "voice": "af"}},
    ],
)
def test_what_may_be_written(given: dict[str, Any]) -> None:
    Pipeline.model_validate(given)


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ({"brain": {"url": "http://a/v1"}}, "brain.model"),
        ({"brain": {"model": "m"}}, "brain.url"),
        ({"brain": BRAIN | {"url": "ws://a/v1"}}, "brain.url"),
        ({"brain": BRAIN | {"url": "http://a:99999/v1"}}, "brain.url"),
        ({"brain": BRAIN | {"url": "http://a/v1?x=1"}}, "brain.url"),
        ({"brain": BRAIN | {"temperature": 3}}, "brain.temperature"),
        ({"brain": BRAIN | {"timeout_s": 0}}, "brain.timeout_s"),
        ({"brain": BRAIN | {"stream": True}}, "brain.stream"),
        ({"turns": "silero"}, "turns"),
        ({"aggressiveness": 4}, "aggressiveness"),
        ({"mouth": {}}, "mouth"),
    ],
)
def test_what_may_not(given: dict[str, Any], place: str) -> None:
    with pytest.raises(ValidationError) as wrong:
        Pipeline.model_validate(given)
    assert [".".join(map(str, each["loc"])) for each in wrong.value.errors()] == [place]


def test_keys_are_shown_only_when_they_are_revealed() -> None:
    pipeline = Pipeline.model_validate({"brain": BRAIN | {"key": "sk-hush", "url": "http://a/v1/"}})
    assert "sk-hush" not in repr(pipeline) + pipeline.model_dump_json()
    revealed = pipeline.revealed()
    assert (revealed["brain"]["key"], revealed["brain"]["url"]) == ("sk-hush", "http://a/v1")
    assert "ears" not in revealed
