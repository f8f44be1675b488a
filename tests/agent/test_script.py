"""Scripts: what they may say, and what they do to a session."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from bridge.agent.outbox import Close, Drop, Filler, Raw, Stall
from bridge.agent.patterns import counter, locate
from bridge.agent.script import _STEPS, ALIASES, Script, ScriptError
from tests.agent.peer import PCMU, Peer, audio_of, of, only, types

DOCS = Path(__file__).parents[2] / "docs" / "agent-scripts.md"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("- 1", "script"),
        ("rules: 7", "script.rules"),
        ("colour: red", "script.colour"),
        ("rules: [{on: connect}]", "script.rules[0].do"),
        ("rules: [{on: noon, do: []}]", "script.rules[0].on"),
        ("rules: [{on: connect, do: [{sing: 1}]}]", "script.rules[0].do[0].sing"),
        ("rules: [{on: connect, do: [{delay_ms: 1, note: x}]}]", "script.rules[0].do[0]"),
        ("rules: [{on: connect, do: [{delay_ms: [1]}]}]", "script.rules[0].do[0].delay_ms"),
        ("rules: [{on: connect, do: [{delay_ms: -1}]}]", "script.rules[0].do[0].delay_ms"),
        (
            "rules: [{on: connect, do: [{repeat: {do: [{close: {code: 7}}]}}]}]",
            "script.rules[0].do[0].repeat.do[0].close.code",
        ),
        ("answer: {items: [{audio_ms: 1, pattern: noise}]}", "script.answer.items[0].pattern"),
        ("answer: {items: [{call: x, audio_ms: 1}]}", "script.answer.items[0].audio_ms"),
        ("answer: {items: [{gaps: [[1]]}]}", "script.answer.items[0].gaps"),
    ],
)
def test_a_fault_is_named_by_its_place(text: str, place: str) -> None:
    with pytest.raises(ScriptError, match=re.escape(place)):
        Script.parse(text)


def test_what_is_not_yaml_is_said() -> None:
    with pytest.raises(ScriptError, match="YAML"):
        Script.parse("{")


def test_an_empty_script_answers_nothing_by_itself(tmp_path: Path) -> None:
    path = tmp_path / "empty.yaml"
    path.write_text("")
    assert Script.load(path).answer is None
    done = only(Peer("").respond(), "response.done")["response"]
    assert (done["status"], done["output"]) == ("completed", [])


def test_the_docs_name_every_trigger_and_step_and_their_examples_are_scripts() -> None:
    text = DOCS.read_text()
    for name in [*ALIASES, *_STEPS]:
        assert f"`{name}" in text, name
    examples = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert len(examples) >= 4
    for example in examples:
        Script.parse(example)


def rules(*steps: dict[str, Any], on: Any = "session_update", **more: Any) -> str:
    rule = {"on": on, "do": list(steps)}
    return yaml.safe_dump({"heard": None, "rules": [rule], **more})


def started(*steps: dict[str, Any], **more: Any) -> tuple[Peer, list[dict[str, Any]]]:
    """A session of the telephone in which these steps have begun, and what came at once."""
    peer = Peer(rules(*steps, **more))
    audio = {"input": {"format": PCMU.wire()}, "output": {"format": PCMU.wire()}}
    events = peer.send({"type": "session.update", "session": {"type": "realtime", "audio": audio}})
    assert events[0]["type"] == "session.updated"
    return peer, events[1:]


def test_steps_follow_each_other_with_their_delays() -> None:
    peer, events = started({"error": {"code": "a"}}, {"delay_ms": 200}, {"error": {"code": "b"}})
    assert [event["error"]["code"] for event in events] == ["a"]
    assert peer.run(0.19) == []
    assert [event["error"]["code"] for event in peer.run(0.02)] == ["b"]


def test_nth_and_times_and_instead() -> None:
    clear = {"type": "input_audio_buffer.clear"}
    script = "rules: [{on: clear, nth: 2, do: [{error: {code: second}}]}]"
    peer = Peer(script)
    assert [types(peer.send(clear)) for _ in range(3)] == [
        ["input_audio_buffer.cleared"],
        ["input_audio_buffer.cleared", "error"],
        ["input_audio_buffer.cleared"],
    ]
    peer = Peer("rules: [{on: clear, times: 2, instead: true, do: []}]")
    assert [types(peer.send(clear)) for _ in range(3)] == [[], [], ["input_audio_buffer.cleared"]]


def test_a_session_may_never_be_created() -> None:
    peer = Peer("rules: [{on: connect, instead: true, do: [{delay_ms: 100}, {close: {code: 1011}}]}]", created=False)
    assert peer.run(1) == []
    assert peer.faults == [Close(1011, "")]


def test_appended_audio_is_a_trigger() -> None:
    peer = Peer(rules({"note": "mark"}, on={"append_ms": 200, "every": True}, vad=False))
    peer.configure(audio={"input": {"format": PCMU.wire()}})
    peer.append(PCMU.silence(1000))
    assert peer.session.notes == ["mark"] * 5


def test_a_response_with_its_own_items() -> None:
    peer, events = started(
        {
            "response": {
                "items": [
                    {"audio_ms": 100, "transcript": "Hello.", "pattern": "silence"},
                    {"audio_ms": 50, "tail_ms": 20},
                    {"call": "hang_up", "arguments": {"reason": "done"}, "call_id": "call_1"},
                ],
                "speed": "max",
            }
        }
    )
    events += peer.run(1)
    done = only(events, "response.done")["response"]
    assert [item["type"] for item in done["output"]] == ["message", "message", "function_call"]
    assert done["output"][2]["arguments"] == '{"reason": "done"}'
    ids = [item["id"] for item in done["output"][:2]]
    assert audio_of(events, ids[0]) == b"\xff" * 800
    assert audio_of(events, ids[1]) == counter(2, 400) + b"\xff" * 160


def test_a_gap_in_the_middle_of_an_answer() -> None:
    peer, events = started({"response": {"items": [{"audio_ms": 2000, "gaps": [[500, 3000]]}], "speed": 10}})
    early = audio_of(events + peer.run(1))
    assert 500 <= len(early) // 8 <= 900
    assert peer.run(1.5) == []
    assert len(early + audio_of(peer.run(2))) == 16000


def test_events_may_be_left_out_and_responses_fail() -> None:
    peer, events = started(
        {"response": {"items": [{"audio_ms": 100}], "skip": ["response.output_audio.done", "response.created"]}},
        {"until": "response_done"},
        {"response": {"error": {"code": "inference_rate_limit_exceeded"}}},
    )
    events += peer.run(2)
    first, second = of(events, "response.done")
    assert of(events, "response.output_audio.done") == []
    assert len(of(events, "response.created")) == 1
    assert first["response"]["status"] == "completed"
    assert second["response"]["status_details"]["error"]["code"] == "inference_rate_limit_exceeded"


def test_two_hundred_random_interruptions_in_one_call() -> None:
    loop = {
        "times": 200,
        "do": [
            {
                "response": {
                    "items": [{"audio_ms": [200, 6000], "chunk_ms": [200, 900]}, {"audio_ms": 1000}],
                    "speed": 8,
                }
            },
            {"delay_ms": [0, 900]},
            {"speech_started": {"in_flight": 3}},
            {"delay_ms": [20, 100]},
            {"speech_stopped": {"respond": False}},
        ],
    }
    peer, events = started({"repeat": loop}, {"note": "over"}, vad=False)
    events += peer.run(400)
    assert peer.session.notes == ["over"]
    assert len(of(events, "input_audio_buffer.speech_started")) == 200
    done = of(events, "response.done")
    assert len(done) == 200
    assert {each["response"]["status"] for each in done} == {"completed", "cancelled"}
    assert of(events, "error") == []
    numbers = {place.number for each in of(events, "response.output_audio.delta") for place in locate(audio_of([each]))}
    assert numbers == set(range(1, max(numbers) + 1))


def test_a_loop_that_never_waits_does_not_hold_the_session() -> None:
    peer, events = started({"repeat": {"do": [{"note": "again"}]}})
    assert events == []
    assert 0 < len(peer.session.notes) < 1000
    assert peer.session.deadline() <= peer.now


def test_until_waits_for_the_client_or_the_time_out() -> None:
    peer, _ = started({"until": {"on": "truncate", "timeout_ms": 500}}, {"note": "on"})
    peer.run(0.4)
    assert peer.session.notes == []
    peer.run(0.2)
    assert peer.session.notes == ["on"]
    peer, _ = started({"until": "clear"}, {"note": "on"})
    peer.run(100)
    assert peer.session.notes == []
    peer.send({"type": "input_audio_buffer.clear"})
    assert peer.session.notes == ["on"]


def test_speech_without_a_voice() -> None:
    peer, events = started(
        {"response": {"items": [{"audio_ms": 9000}]}},
        {"delay_ms": 500},
        {"speech_started": {"audio_start_ms": 7, "in_flight": 2}},
        {"delay_ms": 100},
        {"speech_stopped": {"audio_end_ms": 900}},
        answer={"items": [{"audio_ms": 100}]},
    )
    events += peer.run(2)
    began = only(events, "input_audio_buffer.speech_started")
    assert began["audio_start_ms"] == 7
    assert len(of(events[events.index(began) : events.index(of(events, "response.done")[0])],
                  "response.output_audio.delta")) == 2  # fmt: skip
    assert only(events, "input_audio_buffer.speech_stopped")["audio_end_ms"] == 900
    assert [each["response"]["status"] for each in of(events, "response.done")] == ["cancelled", "completed"]


def test_late_audio_of_an_item_that_is_over() -> None:
    peer, events = started(
        {"response": {"items": [{"audio_ms": 300, "name": "a"}], "speed": "max"}},
        {"until": "response_done"},
        {"audio": {"ms": 100, "item": "a"}},
    )
    events += peer.run(1)
    assert audio_of(events) == counter(1, 3200)
    assert types(events, deltas=True)[-1] == "response.output_audio.delta"


def test_any_event_with_the_ids_filled_in() -> None:
    peer, events = started(
        {"response": {"items": [{"audio_ms": 100, "name": "a"}], "name": "r", "speed": "max"}},
        {"until": "response_done"},
        {
            "send": {
                "type": "response.output_audio.delta",
                "response_id": "$response:r",
                "item_id": "$item:a",
                "output_index": 0,
                "content_index": 0,
                "delta": "AAAA",
            }
        },
        {"send": {"type": "response.output_audio.done", "response_id": "$response", "item_id": "$item",
                  "output_index": 0, "content_index": 0}},
    )  # fmt: skip
    events += peer.run(1)
    done = only(events, "response.done")["response"]
    for event in events[-2:]:
        assert (event["response_id"], event["item_id"]) == (done["id"], done["output"][0]["id"])
        assert event["event_id"].startswith("event_")


def test_cancel_and_transcription_and_errors() -> None:
    peer, events = started(
        {"response": {"items": [{"audio_ms": 9000}]}},
        {"delay_ms": 100},
        {"cancel": {"reason": "turn_detected"}},
        {"error": {"code": "server_error", "type": "server_error", "message": "Sorry."}},
        {"speech_started": {}},
        {"speech_stopped": {"respond": False}},
        {"transcription": {"failed": True}},
    )
    events += peer.run(1)
    assert only(events, "response.done")["response"]["status_details"]["reason"] == "turn_detected"
    assert only(events, "error")["error"] == {
        "type": "server_error", "code": "server_error", "message": "Sorry.", "param": None, "event_id": None,
    }  # fmt: skip
    assert of(events, "conversation.item.input_audio_transcription.failed") == []  # Nobody asked for transcripts.


def test_faults_of_the_wire() -> None:
    peer, _ = started(
        {"send_text": "{"},
        {"send_binary": 3},
        {"send_binary": "00ff"},
        {"send_filler": 100_000_000},
        {"stall_read_ms": 100},
        {"stall_send_ms": 200},
        {"close": {"code": 1011, "reason": "trouble"}},
        {"drop": None},
    )
    assert peer.faults == [
        Raw("{"),
        Raw(bytes(3)),
        Raw(b"\x00\xff"),
        Filler(100_000_000),
        Stall(True, 0.1),
        Stall(False, 0.2),
        Close(1011, "trouble"),
        Drop(),
    ]


def test_the_same_seed_plays_the_same() -> None:
    step = {"response": {"items": [{"audio_ms": [100, 9000]}], "speed": "max"}}

    def length(seed: int) -> int:
        peer, events = started(step, {"delay_ms": [0, 9]}, seed=seed)
        return len(audio_of(events + peer.run(1)))

    assert length(3) == length(3)
    assert len({length(seed) for seed in range(3, 8)}) == 5


def test_the_brain_may_answer_beside_a_script() -> None:
    peer = Peer("brain: true")
    peer.user("thank you")
    peer.respond()
    assert peer.spoken == ["You are welcome."]
