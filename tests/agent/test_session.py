"""What a client may send, what it gets for it, and that a refusal leaves the session usable."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.agent.client_events import MEMBERS
from bridge.agent.outbox import Close
from tests.agent.peer import Peer, of, only, types

ANSWER = "answer: {items: [{audio_ms: 1000}], speed: 10}"


def spoken(peer: Peer) -> str:
    """Have the agent say something; the item's id."""
    return str(of(peer.respond(), "response.output_item.done")[0]["item"]["id"])


def truncate(item_id: str, ms: Any, index: Any = 0) -> dict[str, Any]:
    return {
        "type": "conversation.item.truncate",
        "event_id": "t",
        "item_id": item_id,
        "content_index": index,
        "audio_end_ms": ms,
    }


def delete(item_id: str) -> dict[str, Any]:
    return {"type": "conversation.item.delete", "item_id": item_id}


def retrieve(item_id: str) -> dict[str, Any]:
    return {"type": "conversation.item.retrieve", "item_id": item_id}


# What is no event.


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("{", "invalid_event"),
        ("[]", "invalid_event"),
        ("", "invalid_event"),
        (b"\x00\x01", "invalid_event"),
        (b"{}", "invalid_event"),
        ('{"event_id": "x"}', "invalid_event"),
        ('{"type": "response.explain"}', "invalid_value"),
        ('{"type": 7}', "invalid_value"),
        ('{"type": ["session.update"]}', "invalid_value"),
        ('{"type": "response.create", "stream": true}', "unknown_parameter"),
        ('{"type": "input_audio_buffer.append"}', "missing_required_parameter"),
        ('{"type": "input_audio_buffer.append", "audio": 3}', "invalid_type"),
        ('{"type": "input_audio_buffer.append", "audio": "?"}', "invalid_value"),
        ('{"type": "input_audio_buffer.append", "audio": "abc"}', "invalid_value"),
        ('{"type": "input_audio_buffer.append", "audio": "\\u00e9"}', "invalid_value"),
        ('{"type": "output_audio_buffer.clear"}', "invalid_value"),
        ('{"type": "input_audio_buffer.commit", "event_id": 7}', "invalid_type"),
        (json.dumps({"type": "input_audio_buffer.clear", "event_id": "x" * 513}), "invalid_value"),
    ],
)
def test_what_is_no_event_is_refused_and_the_session_goes_on(message: str | bytes, code: str) -> None:
    peer = Peer(ANSWER)
    assert peer.error(message)["code"] == code
    assert types(peer.respond())[-2:] == ["response.done", "rate_limits.updated"]


def test_an_error_names_the_event_it_answers_and_no_other() -> None:
    peer = Peer()
    assert peer.error({"type": "response.cancel", "event_id": "a"})["event_id"] == "a"
    assert peer.error({"type": "response.cancel"})["event_id"] is None


def test_an_append_of_more_than_15_mib_is_refused() -> None:
    peer = Peer()
    most = base64.b64encode(bytes(15 << 20)).decode()
    assert peer.send({"type": "input_audio_buffer.append", "audio": most}) == []
    assert peer.error({"type": "input_audio_buffer.append", "audio": most + "AAAA"})["param"] == "audio"


def test_an_append_has_no_answer() -> None:
    assert Peer().send({"type": "input_audio_buffer.append", "audio": "AAAA"}) == []


_ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
_NAMES = ["item", "item_id", "audio", "session", "response", "content_index", "audio_end_ms", "previous_item_id"]


@given(
    st.sampled_from(list(MEMBERS)),
    st.dictionaries(st.sampled_from(["event_id", "response_id", *_NAMES]), _ANY, max_size=4),
)
def test_no_event_breaks_the_session(kind: str, members: dict[str, Any]) -> None:
    peer = Peer(ANSWER)
    peer.send({"type": kind, **members})
    peer.run(0.5)
    assert types(peer.send({"type": "input_audio_buffer.clear"})) == ["input_audio_buffer.cleared"]


@given(st.text(max_size=60) | st.binary(max_size=60))
def test_no_message_breaks_the_session(message: str | bytes) -> None:
    peer = Peer(ANSWER)
    assert of(peer.send(message), "error")


# Items.


