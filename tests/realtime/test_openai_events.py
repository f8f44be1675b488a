"""What single events of the server do: places, usage, MCP, turns that the bridge decides."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.realtime import events as ev
from bridge.realtime.history import AgentWords, CallerWords, Note
from bridge.realtime.openai.dialect import PRESETS
from bridge.realtime.openai.messages import remembered_id
from tests.realtime.wire import VAD, Wire

SHOP = {"type": "mcp", "server_label": "shop", "server_url": "https://mcp.example.org/sse"}


# Places


def test_an_item_is_placed_when_it_is_new_or_its_place_becomes_known() -> None:
    wire = Wire().ready()
    assert wire.commits("u", previous_item_id=None) == (ev.Placed("u", "caller", None), ev.Committed("u"))
    item = {"id": "u", "type": "message", "role": "user"}
    assert wire.say("conversation.item.added", item=item, previous_item_id=None) == ()
    wire.say("response.created", response={"id": "r"})
    assert wire.item("r", "a") == (ev.Placed("a", "agent", None),)
    item = {"id": "a", "type": "message", "role": "assistant"}
    assert wire.say("conversation.item.added", item=item, previous_item_id="u") == (ev.Placed("a", "agent", "u"),)
    assert wire.say("conversation.item.done", item=item, previous_item_id=None) == ()


@pytest.mark.parametrize(
    ("item", "role"),
    [
        ({"type": "message", "role": "system"}, "note"),
        ({"type": "function_call", "role": "user"}, "tool"),  # as xAI has it
        ({"type": "function_call_output"}, "tool"),
        ({"type": "mcp_call"}, "tool"),
        ({"type": "mcp_list_tools"}, None),
        ({"type": "message", "role": "wizard"}, None),
        ({"type": "message", "role": []}, None),
        ({}, None),
    ],
)
def test_whose_an_item_is(item: dict[str, Any], role: str | None) -> None:
    told = Wire().ready().say("conversation.item.added", item={"id": "i", **item})
    assert [one.role for one in told if isinstance(one, ev.Placed)] == ([role] if role else [])


def test_what_was_put_back_is_not_placed_anew_and_what_follows_names_the_item_of_before() -> None:
    wire = Wire().ready()
    wire.protocol.remember([CallerWords("u0", "Hi."), AgentWords("a0", "Hello.")])
    caller, agent = [message["item"] for message in wire.told()]
    for item in (caller, agent):
        assert wire.say("conversation.item.added", item=item) == ()
    told = wire.commits("u1", previous_item_id=agent["id"])
    assert told[0] == ev.Placed("u1", "caller", "a0")


def test_only_what_was_heard_of_an_item_of_before_stays() -> None:
    wire = Wire().ready()
    wire.protocol.correct("a0", "We open")
    put, deleted = wire.told()
    assert put["previous_item_id"] == deleted["item_id"] == remembered_id("a0")
    assert put["item"]["content"] == [{"type": "output_text", "text": "We open"}]
    wire.protocol.correct("a0", "")
    assert wire.types() == ["conversation.item.delete"]


def test_a_note_is_remembered_as_nobody_s_words_and_may_be_answered() -> None:
    wire = Wire().ready()
    wire.protocol.remember([Note("The line was bad.")], respond=True)
    note, create = wire.told()
    assert (note["item"]["role"], create["type"]) == ("system", "response.create")


# Words


def test_a_dead_item_says_nothing_more() -> None:
    wire = Wire().ready()
    wire.begin("r", "a", audio=b"\x01" * 80)
    assert wire.saying("r", "a", "We") == (ev.AgentSaying("a", "We"),)
    wire.protocol.interrupted([ev.Unheard("a", 10)])
    assert wire.saying("r", "a", " open") == ()


def test_an_item_that_is_announced_twice_keeps_its_audio() -> None:
    wire = Wire().ready()
    wire.begin("r", "a", audio=b"\x01" * 800)
    wire.item("r", "a")
    assert wire.protocol.interrupted([ev.Unheard("a", 200)]) == [ev.Truncated("a", 100)]


def test_what_is_only_written_is_not_said() -> None:
    wire = Wire().ready()
    wire.begin("r", "a")
    assert wire.say("response.output_text.delta", response_id="r", item_id="a", delta="x") == ()


def test_deltas_without_a_response_belong_to_that_of_their_item() -> None:
    wire = Wire().ready()
    wire.begin("r", "a", audio=b"\x01" * 80)
    wire.protocol.interrupted([ev.Unheard("a", 10)])
    assert wire.say("response.output_audio.delta", item_id="a", delta="AQ==") == ()
    assert wire.protocol.late_deltas == 1


# Usage


def test_tokens_by_kind_with_the_cached_ones_apart() -> None:
    wire = Wire().ready()
    wire.begin("r", "a", audio=b"\x01")
    usage = {
        "input_tokens": 170,
        "output_tokens": 60,
        "input_token_details": {
            "text_tokens": 120,
            "audio_tokens": 40,
            "image_tokens": 10,
            "cached_tokens": 74,
            "cached_tokens_details": {"text_tokens": 64, "audio_tokens": 8, "image_tokens": 2},
        },
        "output_token_details": {"text_tokens": 14, "audio_tokens": 36},
    }
    tokens = {"text_in": 56, "audio_in": 32, "image_in": 8, "text_cached": 64, "audio_cached": 8, "image_cached": 2}
    assert wire.done("r", usage=usage)[0] == ev.Usage("m", tokens | {"text_out": 24, "audio_out": 36})


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"input_tokens": 10, "output_tokens": 5}, {"text_in": 10, "text_out": 5}),
        (
            {"input_tokens": 10, "input_token_details": {"text_tokens": 4, "audio_tokens": 6, "cached_tokens": 5}},
            {"audio_in": 5, "text_cached": 4, "audio_cached": 1},
        ),
        (
            {"input_token_details": {"text_tokens": 4, "cached_tokens_details": {"text_tokens": 400}}},
            {"text_cached": 4},
        ),
        ({"input_tokens": -5, "output_tokens": True, "input_token_details": []}, {}),
        ({}, {}),
        (None, {}),
    ],
)
def test_usage_that_says_less_or_nonsense(usage: Any, tokens: dict[str, int]) -> None:
    wire = Wire().ready()
    wire.begin("r", "a", audio=b"\x01")
    told = [one for one in wire.done("r", usage=usage) if isinstance(one, ev.Usage)]
    assert told == ([ev.Usage("m", tokens)] if tokens else [])


def test_a_transcription_uses_its_own_model() -> None:
    wire = Wire(transcription={"model": "gpt-transcribe"}).ready()
    usage = {"type": "tokens", "input_tokens": 18, "output_tokens": 6, "input_token_details": {"audio_tokens": 18}}
    name = "conversation.item.input_audio_transcription.completed"
    _, told = wire.say(name, item_id="u", transcript="Hi.", usage=usage)
    assert told == ev.Usage("gpt-transcribe", {"audio_in": 18, "text_out": 6})
    _, told = wire.say(name, item_id="v", transcript="Hi.", usage={"type": "duration", "seconds": 3.2})
    assert told == ev.Usage("gpt-transcribe", seconds=3.2)


# MCP


@pytest.mark.parametrize(
    ("rule", "approve"),
    [
        ("never", True),
        ("always", False),
        (None, False),
        ({"never": {"tool_names": ["stock"]}}, True),
        ({"never": {"tool_names": ["price"]}}, False),
        ({"always": {"tool_names": ["stock"]}}, False),
    ],
)
def test_a_call_is_approved_only_where_the_configuration_never_asks(rule: Any, approve: bool) -> None:
    tool = SHOP | ({"require_approval": rule} if rule else {})
    wire = Wire(tools=(tool,)).ready()
    item = {"id": "mcpr_1", "type": "mcp_approval_request", "server_label": "shop", "name": "stock", "arguments": "{}"}
    for name in ("conversation.item.added", "response.output_item.done", "conversation.item.done"):
        wire.say(name, item=item, response_id="r")
    answer, *create = wire.told()
    assert (answer["item"]["approval_request_id"], answer["item"]["approve"]) == ("mcpr_1", approve)
    assert [message["type"] for message in create] == ([] if approve else ["response.create"])


def test_another_server_s_rule_is_not_its_own() -> None:
    wire = Wire(tools=(SHOP | {"require_approval": "never"},)).ready()
    item = {"id": "mcpr_1", "type": "mcp_approval_request", "server_label": "bank", "name": "stock"}
    wire.say("conversation.item.added", item=item)
    assert wire.told()[0]["item"]["approve"] is False


@pytest.mark.parametrize(("spoken", "creates"), [(False, 1), (True, 0)])
def test_what_an_mcp_tool_gave_is_spoken_about(spoken: bool, creates: int) -> None:
    wire = Wire(tools=(SHOP,)).ready()
    wire.begin("r", *(["a"] if spoken else []), audio=b"\x01" * 80)
    item = {"id": "m", "type": "mcp_call", "server_label": "shop", "name": "stock", "output": "4"}
    wire.say("response.output_item.done", response_id="r", item=item)
    wire.done("r")
    assert len(wire.types()) == creates


def test_an_mcp_server_without_tools_is_told_and_is_no_end() -> None:
    (error,) = Wire().ready().say("mcp_list_tools.failed", item_id="m")
    assert isinstance(error, ev.SessionError) and (error.code, error.fatal) == ("mcp_list_tools_failed", False)


# Turns that the bridge decides


def test_without_turn_detection_the_bridge_commits_and_asks() -> None:
    wire = Wire(turn_detection=None).ready()
    for turn in ("u1", "u2"):
        wire.protocol.commit()
        wire.commits(turn)
        wire.protocol.respond()
        assert wire.types() == ["input_audio_buffer.commit", "response.create"]
        wire.begin(f"r{turn}", f"a{turn}", audio=b"\x01" * 80)
        wire.done(f"r{turn}")
    wire.protocol.respond()
    assert wire.told() == []  # he was answered


def test_noise_is_deleted_when_it_is_committed() -> None:
    wire = Wire(turn_detection=VAD | {"create_response": False, "interrupt_response": False}).ready()
    wire.protocol.forget("u")
    assert wire.told() == []
    wire.commits("u")
    assert [m["item_id"] for m in wire.told()] == ["u"]
    wire.commits("v")
    assert wire.told() == []
    wire.protocol.forget("v")
    assert [m["item_id"] for m in wire.told()] == ["v"]


def test_an_item_that_replaces_a_cut_one_stands_in_its_place() -> None:
    wire = Wire(dialect=PRESETS["localai"]).ready()
    wire.begin("r", "a", "b", audio=b"\x01\x00" * 24_000)
    wire.saying("r", "a", "We open at nine every day.")
    wire.protocol.interrupted([ev.Unheard("a", 1000), ev.Unheard("b", 0)])
    put, first, second = wire.told()
    assert put["item"]["content"][0]["text"] == "We open at nine every day."
    assert [first["item_id"], second["item_id"]] == ["a", "b"]
    told = wire.commits("u", previous_item_id=put["item"]["id"])
    assert told[0] == ev.Placed("u", "caller", "a")
