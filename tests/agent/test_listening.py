"""Turns: what the caller's audio makes of a session."""

from __future__ import annotations

import pytest

from bridge.agent.formats import AudioFormat
from bridge.agent.patterns import tone
from bridge.agent.pipeline_config import Pipeline
from tests.agent.peer import PCMU, Peer, of, only, types
from tests.agent.test_responses import CLOSING, END, OPENING

LONG = "answer: {items: [{audio_ms: 20000}], speed: 6}\nheard: null"
COMMIT = {"type": "input_audio_buffer.commit"}
TURN = [
    "input_audio_buffer.speech_started",
    "input_audio_buffer.speech_stopped",
    "input_audio_buffer.committed",
    "conversation.item.added",
    "conversation.item.done",
]


def vad(**members: object) -> dict[str, object]:
    return {"type": "server_vad", "silence_duration_ms": 500, **members}


def test_the_order_of_a_normal_turn() -> None:
    peer = Peer("answer: {items: [{audio_ms: 1000}], speed: 10}\nheard: null")
    peer.telephone()
    events = peer.speak() + peer.run(1)
    assert types(events) == [*TURN, "response.created", *OPENING, *CLOSING, *END]
    started, stopped = events[0], events[1]
    assert started["item_id"] == stopped["item_id"] == events[2]["item_id"] == events[3]["item"]["id"]
    assert events[3]["item"]["content"] == [{"type": "input_audio", "transcript": None}]
    assert (started["audio_start_ms"], stopped["audio_end_ms"]) == (0, 1500)
    assert only(events, "response.output_item.added")["item"]["status"] == "in_progress"


def test_an_interrupted_turn_and_the_next_answer() -> None:
    peer = Peer(LONG)
    peer.telephone()
    peer.speak()
    peer.run(0.3)
    events = peer.speak()
    kinds = types(events, deltas=True)
    began = kinds.index("input_audio_buffer.speech_started")
    after = [kind for kind in kinds[began + 1 :] if not kind.endswith("transcript.delta")]
    in_flight = after.index("response.output_audio.done")
    assert after[:in_flight] == ["response.output_audio.delta"] * in_flight
    assert after[in_flight:][:7] == [*CLOSING, *END]
    done = only(events, "response.done")["response"]
    assert done["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
    assert done["output"][0]["status"] == "incomplete"
    assert of(events, "response.created")


def test_deltas_that_are_on_the_way_come_after_speech_started() -> None:
    seen = set()
    for seed in range(12):
        peer = Peer(LONG, seed=str(seed))
        peer.telephone()
        peer.send({"type": "response.create"})
        peer.run(0.5)
        events = peer.speak(500, 0)
        began = types(events, deltas=True).index("input_audio_buffer.speech_started")
        seen.add(len(of(events[began:], "response.output_audio.delta")))
    assert seen == {0, 1, 2, 3}


def test_an_interruption_after_the_response_is_done_cancels_nothing() -> None:
    peer = Peer("answer: {items: [{audio_ms: 20000}], speed: max}\nheard: null")
    peer.telephone()
    peer.respond()
    assert types(peer.speak(500, 0)) == ["input_audio_buffer.speech_started"]


def test_interrupt_response_false_lets_it_speak() -> None:
    peer = Peer(LONG)
    peer.telephone(vad(interrupt_response=False))
    peer.send({"type": "response.create"})
    events = peer.speak()
    assert types(events)[3:] == TURN  # No second response beside the running one.
    assert only(peer.run(10), "response.done")["response"]["status"] == "completed"


def test_create_response_false_only_commits() -> None:
    peer = Peer(LONG)
    peer.telephone(vad(create_response=False))
    assert types(peer.speak() + peer.run(1)) == TURN


def test_without_turn_detection_the_client_commits() -> None:
    peer = Peer(LONG)
    audio = {"input": {"format": PCMU.wire(), "turn_detection": None}, "output": {"format": PCMU.wire()}}
    peer.configure(audio=audio)
    assert peer.speak() == []
    assert types(peer.send(COMMIT)) == TURN[2:]
    assert peer.error(COMMIT)["code"] == "input_audio_buffer_commit_empty"
    assert types(peer.send({"type": "response.create"})) == ["response.created"]


@pytest.mark.parametrize(("ms", "taken"), [(0, False), (99, False), (100, True)])
def test_less_than_100_ms_are_not_committed(ms: int, taken: bool) -> None:
    peer = Peer()
    peer.telephone()
    peer.append(PCMU.silence(ms))
    answer = peer.send(COMMIT)
    assert (answer[0]["type"] == "input_audio_buffer.committed") is taken
    if not taken:
        assert f"{ms}.00ms" in answer[0]["error"]["message"]


def test_clear_empties_the_buffer() -> None:
    peer = Peer()
    peer.telephone()
    peer.append(PCMU.silence(400))
    assert types(peer.send({"type": "input_audio_buffer.clear"})) == ["input_audio_buffer.cleared"]
    assert peer.error(COMMIT)["code"] == "input_audio_buffer_commit_empty"


@pytest.mark.parametrize("form", list(AudioFormat))
def test_every_format_is_heard(form: AudioFormat) -> None:
    peer = Peer(LONG)
    peer.configure(audio={"input": {"format": form.wire(), "turn_detection": vad()}})
    audio = form.from_pcm(tone(300, 600, form.rate)) + form.silence(700)
    assert types(peer.append(audio, form))[:5] == TURN


def test_the_clock_counts_appended_audio_not_time() -> None:
    peer = Peer(LONG)
    peer.telephone(vad(create_response=False))
    peer.append(PCMU.silence(1000))
    peer.run(30)
    events = peer.speak()
    assert (events[0]["audio_start_ms"], events[1]["audio_end_ms"]) == (700, 2500)


def test_a_partial_update_does_not_disturb_a_turn() -> None:
    peer = Peer(LONG)
    peer.telephone()
    started = peer.speak(500, 0)[0]
    peer.configure(instructions="something else")
    stopped = peer.append(PCMU.silence(600))[0]
    assert stopped["item_id"] == started["item_id"]


# The words of the caller.


def test_the_words_come_when_the_ears_are_done_and_the_answer_waits() -> None:
    peer = Peer()
    peer.telephone()
    peer.working = False
    events = peer.speak()
    assert types(events)[-1] == "response.created"
    assert peer.run(1) == []
    peer.words, peer.working = "what can you do", True
    events = peer.run(5)
    completed = only(events, "conversation.item.input_audio_transcription.completed")
    assert completed["transcript"] == "what can you do"
    assert completed["usage"] == {"type": "duration", "seconds": 2}
    deltas = of(events, "conversation.item.input_audio_transcription.delta")
    assert "".join(each["delta"] for each in deltas) == "what can you do"
    assert peer.spoken[0].startswith("I can tell you the time")


def test_nothing_understood_is_a_failed_transcription() -> None:
    peer = Peer()
    peer.telephone()
    peer.words = None
    events = peer.speak()
    failed = only(events, "conversation.item.input_audio_transcription.failed")
    assert failed["error"]["code"] == "audio_unintelligible"
    assert peer.spoken[0].startswith("Sorry")


def test_without_transcription_there_are_no_transcripts() -> None:
    peer = Peer()
    peer.telephone()
    peer.configure(audio={"input": {"transcription": None}})
    assert not [event for event in peer.speak() if "transcription" in event["type"]]
    assert peer.spoken[0].startswith("It is")


def test_other_models_count_tokens() -> None:
    peer = Peer()
    peer.telephone()
    peer.configure(audio={"input": {"transcription": {"model": "gpt-transcribe", "language": "en"}}})
    usage = only(peer.speak(), "conversation.item.input_audio_transcription.completed")["usage"]
    assert usage["type"] == "tokens"
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]


