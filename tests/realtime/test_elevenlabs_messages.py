"""What is sent to an ElevenLabs agent, held against the vendor's own types."""

from __future__ import annotations

import warnings
from typing import Any

import pydantic
import pytest
from elevenlabs.types.conversation_initiation_client_data_request_input import (
    ConversationInitiationClientDataRequestInput,
)

from bridge.audio.g711 import Law
from bridge.realtime.elevenlabs import messages
from bridge.realtime.history import NOTHING, AgentWords, CallerWords, History, Note, ToolUse
from bridge.realtime.options import SessionOptions

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of websockets, named in an annotation
    from elevenlabs.conversational_ai import conversation as vendor

SAID = History((CallerWords("c", "Hello?"),))


def initiation(history: History = NOTHING, **options: Any) -> dict[str, Any]:
    """The first message, which the vendor's type must know member by member."""
    data = messages.initiation(SessionOptions(Law.PCMU, **options), history)
    assert data["type"] == "conversation_initiation_client_data"
    body = {name: value for name, value in data.items() if name != "type"}
    assert unknown(ConversationInitiationClientDataRequestInput.model_validate(body)) == []
    return body


def unknown(model: pydantic.BaseModel) -> list[str]:
    """Members that the vendor's type has no name for, at any depth."""
    found = list(model.model_extra or {})
    for name in type(model).model_fields:
        if isinstance(value := getattr(model, name), pydantic.BaseModel):
            found += [f"{name}.{inner}" for inner in unknown(value)]
    return found


def test_the_check_itself_finds_a_wrong_member() -> None:
    wrong = {"conversation_config_override": {"tts": {"voice": "x"}}}
    model = ConversationInitiationClientDataRequestInput.model_validate(wrong)
    assert unknown(model) == ["conversation_config_override.tts.voice"]


def test_nothing_is_overridden_that_is_not_configured() -> None:
    assert initiation() == {}


def test_every_configured_key_is_an_override_in_its_place() -> None:
    body = initiation(instructions="Be brief.", voice="v1", speed=1.1, language="de-AT")
    assert body == {
        "conversation_config_override": {
            "agent": {"prompt": {"prompt": "Be brief."}, "language": "de"},
            "tts": {"voice_id": "v1", "speed": 1.1},
        }
    }


def test_metadata_becomes_dynamic_variables_without_the_mark_of_the_greeting() -> None:
    body = initiation(metadata={"purpose": "greeting", "caller": "+49 30 1"})
    assert body == {"dynamic_variables": {"caller": "+49 30 1"}}


def test_a_greeting_that_is_asked_for_silences_the_first_message_of_the_agent() -> None:
    assert messages.first_message(initiation(greeting="Greet the caller.")) == ""


def test_extra_is_merged_member_by_member() -> None:
    extra = {
        "conversation_config_override": {"agent": {"first_message": "Hello!"}, "tts": {"stability": 0.4}},
        "user_id": "u1",
    }
    body = initiation(instructions="Be brief.", voice="v1", extra=extra)
    assert body == {
        "conversation_config_override": {
            "agent": {"prompt": {"prompt": "Be brief."}, "first_message": "Hello!"},
            "tts": {"voice_id": "v1", "stability": 0.4},
        },
        "user_id": "u1",
    }
    assert extra["conversation_config_override"]["agent"] == {"first_message": "Hello!"}, "the options stay as they are"


def test_extra_can_neither_rename_the_message_nor_break_it() -> None:
    data = messages.initiation(SessionOptions(Law.PCMU, extra={"type": "pong"}), NOTHING)
    assert data == {"type": "conversation_initiation_client_data"}
    assert messages.first_message({"conversation_config_override": {"agent": "x"}}) is None


def test_who_was_greeted_before_the_loss_is_not_greeted_again() -> None:
    extra = {"conversation_config_override": {"agent": {"first_message": "Hello!"}}}
    assert messages.first_message(initiation(SAID, extra=extra)) == ""
    assert messages.first_message(initiation(NOTHING, extra=extra)) == "Hello!"
    assert extra["conversation_config_override"]["agent"] == {"first_message": "Hello!"}
    assert initiation(SAID) == {}, "what is not configured may not be allowed, and would cost the session"


def test_the_small_messages_are_those_of_the_vendors_client() -> None:
    assert messages.user_message("Hi") == vendor.UserMessageClientToOrchestratorEvent(text="Hi").to_dict()
    assert messages.note("Hi") == vendor.ContextualUpdateClientToOrchestratorEvent(text="Hi").to_dict()


def test_audio_goes_bare() -> None:
    assert messages.audio_chunk(b"\xff\x7f") == b'{"user_audio_chunk":"/38="}'


def test_what_was_said_and_done_is_told_in_order() -> None:
    turns = (
        CallerWords("1", "Is it there?"),
        ToolUse("2", "stock", '{"a":1}', '{"n":4}'),
        AgentWords("3", "Yes, four", cut=True),
        CallerWords("4", "", b"\xff"),
        AgentWords("5", ""),
        Note("The caller pressed 1."),
    )
    assert messages.recounted(turns).splitlines()[1:] == [
        "Caller: Is it there?",
        'You used the tool stock with {"a":1}; its result: {"n":4}',
        "You: Yes, four (cut off here)",
        "Caller: (not understood)",
        "Note: The caller pressed 1.",
    ]
    assert messages.recounted(()) == messages.recounted((AgentWords("5", ""),)) == ""


MCP = {"type": "mcp", "server_label": "s1", "require_approval": "never"}


@pytest.mark.parametrize(
    ("tools", "approved"),
    [
        ((), False),
        ((MCP,), True),
        ((MCP | {"allowed_tools": ["look"]},), True),
        ((MCP | {"allowed_tools": ["write"]},), False),
        ((MCP | {"allowed_tools": "look around"},), False),
        ((MCP | {"server_label": "s2"},), False),
        ((MCP | {"require_approval": "always"},), False),
        ((MCP | {"type": "function"},), False),
    ],
)
def test_a_tool_of_an_mcp_server_is_approved_only_where_the_configuration_says_so(tools: Any, approved: bool) -> None:
    assert messages.approves(tools, {"service_id": "s1", "tool_name": "look"}) is approved
