"""Responses: the order of their events, bursts, cancel, calls, limits, usage."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.agent.bursts import words
from bridge.agent.patterns import counter
from tests.agent.peer import Peer, audio_of, of, only, types

LONG = "answer: {items: [{audio_ms: 20000}], speed: 6}"
CLOSING = [
    "response.output_audio.done",
    "response.output_audio_transcript.done",
    "response.content_part.done",
    "conversation.item.done",
    "response.output_item.done",
]
OPENING = ["response.output_item.added", "conversation.item.added", "response.content_part.added"]
END = ["response.done", "rate_limits.updated"]
HANG_UP = {"type": "function", "name": "hang_up", "parameters": {"type": "object", "properties": {}}}


def test_the_order_of_a_spoken_answer() -> None:
    peer = Peer()
    peer.user("what time is it")
    events = peer.respond()
    assert types(events) == ["response.created", *OPENING, *CLOSING, *END]
    created, done = only(events, "response.created")["response"], only(events, "response.done")["response"]
    assert (created["status"], created["output"], created["usage"]) == ("in_progress", [], None)
    assert (done["status"], done["status_details"]) == ("completed", None)
    item = only(events, "response.output_item.done")["item"]
    assert done["output"] == [item]
    assert item["content"] == [{"type": "output_audio", "transcript": peer.spoken[0]}]
    assert only(events, "response.output_audio_transcript.done")["transcript"] == peer.spoken[0]


def test_deltas_join_to_the_whole_and_the_text_runs_ahead() -> None:
    peer = Peer("answer: {items: [{audio_ms: 8000, tail_ms: 400, transcript: one two three four five}]}")
    peer.telephone()
    events = peer.respond()
    assert audio_of(events) == counter(1, 64000) + b"\xff" * 3200
    text = of(events, "response.output_audio_transcript.delta")
    assert "".join(each["delta"] for each in text) == "one two three four five"
    kinds = types(events, deltas=True)
    audio = [index for index, kind in enumerate(kinds) if kind == "response.output_audio.delta"]
    first_text = kinds.index("response.output_audio_transcript.delta")
    last_text = len(kinds) - 1 - kinds[::-1].index("response.output_audio_transcript.delta")
    assert first_text < audio[0]
    assert last_text < audio[-2]
    assert all("obfuscation" in each for each in text)


def test_an_answer_leaves_in_uneven_bursts_faster_than_real_time() -> None:
    peer = Peer(LONG)
    peer.telephone()
    began = peer.now
    events = peer.send({"type": "response.create"})
    while not of(events, "response.done"):
        events += peer.run(0.01)
    took = peer.now - began
    assert 20 / 6 * 0.9 < took < 20 / 6 * 1.1
    sizes = [len(audio_of([each])) for each in of(events, "response.output_audio.delta")]
    assert len(set(sizes)) > len(sizes) / 2
    assert all(size % 160 for size in sizes[:-1])
    assert max(sizes) <= 400 * 8 + 1


def test_the_response_done_comes_long_before_the_audio_could_be_heard() -> None:
    peer = Peer(LONG)
    began = peer.now
    peer.respond()
    assert peer.now - began < 10


@given(st.text(max_size=80))
def test_words_join_to_the_text(text: str) -> None:
    assert "".join(words(text)) == text


def test_text_responses() -> None:
    peer = Peer()
    peer.user("what can you do")
    events = peer.respond(output_modalities=["text"])
    assert types(events) == [
        "response.created",
        *OPENING,
        "response.output_text.done",
        "response.content_part.done",
        "conversation.item.done",
        "response.output_item.done",
        *END,
    ]
    text = "".join(each["delta"] for each in of(events, "response.output_text.delta"))
    assert text == only(events, "response.output_text.done")["text"]
    assert only(events, "response.done")["response"]["output"][0]["content"] == [{"type": "output_text", "text": text}]
    assert peer.spoken == []


def test_goodbye_is_said_and_then_hang_up_is_called() -> None:
    peer = Peer()
    peer.configure(tools=[HANG_UP])
    peer.user("goodbye")
    events = peer.respond()
    message, call = only(events, "response.done")["response"]["output"]
    assert (message["type"], call["type"], call["name"]) == ("message", "function_call", "hang_up")
    done = only(events, "response.function_call_arguments.done")
    assert (done["call_id"], done["output_index"]) == (call["call_id"], 1)
    deltas = of(events, "response.function_call_arguments.delta")
    assert "".join(each["delta"] for each in deltas) == done["arguments"] == call["arguments"]
    assert json.loads(call["arguments"]) == {}
    # The message may close only after the call's arguments: a client must not rely on the order.
    kinds = types(events)
    assert kinds.index("response.function_call_arguments.done") < kinds.index("response.output_audio.done")


def test_without_the_tool_nothing_is_called() -> None:
    peer = Peer()
    peer.user("goodbye")
    assert len(only(peer.respond(), "response.done")["response"]["output"]) == 1
    peer.configure(tools=[HANG_UP], tool_choice="none")
    peer.user("goodbye")
    assert len(only(peer.respond(), "response.done")["response"]["output"]) == 1


def test_the_result_of_a_tool_is_taken_once_the_call_is_known() -> None:
    peer = Peer("answer: {items: [{call: stock_level, arguments: {article: 3}, call_id: call_9}]}")
    events = peer.respond()
    assert types(events) == [
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        "response.function_call_arguments.done",
        "conversation.item.done",
        "response.output_item.done",
        *END,
    ]
    result = {"type": "function_call_output", "call_id": "call_9", "output": '{"stock": 4}'}
    answer = peer.send({"type": "conversation.item.create", "item": result})
    assert types(answer) == ["conversation.item.added", "conversation.item.done"]


def test_a_result_is_read_out() -> None:
    peer = Peer()
    call = {"type": "function_call", "name": "stock", "call_id": "call_1", "arguments": "{}"}
    peer.send({"type": "conversation.item.create", "item": call})
    result = {"type": "function_call_output", "call_id": "call_1", "output": '{"stock": 4}'}
    peer.send({"type": "conversation.item.create", "item": result})
    peer.respond()
    assert peer.spoken == ["Here is the result. stock: 4."]


# One at a time.


def test_a_second_response_is_refused_while_one_runs() -> None:
    peer = Peer(LONG)
    running = peer.send({"type": "response.create"})[0]["response"]["id"]
    peer.run(0.5)
    error = peer.error({"type": "response.create", "event_id": "b"})
    assert error["code"] == "conversation_already_has_active_response"
    assert running in error["message"]
    rest = peer.run(10)
    assert only(rest, "response.done")["response"]["id"] == running
    assert types(peer.send({"type": "response.create"})) == ["response.created"]


def test_a_refused_response_create_starts_nothing() -> None:
    peer = Peer(LONG)
    for response, param in (
        ({"temperature": 1}, "response.temperature"),
        ({"modalities": ["audio"]}, "response.modalities"),
        ({"output_modalities": ["audio", "text"]}, "response.output_modalities"),
        ({"audio": {"output": {"format": {"type": "audio/pcm"}}}}, "response.audio.output.format.rate"),
        ({"metadata": {"a": 1}}, "response.metadata.a"),
        ({"metadata": {str(n): "" for n in range(17)}}, "response.metadata"),
        ("now", "response"),
    ):
        assert peer.error({"type": "response.create", "response": response})["param"] == param
    assert peer.run(1) == []


def test_responses_outside_the_conversation_run_beside_it() -> None:
    peer = Peer(LONG)
    peer.send({"type": "response.create"})
    outside = peer.send({"type": "response.create", "response": {"conversation": "none"}})
    response_id = only(outside, "response.created")["response"]["id"]
    assert outside[0]["response"]["conversation_id"] is None
    events = peer.run(10)
    mine = [event for event in events if event.get("response_id") == response_id]
    assert types(mine)[:2] == ["response.output_item.added", "response.content_part.added"]
    assert len(of(events, "response.done")) == 2
    assert len(of(events, "conversation.item.done")) == 1
    assert len(peer.session.conversation) == 1


def test_too_many_outside_responses_are_refused() -> None:
    peer = Peer(LONG)
    create = {"type": "response.create", "response": {"conversation": "none"}}
    answers = [peer.send(create)[0]["type"] for _ in range(20)]
    assert answers == ["response.created"] * 16 + ["error"] * 4


# Cancel.


def test_cancel_by_the_client() -> None:
    peer = Peer(LONG)
    peer.telephone()
    peer.send({"type": "response.create"})
    before = audio_of(peer.run(1))
    events = peer.send({"type": "response.cancel"})
    assert types(events) == [*CLOSING, *END]
    done = only(events, "response.done")["response"]
    assert done["status_details"] == {"type": "cancelled", "reason": "client_cancelled"}
    assert done["output"][0]["status"] == "incomplete"
    item = peer.session.conversation.get(done["output"][0]["id"])
    assert item is not None
    assert item.audio_ms == len(before) // 8
    assert peer.run(10) == []
    assert peer.error({"type": "response.cancel"})["code"] == "response_cancel_not_active"
    assert types(peer.send({"type": "response.create"})) == ["response.created"]


def test_cancel_by_id() -> None:
    peer = Peer(LONG)
    active = peer.send({"type": "response.create"})[0]["response"]["id"]
    outside = peer.send({"type": "response.create", "response": {"conversation": "none"}})[0]["response"]["id"]
    peer.run(0.5)
    assert peer.error({"type": "response.cancel", "response_id": "resp_none"})["code"] == "response_cancel_not_active"
    done = only(peer.send({"type": "response.cancel", "response_id": outside}), "response.done")
    assert done["response"]["id"] == outside
    done = only(peer.send({"type": "response.cancel"}), "response.done")
    assert done["response"]["id"] == active


def test_cancel_before_there_are_words() -> None:
    peer = Peer()
    peer.working = False
    peer.send({"type": "response.create"})
    events = peer.send({"type": "response.cancel"})
    assert types(events) == END
    assert events[0]["response"]["output"] == []
    peer.working = True
    assert peer.run(5) == []


def test_a_cancelled_call_is_not_complete() -> None:
    peer = Peer("answer: {items: [{audio_ms: 5000}, {call: hang_up}], speed: 1, overlap: true}")
    peer.send({"type": "response.create"})
    peer.run(1)
    done = only(peer.send({"type": "response.cancel"}), "response.done")["response"]
    assert [item["type"] for item in done["output"]] == ["message"]


# Limits, usage and what is echoed.


def test_max_output_tokens_cuts_the_answer() -> None:
    peer = Peer("answer: {items: [{audio_ms: 9000}, {audio_ms: 1000}]}")
    peer.telephone()
    events = peer.respond(max_output_tokens=100)
    done = only(events, "response.done")["response"]
    assert done["status"] == "incomplete"
    assert done["status_details"] == {"type": "incomplete", "reason": "max_output_tokens"}
    assert len(audio_of(events)) == 100 * 50 * 8
    assert len(done["output"]) == 1


def test_usage_adds_up_and_metadata_comes_back() -> None:
    peer = Peer("answer: {items: [{audio_ms: 1000}]}")
    peer.telephone()
    peer.user("x" * 400)
    events = peer.respond(metadata={"purpose": "greeting"})
    done = only(events, "response.done")["response"]
    assert done["metadata"] == only(events, "response.created")["response"]["metadata"] == {"purpose": "greeting"}
    usage = done["usage"]
    assert usage["output_token_details"]["audio_tokens"] == 20
    assert usage["input_token_details"]["text_tokens"] >= 100
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    (limit,) = only(events, "rate_limits.updated")["rate_limits"]
    assert limit["name"] == "tokens"


def test_a_response_may_have_its_own_format_and_voice() -> None:
    peer = Peer("answer: {items: [{audio_ms: 100, pattern: silence}]}")
    output = {"format": {"type": "audio/pcma"}, "voice": "cedar"}
    events = peer.respond(audio={"output": output})
    assert only(events, "response.created")["response"]["audio"] == {"output": output}
    assert audio_of(events) == b"\xd5" * 800


def test_a_failed_voice_is_a_failed_response() -> None:
    peer = Peer()
    peer.working = False
    peer.send({"type": "response.create"})
    order = peer.session.work.popleft()
    peer.session.voiced(order.response_id, None, peer.now)  # type: ignore[union-attr]
    done = only(peer.run(0.1), "response.done")["response"]
    assert done["status"] == "failed"
    assert done["status_details"]["error"]["code"] == "server_error"
    peer.working = True
    assert types(peer.respond())[-2:] == END


@pytest.mark.parametrize(
    ("response", "said"),
    [
        ({"instructions": "Say exactly: Good day."}, "Good day."),
        ({"input": []}, None),
        (
            {"input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "thank you"}]}]},
            "You are welcome.",
        ),
    ],
)
def test_instructions_and_input_of_a_response(response: dict[str, Any], said: str | None) -> None:
    peer = Peer()
    peer.user("what can you do")
    peer.respond(**response)
    assert peer.spoken[0] == said if said else peer.spoken[0].startswith("Hello")


def test_input_by_reference() -> None:
    peer = Peer()
    item_id = peer.user("thank you")
    peer.user("what can you do")
    peer.respond(input=[{"type": "item_reference", "id": item_id}])
    assert peer.spoken == ["You are welcome."]