def test_scripted_transcripts_come_late_and_in_rotation() -> None:
    peer = Peer("answer: {items: [{audio_ms: 100}]}\nheard: [One., Two.]\nheard_ms: [300, 600]")
    peer.telephone()
    heard = []
    for _ in range(3):
        events = peer.speak() + peer.run(1)
        kinds = types(events)
        created = kinds.index("response.created")
        assert kinds.index("conversation.item.input_audio_transcription.completed") > created
        heard.append(only(events, "conversation.item.input_audio_transcription.completed")["transcript"])
    assert heard == ["One.", "Two.", "One."]


# The idle timer.


def test_a_silent_caller_is_asked_after_the_answer_was_played() -> None:
    peer = Peer()
    peer.telephone(vad(idle_timeout_ms=5000))
    events = peer.respond()
    seconds = sum(len(event["delta"]) * 3 // 4 for event in of(events, "response.output_audio.delta")) / 8000
    assert peer.append(PCMU.silence(int(1000 * seconds) + 4400)) == []
    events = peer.append(PCMU.silence(1200)) + peer.run(2)
    assert types(events)[:5] == [
        "input_audio_buffer.timeout_triggered",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "response.created",
    ]
    assert events[0]["item_id"] == events[1]["item_id"]
    assert peer.spoken[-1].startswith("Are you still there")
    peer.words = "thank you"
    peer.speak()
    assert peer.spoken[-1] == "You are welcome."


def test_speech_stops_the_idle_timer() -> None:
    peer = Peer()
    peer.telephone(vad(idle_timeout_ms=5000, create_response=False))
    peer.respond()
    peer.speak()
    assert of(peer.run(60), "input_audio_buffer.timeout_triggered") == []


def test_without_the_setting_nobody_is_asked() -> None:
    peer = Peer()
    peer.telephone()
    peer.respond()
    assert peer.run(120) == []


@pytest.mark.parametrize(("aggressiveness", "heard"), [(0, True), (3, False)])
def test_a_pipeline_may_have_turns_found_by_webrtcvad(aggressiveness: int, heard: bool) -> None:
    pytest.importorskip("webrtcvad", reason="the extra 'turns' is not installed")
    peer = Peer(LONG, pipeline=Pipeline(turns="webrtcvad", aggressiveness=aggressiveness))
    peer.telephone()
    # A steady tone: loud enough in any case, but no voice.
    assert (types(peer.speak())[:2] == TURN[:2]) is heard