def test_items_are_put_where_the_client_wants_them() -> None:
    peer = Peer()
    first = peer.user("one")

    def put(previous: str | None, item_id: str) -> Any:
        item = {
            "type": "message",
            "id": item_id,
            "role": "system",
            "content": [{"type": "input_text", "text": "x"}],
        }
        event: dict[str, Any] = {"type": "conversation.item.create", "item": item}
        return peer.send(event if previous is None else event | {"previous_item_id": previous})[0]["previous_item_id"]

    assert put(None, "end") == first
    assert put("root", "front") is None
    assert put(first, "middle") == first
    assert [item.id for item in peer.session.conversation] == ["front", first, "middle", "end"]


@pytest.mark.parametrize(
    ("item", "param"),
    [
        (7, "item"),
        ({}, "item.type"),
        ({"type": "song"}, "item.type"),
        ({"type": "message", "role": "robot", "content": []}, "item.role"),
        ({"type": "message", "content": []}, "item.role"),
        ({"type": "message", "role": "user"}, "item.content"),
        ({"type": "message", "role": "user", "content": [{"type": "text", "text": "x"}]}, "item.content[0].type"),
        (
            {"type": "message", "role": "system", "content": [{"type": "input_audio", "audio": ""}]},
            "item.content[0].type",
        ),
        (
            {"type": "message", "role": "assistant", "content": [{"type": "output_audio", "audio": ""}]},
            "item.content[0].type",
        ),
        (
            {"type": "message", "role": "user", "content": [{"type": "input_audio", "audio": "?"}]},
            "item.content[0].audio",
        ),
        ({"type": "function_call_output", "call_id": "call_1"}, "item.output"),
        ({"type": "function_call_output", "call_id": "call_1", "output": {}}, "item.output"),
        ({"type": "function_call_output", "call_id": "call_none", "output": "x"}, "item.call_id"),
        ({"type": "function_call", "name": "a"}, "item.arguments"),
    ],
)
def test_a_bad_item_is_refused(item: Any, param: str) -> None:
    peer = Peer()
    assert peer.error({"type": "conversation.item.create", "item": item})["param"] == param
    assert len(peer.session.conversation) == 0


def test_an_unknown_previous_item_and_a_used_id_are_refused() -> None:
    peer = Peer()
    known = peer.user("one")
    item = {"type": "message", "role": "user", "content": [], "id": known}
    create = {"type": "conversation.item.create", "item": item}
    assert peer.error(create)["param"] == "item.id"
    assert peer.error(create | {"previous_item_id": "none"})["param"] == "previous_item_id"


def test_retrieve_and_delete() -> None:
    peer = Peer()
    known = peer.user("one")
    (answer,) = peer.send(retrieve(known))
    assert answer["item"]["content"] == [{"type": "input_text", "text": "one"}]
    assert peer.error(retrieve("none"))["code"] == "item_retrieve_invalid_item_id"
    assert peer.error(delete("none"))["code"] == "item_delete_invalid_item_id"
    assert types(peer.send(delete(known))) == ["conversation.item.deleted"]
    assert peer.error(delete(known))["code"] == "item_delete_invalid_item_id"


def test_what_the_caller_said_can_be_retrieved() -> None:
    peer = Peer(ANSWER)
    peer.telephone()
    item_id = only(peer.speak(), "input_audio_buffer.committed")["item_id"]
    (answer,) = peer.send(retrieve(item_id))
    assert len(base64.b64decode(answer["item"]["content"][0]["audio"])) > 8000


def test_the_conversation_is_bounded() -> None:
    peer = Peer()
    big = {
        "type": "message",
        "role": "user",
        "content": [{"type": "input_text", "text": "x" * 1_000_000}],
    }
    answers = [peer.send({"type": "conversation.item.create", "item": big})[0] for _ in range(20)]
    assert answers[-1]["error"]["param"] == "item"
    assert len(peer.session.conversation) == 16


# Truncate.


def test_truncate_forgets_the_transcript_and_may_only_shorten() -> None:
    peer = Peer(ANSWER)
    item_id = spoken(peer)
    (answer,) = peer.send(truncate(item_id, 700))
    assert (answer["type"], answer["item_id"], answer["audio_end_ms"]) == (
        "conversation.item.truncated",
        item_id,
        700,
    )
    assert "transcript" not in peer.send(retrieve(item_id))[0]["item"]["content"][0]
    error = peer.error(truncate(item_id, 701))
    assert error["code"] == "invalid_value"
    assert "700ms is already shorter than 701ms" in error["message"]
    assert types(peer.send(truncate(item_id, 0))) == ["conversation.item.truncated"]
    assert "already shorter" in peer.error(truncate(item_id, 1))["message"]


