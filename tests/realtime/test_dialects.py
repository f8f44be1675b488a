"""What servers are told that are compatible with OpenAI's, more or less."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.beta.realtime import SessionUpdateEvent
from pydantic import ValidationError

from bridge.audio.format import Linear
from bridge.audio.g711 import Law
from bridge.config.dialect import Server
from bridge.realtime import events as ev
from bridge.realtime.history import AgentWords, CallerWords, History
from bridge.realtime.openai.dialect import GA, PATHS, PRESETS, Dialect, dialect_of
from bridge.realtime.openai.handshake import spoken
from tests.realtime.wire import PCM24, VAD, Wire

BETA = dialect_of("", {"dialect": "beta"})
EVERYTHING: dict[str, Any] = {
    "instructions": "Be brief.",
    "voice": "alloy",
    "speed": 1.1,
    "transcription": {"model": "whisper-1"},
    "noise_reduction": {"type": "near_field"},
    "tools": ({"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}},),
    "tool_choice": "auto",
    "max_output_tokens": 100,
}


def test_a_plain_url_speaks_what_openai_speaks() -> None:
    assert dialect_of("ws://127.0.0.1:8080/v1/realtime") == GA == PRESETS["openai"]


def test_the_beta_shape_is_flat_and_what_the_published_types_know() -> None:
    asked = Wire(dialect=BETA, **EVERYTHING).created()
    SessionUpdateEvent.model_validate({"type": "session.update", "session": asked}, strict=True)
    vad = {name: value for name, value in VAD.items() if name != "idle_timeout_ms"}
    assert asked == {
        "modalities": ["audio", "text"],
        "instructions": "Be brief.",
        "voice": "alloy",
        "speed": 1.1,
        "input_audio_format": "g711_ulaw",
        "output_audio_format": "g711_ulaw",
        "input_audio_transcription": {"model": "whisper-1"},
        "input_audio_noise_reduction": {"type": "near_field"},
        "turn_detection": vad,
        "tools": [{"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}}],
        "tool_choice": "auto",
        "max_response_output_tokens": 100,
    }


@pytest.mark.parametrize(("audio", "name"), [(Law.PCMA, "g711_alaw"), (Linear(24000), "pcm16")])
def test_formats_have_their_beta_names_both_ways(audio: Law | Linear, name: str) -> None:
    wire = Wire(dialect=BETA, audio=audio)
    assert wire.created()["input_audio_format"] == name
    (ready,) = wire.say("session.updated", session={"input_audio_format": name, "output_audio_format": name})
    assert isinstance(ready, ev.Ready)
    assert (ready.audio_in, ready.audio_out, ready.fell_back) == (audio, audio, "")


def test_only_the_beta_dialect_has_the_beta_header() -> None:
    with_it = {name for name, dialect in PRESETS.items() if ("OpenAI-Beta", "realtime=v1") in dialect.headers}
    assert with_it == {"speaches"} and BETA.headers


def test_turn_detection_that_is_off_is_told_in_every_shape() -> None:
    assert Wire(turn_detection=None).created()["audio"]["input"]["turn_detection"] is None
    assert Wire(turn_detection=None, dialect=BETA).created()["turn_detection"] is None
    assert Wire(turn_detection=None, dialect=PRESETS["xai"]).created()["turn_detection"] == {"type": None}


def test_responses_and_items_in_the_beta_shape() -> None:
    history = History((CallerWords("u", "Hi."), AgentWords("a", "Hello.")))
    wire = Wire(dialect=BETA, history=history, greeting="Go on.")
    wire.created()
    wire.updated()
    caller, agent = [message["item"] for message in wire.told()]
    assert caller["content"] == [{"type": "input_text", "text": "Hi."}]
    assert agent["content"] == [{"type": "text", "text": "Hello."}]
    wire.begin("r")
    wire.item("r", "t")
    wire.say("response.text.delta", response_id="r", item_id="t", delta="written")
    wire.done("r")
    assert wire.told()[-1]["response"] == {"modalities": ["audio", "text"]}


def test_xai_is_a_mixture() -> None:
    asked = Wire(dialect=PRESETS["xai"], **EVERYTHING).created()
    assert asked == {
        "instructions": "Be brief.",
        "voice": "alloy",
        "turn_detection": VAD,
        "audio": {
            "input": {"format": {"type": "audio/pcmu"}, "transcription": {"model": "whisper-1"}},
            "output": {"format": {"type": "audio/pcmu"}},
        },
        "tools": [{"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}}],
        "tool_choice": "auto",
        "max_response_output_tokens": 100,
    }


def test_azure_voice_live_names_voices_by_objects() -> None:
    for name, kind in (("alloy", "openai"), ("en-US-AvaNeural", "azure-standard")):
        asked = Wire(dialect=PRESETS["azure-voice-live"], voice=name).created()
        assert asked["voice"] == {"name": name, "type": kind}
        assert asked["input_audio_format"] == "g711_ulaw"


@pytest.mark.parametrize(
    ("name", "shape", "g711", "truncate", "cancel"),
    [
        ("openai", "ga", True, "yes", True),
        ("azure", "ga", True, "yes", True),
        ("azure-voice-live", "beta", True, "yes", True),
        ("xai", "xai", True, "no", True),
        ("localai", "ga", False, "replace", True),
        ("hf", "ga", False, "note", True),
        ("speaches", "beta", False, "no", False),
    ],
)
def test_each_preset_says_what_it_can(name: str, shape: str, g711: bool, truncate: str, cancel: bool) -> None:
    dialect = PRESETS[name]
    assert (dialect.shape, dialect.g711, dialect.truncate, dialect.cancel) == (shape, g711, truncate, cancel)
    wire = Wire(dialect=dialect)
    assert wire.protocol.abilities.told_what_was_heard is (truncate != "no")
    if not g711:
        wire.created()
        (ready,) = wire.updated()
        assert isinstance(ready, ev.Ready)
        assert (ready.audio_out, ready.fell_back) == (Linear(24000), "")  # asked for at once: nothing fell back


def test_speaches_is_spared_what_it_refuses() -> None:
    wire = Wire(dialect=PRESETS["speaches"], greeting="Hello.", **EVERYTHING)
    asked = wire.created()
    assert not {"input_audio_format", "output_audio_format", "input_audio_noise_reduction", "speed"} & set(asked)
    assert "prefix_padding_ms" not in asked["turn_detection"] and "threshold" in asked["turn_detection"]
    wire.say("session.updated", session={"input_audio_format": "pcm16", "output_audio_format": "pcm16"})
    wire.protocol.greet()
    assert set(wire.told()[-1]["response"]) == {"instructions"}
    wire.begin("r", "a", audio=b"\x01\x00" * 100)
    wire.protocol.interrupted([], by_server=False)
    assert wire.told() == []  # no cancel, no truncate
    assert wire.delta("r", "a", b"\x01\x00") == ()


def test_what_a_server_cannot_do_is_not_asked_of_it() -> None:
    wire = Wire(dialect=Dialect(transcription=False, tools=False, greeting="message"), greeting="Hi.", **EVERYTHING)
    asked = wire.created()
    assert asked["audio"]["input"]["transcription"] is None
    assert asked["tools"] == [] and "tool_choice" not in asked
    wire.updated()
    wire.protocol.greet()
    words, create = wire.told()
    assert words["item"]["role"] == "system" and words["item"]["content"][0]["text"] == "Hi."
    assert create["response"] == {"metadata": {"purpose": "greeting"}}


def test_more_members_of_the_session_are_sent_as_they_are() -> None:
    for dialect in (GA, BETA, PRESETS["xai"]):
        assert Wire(dialect=dialect, extra={"temperature": 0.8}).created()["temperature"] == 0.8


# Formats


@pytest.mark.parametrize(
    ("incoming", "outgoing", "names"),
    [
        (PCM24, {"type": "audio/pcmu"}, ("PCM24", "PCMU")),
        ({"type": "audio/pcmu"}, PCM24, ("PCMU", "PCM24")),
        ({"type": "audio/pcm", "rate": 16000}, {"type": "audio/pcm", "rate": 48000}, ("PCM16", "PCM48")),
        ({"type": "audio/pcm"}, PCM24, ("PCM24", "PCM24")),
    ],
)
def test_a_direction_that_speaks_pcm_instead_is_taken_at_its_word(
    incoming: object, outgoing: object, names: object
) -> None:
    wire = Wire()
    wire.created()
    (ready,) = wire.updated(incoming, outgoing)
    assert isinstance(ready, ev.Ready)
    assert (ready.audio_in.name, ready.audio_out.name) == names
    assert ready.fell_back and wire.told() == []


@pytest.mark.parametrize(
    "other", [{"type": "audio/pcma"}, {"type": "audio/opus"}, {"type": "audio/pcm", "rate": 22050}, {"type": 5}, "x"]
)
def test_a_format_that_cannot_be_spoken_leads_to_pcm_and_then_to_the_end(other: object) -> None:
    wire = Wire()
    wire.created()
    assert wire.updated(other, {"type": "audio/pcmu"}) == ()
    (update,) = wire.told()
    audio = update["session"]["audio"]
    assert audio["input"]["format"] == audio["output"]["format"] == PCM24
    (ready,) = wire.updated(PCM24, PCM24)
    assert isinstance(ready, ev.Ready) and "asked for audio/pcmu" in ready.fell_back


def test_without_any_common_format_there_is_no_session() -> None:
    wire = Wire()
    wire.created()
    for _ in range(2):
        told = wire.updated({"type": "audio/opus"}, {"type": "audio/opus"})
    (error,) = told
    assert isinstance(error, ev.SessionError) and (error.code, error.fatal) == ("format_mismatch", True)


@pytest.mark.parametrize(
    ("code", "param", "message"),
    [
        ("invalid_value", "session.audio.input.format.type", "No G.711"),
        ("missing_required_parameter", "session.audio.output.format.rate", "Missing"),
        ("unknown_parameter", None, "Unknown parameter: 'session.audio.output.format'."),
    ],
)
def test_a_refused_format_leads_to_pcm(code: str, param: str | None, message: str) -> None:
    wire = Wire()
    wire.created()
    assert wire.error(code, message, param=param) == ()
    (update,) = wire.told()
    assert update["session"]["audio"]["input"]["format"] == PCM24
    (ready,) = wire.updated(PCM24, PCM24)
    assert isinstance(ready, ev.Ready) and message in ready.fell_back
    assert wire.protocol.stage.value == "ready"


def test_a_refused_flat_format_leads_to_pcm_too() -> None:
    wire = Wire(dialect=BETA)
    wire.created()
    assert wire.error("invalid_value", "No", param="session.input_audio_format") == ()
    assert wire.told()[0]["session"]["input_audio_format"] == "pcm16"


def test_pcm_that_is_refused_is_the_end() -> None:
    wire = Wire(audio=Linear(24000))
    wire.created()
    (error,) = wire.error("invalid_value", "No", param="session.audio.output.format")
    assert isinstance(error, ev.SessionError) and error.fatal


def test_later_updates_without_formats_change_nothing() -> None:
    wire = Wire().ready()
    assert wire.say("session.updated", session={"voice": "x"}) == ()
    assert wire.protocol.stage.value == "ready"


# What is left out


def test_each_refused_field_is_left_out_once_and_then_it_is_the_end() -> None:
    wire = Wire(reasoning_effort="low", noise_reduction={"type": "near_field"})
    wire.created()
    for param in ("session.reasoning.effort", "session.audio.input.noise_reduction"):
        (error,) = wire.error("unknown_parameter", "No", param=param)
        assert isinstance(error, ev.SessionError) and not error.fatal and "left out" in error.message
        (update,) = wire.told()
    session = update["session"]
    assert "reasoning" not in session
    assert "noise_reduction" not in session["audio"]["input"]
    (error,) = wire.error("unknown_parameter", "No", param="session.reasoning")
    assert isinstance(error, ev.SessionError) and error.fatal


@pytest.mark.parametrize(
    ("param", "gone", "stays"),
    [
        ("session.audio.input.turn_detection.idle_timeout_ms", "turn_detection.idle_timeout_ms", "turn_detection.type"),
        ("session.audio.input.transcription.language", "transcription.language", "transcription.model"),
        ("session.audio.input.transcription.model", "transcription", "turn_detection.type"),
    ],
)
def test_of_an_object_only_the_refused_member_is_left_out_where_it_can_be(param: str, gone: str, stays: str) -> None:
    wire = Wire(transcription={"model": "m", "language": "en"})
    wire.created()
    wire.error("invalid_value", "No", param=param)
    sent = wire.told()[0]["session"]["audio"]["input"]

    def has(path: str) -> bool:
        first, _, second = path.partition(".")
        return first in sent and (not second or second in sent[first])

    assert not has(gone) and has(stays)


@pytest.mark.parametrize(
    "param", ["session.instructions", "session.tools", "session.type", "session.audio.input.turn_detection"]
)
def test_what_a_session_cannot_do_without_is_the_end(param: str) -> None:
    wire = Wire(instructions="x")
    wire.created()
    (error,) = wire.error("invalid_value", "No", param=param)
    assert isinstance(error, ev.SessionError) and error.fatal and param in error.message


def test_a_server_that_refuses_everything_is_given_up() -> None:
    wire = Wire()
    wire.created()
    params = [f"session.audio.input.turn_detection.x{n}" for n in range(100)]
    told = [error for param in params for error in wire.error("unknown_parameter", "No", param=param)]
    assert [isinstance(error, ev.SessionError) and error.fatal for error in told].index(True) < 15


@pytest.mark.parametrize("extra", [{"temperature": 1}, {"truncation": "disabled"}])
def test_what_the_configuration_names_itself_is_never_left_out_silently(extra: dict[str, object]) -> None:
    wire = Wire(extra=extra)
    wire.created()
    (error,) = wire.error("unknown_parameter", "No", param=f"session.{next(iter(extra))}")
    assert isinstance(error, ev.SessionError) and error.fatal


def test_what_is_fatal_is_so_whatever_it_names() -> None:
    wire = Wire(reasoning_effort="low")
    wire.created()
    (error,) = wire.error("insufficient_quota", "No", param="session.reasoning")
    assert isinstance(error, ev.SessionError) and error.fatal


# Configuration


def test_the_configuration_changes_what_the_preset_says() -> None:
    said = Server.model_validate({"truncate": False, "g711": "no", "leave_out": "audio.output.speed"}).changes()
    dialect = dialect_of("openai", said)
    assert (dialect.truncate, dialect.g711, dialect.leave_out) == ("no", False, ("audio.output.speed",))
    assert dialect_of("openai", Server.model_validate({"truncate": True}).changes()) == GA
    more = dialect_of("speaches", {"leave_out": ("reasoning", "audio.output.speed")})
    assert more.leave_out == (*PRESETS["speaches"].leave_out, "reasoning")


def test_another_shape_brings_what_belongs_to_it() -> None:
    dialect = dialect_of("openai", Server(dialect="xai", cancel=False).changes())
    assert (dialect.shape, dialect.truncate, dialect.cancel) == ("xai", "no", False)
    assert dialect_of("openai", Server().changes()) == GA


@pytest.mark.parametrize("wrong", [{"dialect": "gemini"}, {"truncate": "perhaps"}, {"speed": True}])
def test_what_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Server.model_validate(wrong)


_path = st.lists(st.sampled_from(["session", "audio", "input", "format", "voice", "x", ""]), max_size=5).map(".".join)


@given(st.sampled_from(sorted(PATHS)), _path)
def test_any_parameter_of_an_error_has_a_path(shape: str, param: str) -> None:
    assert isinstance(Dialect(shape).ga_path(param), str)  # type: ignore[arg-type]


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.dictionaries(st.sampled_from(["audio", "input", "format", "type", "rate"]), inner, max_size=4),
)


@given(st.dictionaries(st.sampled_from(["audio", "input_audio_format", "input_audio_sampling_rate"]), _json))
def test_any_session_has_a_format_or_none(session: dict[str, object]) -> None:
    found, name = spoken(session, "input")
    assert found is None or 8000 <= found.rate <= 48000
    assert len(name) < 100
