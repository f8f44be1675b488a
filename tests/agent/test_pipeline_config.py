"""From JSON to pipelines, and which of them a session gets."""

from __future__ import annotations

import json

import pytest

from bridge.agent.pipeline_config import BrainPart, Pipeline, Pipelines
from bridge.agent.refusal import Refusal
from bridge.config.pipeline import Pipeline as Configured

BRAIN = {"url": "http://127.0.0.1:9/v1", "model": "m", "key": "sk-hush"}


def test_the_configuration_arrives_whole() -> None:
    part = {"url": "http://127.0.0.1:9/v1", "key": "sk-hush", "model": "m", "timeout_s": 3}
    given = {
        "ears": part | {"language": "de"},
        "brain": part | {"temperature": 0.5, "max_tokens": 9},
        "voice": part | {"voice": "anna"},
        "turns": "webrtcvad",
        "aggressiveness": 3,
    }
    line = json.dumps({"pipelines": {"a": Configured.model_validate(given).revealed()}}).encode()
    made = Pipelines.of(line).named["a"]
    assert made.ears is not None and made.brain is not None and made.voice is not None
    assert (made.turns, made.aggressiveness, made.ears.language) == ("webrtcvad", 3, "de")
    assert (made.brain.temperature, made.brain.max_tokens, made.voice.voice) == (0.5, 9, "anna")
    assert {(each.url, each.key, each.model, each.timeout_s) for each in (made.ears, made.brain, made.voice)} == {
        ("http://127.0.0.1:9/v1", "sk-hush", "m", 3)
    }


def test_what_is_left_out_is_built_in() -> None:
    assert Pipelines.of(b'{"pipelines": {"a": {}}}').named["a"] == Pipeline()
    assert Pipelines.of(b"\n") == Pipelines()


def test_keys_are_not_shown() -> None:
    assert "sk-hush" not in repr(Pipelines.of(json.dumps({"pipelines": {"a": {"brain": BRAIN}}}).encode()))


def test_which_pipeline_a_session_gets() -> None:
    one, other = Pipeline(brain=BrainPart("http://a", "m")), Pipeline(turns="webrtcvad")
    both = Pipelines({"one": one})
    assert both.choose("pipeline-one") is one
    assert both.choose("gpt-realtime") is None
    alone = Pipelines(default=other)
    assert alone.choose("gpt-realtime") is other
    for pipelines, model in ((both, "pipeline-two"), (Pipelines({"one": one}, plain=False), "gpt-realtime")):
        with pytest.raises(Refusal) as refused:
            pipelines.choose(model)
        assert refused.value.code == "invalid_model"


def test_built_in_parts_are_started_only_where_they_are_used() -> None:
    brain = Pipeline(brain=BrainPart("http://a", "m"))
    whole = Pipeline.of({name: BRAIN for name in ("ears", "brain", "voice")})
    assert Pipelines().uses_built_in("ears")
    assert not Pipelines({"a": whole}, plain=False).uses_built_in("ears")
    assert Pipelines({"a": whole, "b": brain}, plain=False).uses_built_in("voice")
    assert Pipelines({"a": whole}).uses_built_in("voice")
    assert not Pipelines(default=whole).uses_built_in("voice")