def test_truncate_counts_what_was_sent_rounded_down() -> None:
    peer = Peer("answer: {items: [{audio_ms: 333, tail_ms: 1}]}")
    peer.telephone()
    item_id = spoken(peer)
    peer.session.stage.conversation.get(item_id).sent_bytes += 7  # type: ignore[union-attr]
    assert "already shorter" in peer.error(truncate(item_id, 335))["message"]
    assert types(peer.send(truncate(item_id, 334))) == ["conversation.item.truncated"]


def test_truncate_while_the_response_runs() -> None:
    peer = Peer("answer: {items: [{audio_ms: 10000}], speed: 5}")
    peer.telephone()
    events = peer.send({"type": "response.create"}) + peer.run(1)
    item_id = only(events, "response.output_item.added")["item"]["id"]
    assert "already shorter" in peer.error(truncate(item_id, 10_000))["message"]
    assert types(peer.send(truncate(item_id, 200))) == ["conversation.item.truncated"]
    rest = peer.run(5)
    assert only(rest, "response.done")["response"]["status"] == "completed"
    assert only(rest, "response.output_item.done")["item"]["content"] == [{"type": "output_audio"}]
    assert "already shorter" in peer.error(truncate(item_id, 201))["message"]


def test_only_model_audio_can_be_truncated() -> None:
    peer = Peer("answer: {items: [{call: hang_up}]}")
    call = only(peer.respond(), "response.output_item.done")["item"]["id"]
    for item_id in (peer.user("hello"), call):
        error = peer.error(truncate(item_id, 0))
        assert error["code"] == "unsupported_content_type"
        assert "Only model output audio" in error["message"]


def test_an_item_without_audio_yet_cannot_be_truncated() -> None:
    peer = Peer("answer: {items: [{audio_ms: 1000, gaps: [[0, 1000]]}], speed: 1}")
    events = peer.send({"type": "response.create"}) + peer.run(0.5)
    item_id = only(events, "response.output_item.added")["item"]["id"]
    assert of(events, "response.output_audio.delta") == []
    assert peer.error(truncate(item_id, 0))["code"] == "unsupported_content_type"


@pytest.mark.parametrize(
    ("ms", "index", "code", "param"),
    [
        (-1, 0, "invalid_value", "audio_end_ms"),
        ("100", 0, "invalid_type", "audio_end_ms"),
        (100.0, 0, "invalid_type", "audio_end_ms"),
        (True, 0, "invalid_type", "audio_end_ms"),
        (None, 0, "invalid_type", "audio_end_ms"),
        (100, 1, "invalid_value", "content_index"),
        (100, "0", "invalid_type", "content_index"),
    ],
)
def test_truncate_is_strict(ms: Any, index: Any, code: str, param: str) -> None:
    peer = Peer(ANSWER)
    error = peer.error(truncate(spoken(peer), ms, index))
    assert (error["code"], error["param"], error["event_id"]) == (code, param, "t")


def test_truncate_of_an_unknown_item() -> None:
    assert Peer().error(truncate("item_none", 0))["code"] == "item_truncate_invalid_item_id"


def test_the_server_never_truncates_by_itself() -> None:
    peer = Peer("answer: {items: [{audio_ms: 30000}]}")
    peer.telephone()
    peer.send({"type": "response.create"})
    peer.run(1)
    assert of(peer.speak(), "conversation.item.truncated") == []


# The end.


def test_the_session_ends_at_its_limit() -> None:
    peer = Peer(session_seconds=60)
    assert peer.run(59.9) == []
    (event,) = peer.run(0.2)
    assert event["error"]["code"] == "session_expired"
    assert peer.faults == [Close(1001, "The session has reached its time limit.")]
    assert peer.run(100) == []


def test_the_same_seed_gives_the_same_session() -> None:
    def play(seed: str) -> list[dict[str, Any]]:
        return Peer(ANSWER, seed=seed).respond()

    assert play("1") == play("1")
    assert play("1") != play("2")
