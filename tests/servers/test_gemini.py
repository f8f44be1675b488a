"""The test server of Gemini Live: the client of `google-genai` talks to it, so that both sides are not ours."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import Any

import pytest
from google import genai
from google.genai import errors, types

from tests.phones.certificates import Authority
from tests.servers.gemini import GeminiServer, Settings, Talk, problems

MODEL = "gemini-2.5-flash-native-audio-preview-12-2025"
CONFIG = types.LiveConnectConfig(
    response_modalities=[types.Modality.AUDIO],
    speech_config=types.SpeechConfig(
        voice_config=types.VoiceConfig(prebuilt_voice_config=types.PrebuiltVoiceConfig(voice_name="Aoede"))
    ),
    system_instruction="Be brief.",
    tools=[
        types.Tool(
            function_declarations=[
                types.FunctionDeclaration(name="stock", parameters_json_schema={"type": "object", "properties": {}})
            ]
        )
    ],
    realtime_input_config=types.RealtimeInputConfig(
        automatic_activity_detection=types.AutomaticActivityDetection(silence_duration_ms=600)
    ),
    input_audio_transcription=types.AudioTranscriptionConfig(),
    output_audio_transcription=types.AudioTranscriptionConfig(),
    session_resumption=types.SessionResumptionConfig(),
    context_window_compression=types.ContextWindowCompressionConfig(sliding_window=types.SlidingWindow()),
)


@dataclass(frozen=True)
class Tls:
    """The published client knows no other way to a server."""

    theirs: ssl.SSLContext
    ours: ssl.SSLContext

    def client(self, server: GeminiServer, key: str = "key-1") -> genai.Client:
        options = types.HttpOptions(
            base_url=f"https://127.0.0.1:{server.port}",
            api_version="v1beta",
            async_client_args={"ssl": self.ours},
        )
        return genai.Client(api_key=key, http_options=options)


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    authority = Authority.make(tmp_path_factory.mktemp("gemini"))
    own = authority.issue("server")
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(own.certificate, own.key)
    return Tls(theirs, ssl.create_default_context(cafile=str(authority.certificate)))


async def conversation(talk: Talk) -> None:
    assert (await talk.next("clientContent"))["turns"][0]["parts"] == [{"text": "Begin."}]
    await talk.call("stock", "fc_1", article="4711")
    answer = await talk.next("toolResponse")
    assert answer["functionResponses"][0]["response"] == {"output": "4"}
    await talk.say("There are four.", b"\1\0" * 240, b"\2\0" * 240)
    await talk.hears(640)
    await talk.interrupt()
    await talk.hear("And the other one?")
    await talk.say("None.", b"\3\0" * 240)
    await talk.complete(promptTokenCount=10, responseTokenCount=5, totalTokenCount=15)
    await talk.handle("handle-1")
    await talk.send(goAway={"timeLeft": "50s"})


async def turn(session: Any, *, on_audio: Any = None) -> list[types.LiveServerMessage]:
    """What comes until the end of a turn."""
    got = []
    async for message in session.receive():
        got.append(message)
        if message.data and on_audio:
            await on_audio()
            on_audio = None
    return got


@pytest.mark.parametrize("binary", [False, True])
async def test_the_published_client_holds_a_conversation_with_a_tool_call_and_an_interruption(
    tls: Tls, binary: bool
) -> None:
    server = GeminiServer(conversation, settings=Settings(binary=binary))
    async with server.running(tls.theirs), tls.client(server).aio.live.connect(model=MODEL, config=CONFIG) as session:
        await session.send_client_content(turns=types.Content(role="user", parts=[types.Part(text="Begin.")]))
        called = None
        async for message in session.receive():
            if message.tool_call:
                called = message.tool_call.function_calls[0]
                break
        assert called is not None and (called.name, called.args) == ("stock", {"article": "4711"})
        await session.send_tool_response(
            function_responses=types.FunctionResponse(id=called.id, name=called.name, response={"output": "4"})
        )

        async def speak() -> None:
            await session.send_realtime_input(audio=types.Blob(data=b"\5\0" * 320, mime_type="audio/pcm;rate=16000"))

        cut = await turn(session, on_audio=speak)
        assert [m.server_content.interrupted for m in cut if m.server_content.interrupted] == [True]
        assert server.talks[0].audio == b"\5\0" * 320
        answer = await turn(session)
        heard = [m.server_content.input_transcription.text for m in answer if m.server_content.input_transcription]
        assert heard == ["And the other one?"]
        assert b"".join(m.data or b"" for m in answer) == b"\3\0" * 240
        assert answer[-1].usage_metadata.total_token_count == 15
        rest = []
        async for message in session.receive():
            rest.append(message)
            if message.go_away:
                break
        assert rest[0].session_resumption_update.new_handle == "handle-1"
        assert rest[1].go_away.time_left == "50s"
    assert server.problems == []


@pytest.mark.parametrize(
    ("key", "model", "code"), [("wrong", MODEL, 1007), ("key-1", "gemini-0", 1008)], ids=["key", "model"]
)
async def test_what_is_refused_is_refused_by_a_close_code(tls: Tls, key: str, model: str, code: int) -> None:
    server = GeminiServer(conversation)
    async with server.running(tls.theirs):
        with pytest.raises(errors.APIError) as refused:
            async with tls.client(server, key).aio.live.connect(model=model, config=CONFIG):
                raise AssertionError("connected")
    assert refused.value.code == code


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"hello": {}},
        {"clientContent": {"turns": []}, "realtimeInput": {}},
        {"clientContent": {"turns": [], "turncomplete": True}},
        {"clientContent": {"turns": [{"role": "user", "parts": [{"words": "x"}]}]}},
        {"realtimeInput": {"audio": {"data": "AAAA", "mime": "audio/pcm"}}},
        {"toolResponse": {"functionResponses": [{"id": 5, "name": "f", "response": {}}]}},
        {"toolResponse": {"functionResponses": [{"id": "5", "call": "f", "response": {}}]}},
        {"setup": {"voice": "x"}},
        {"setup": {"generationConfig": {"voice": "x"}}},
        {"setup": {"realtimeInputConfig": {"vad": True}}},
        {"setup": {"systemInstruction": {"text": "x"}}},
        {"setup": {"tools": [{"functionDeclarations": [{"name": "f", "strict": True}]}]}},
        {"setup": {"sessionResumption": {"id": "x"}}},
    ],
)
def test_a_message_with_a_foreign_member_is_a_problem(message: dict[str, Any]) -> None:
    assert problems(message)
