"""The pipeline over real sockets: small HTTP servers behind it that stream, stall, break and refuse."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import wave
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect

from bridge.agent import http_ears, http_voice, voice
from bridge.agent.brain import GREETING, NOT_UNDERSTOOD
from bridge.agent.chat import NOT_UNDERSTOOD as TOLD_NOT_UNDERSTOOD
from bridge.agent.chat import NOTHING_YET
from bridge.agent.formats import AudioFormat
from bridge.agent.http_exchange import open_http
from bridge.agent.http_voice import HttpVoice
from bridge.agent.patterns import tone
from bridge.agent.pipeline_config import Pipeline, Pipelines, VoicePart
from bridge.agent.script import Script
from bridge.agent.server import AgentServer
from tests.agent.http_servers import SSE, Asked, Servers, answers, http_servers, sounds
from tests.agent.peer import audio_of, of, only, types
from tests.realtime_events import problems

Event = dict[str, Any]
WAIT_S = 20
FIRST, SECOND, THIRD = "This is the first sentence.", " Here comes the second.", " And this is the third."
WEATHER = {"type": "function", "name": "weather", "description": "Of a town.", "parameters": {"type": "object"}}


class Client:
    """A client of the agent. All events are judged."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self.events: list[Event] = []

    async def send(self, kind: str, **members: Any) -> None:
        await self._connection.send(json.dumps({"type": kind, **members}))

    async def until(self, kind: str) -> list[Event]:
        """The events from here to the next of this type."""
        events: list[Event] = []
        async with asyncio.timeout(WAIT_S):
            while not events or events[-1]["type"] != kind:
                events.append(json.loads(await self._connection.recv()))
                assert problems(events[-1], "server") == [], events[-1]
        self.events += events
        return events

    async def configure(self, **session: Any) -> None:
        await self.send("session.update", session={"type": "realtime", **session})
        await self.until("session.updated")

    async def user(self, text: str) -> None:
        await self.item(type="message", role="user", content=[{"type": "input_text", "text": text}])

    async def item(self, **item: Any) -> None:
        await self.send("conversation.item.create", item=item)
        await self.until("conversation.item.done")

    async def respond(self) -> list[Event]:
        await self.send("response.create")
        return await self.until("response.done")

    async def append(self, audio: bytes) -> None:
        for start in range(0, len(audio), 960):
            piece = base64.b64encode(audio[start : start + 960]).decode()
            await self.send("input_audio_buffer.append", audio=piece)


@contextlib.asynccontextmanager
async def calling(
    servers: Servers, *, script: str | None = None, parts: dict[str, Any] | None = None, **changes: Any
) -> AsyncIterator[Client]:
    """A session with the pipeline of these servers."""
    pipeline = Pipeline.of(servers.pipeline(**changes) | (parts or {}))
    server = AgentServer(
        pipelines=Pipelines({"test": pipeline}, plain=False), script=None if script is None else Script.parse(script)
    )
    url = await server.start()
    try:
        async with connect(f"{url}?model=pipeline-test", compression=None, proxy=None) as connection:
            client = Client(connection)
            await client.until("session.created")
            yield client
    finally:
        await server.close()


@pytest.fixture
async def servers() -> AsyncIterator[Servers]:
    async with http_servers() as made:
        yield made


async def asked(queue: asyncio.Queue[Asked]) -> Asked:
    return await asyncio.wait_for(queue.get(), WAIT_S)


async def gone(*requests: Asked) -> None:
    for request in requests:
        await asyncio.wait_for(request.gone.wait(), WAIT_S)


def status_of(events: list[Event]) -> tuple[str, Any]:
    """Status and code (or reason) of the response that is done."""
    response = only(events, "response.done")["response"]
    details = response["status_details"] or {}
    return response["status"], details.get("error", {}).get("code") or details.get("reason")


def said(events: list[Event]) -> str:
    return "".join(event["delta"] for event in of(events, "response.output_audio_transcript.delta"))


# Streaming.


async def test_the_first_sound_leaves_before_the_brain_has_finished(servers: Servers) -> None:
    async with calling(servers) as client:
        await client.send("response.create")
        brain = await asked(servers.brain)
        brain.say("This is the ", "first sentence.", " Here")
        voice = await asked(servers.voice)
        assert voice.body == {"model": "voice-1", "input": FIRST, "voice": "marin", "response_format": "pcm"}
        assert voice.headers["Authorization"] == "Bearer sk-voice"
        voice.write(b"\x01\x00" * 2400)
        begun = await client.until("response.output_audio.delta")
        assert types(begun, deltas=True)[-2:] == [
            "response.output_audio_transcript.delta",
            "response.output_audio.delta",
        ]
        voice.end()
        brain.say(" comes the second.")
        brain.stop()
        (await asked(servers.voice)).sound()
        events = begun + await client.until("response.done")
    assert status_of(events) == ("completed", None)
    assert types(events) == [
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "conversation.item.done",
        "response.output_item.done",
        "response.done",
    ]
    assert only(events, "response.output_audio_transcript.done")["transcript"] == FIRST + SECOND


async def test_the_next_sentence_is_fetched_meanwhile_and_sent_in_order(servers: Servers) -> None:
    async with calling(servers) as client:
        await client.send("response.create")
        brain = await asked(servers.brain)
        brain.say(FIRST + SECOND + THIRD)
        brain.stop()
        first, second = await asked(servers.voice), await asked(servers.voice)
        assert [first.body["input"], second.body["input"]] == [FIRST, SECOND.strip()]
        second.write(b"\x02\x00" * 4800)
        second.end()
        first.write(b"\x01\x00" * 4800)
        await client.until("response.output_audio.delta")
        assert servers.voice.empty(), "two at a time, no more"
        first.end()
        third = await asked(servers.voice)
        third.write(b"\x03\x00" * 4800)
        third.end()
        await client.until("response.done")
    assert audio_of(client.events) == b"\x01\x00" * 4800 + b"\x02\x00" * 4800 + b"\x03\x00" * 4800
    kinds = [
        event["delta"] if "transcript" in event["type"] else "sound"
        for event in client.events
        if event["type"] in ("response.output_audio_transcript.delta", "response.output_audio.delta")
    ]
    assert kinds == [FIRST, "sound", SECOND, "sound", THIRD, "sound"]


async def test_a_text_answer_needs_no_voice(servers: Servers) -> None:
    servers.think = answers("No *voice* here. None.")
    async with calling(servers) as client:
        await client.send("response.create", response={"output_modalities": ["text"]})
        events = await client.until("response.done")
    assert only(events, "response.output_text.done")["text"] == "No *voice* here. None."
    assert servers.asked["voice"] == []


async def test_telephone_audio_comes_out_as_long_as_it_went_in(servers: Servers) -> None:
    servers.think, servers.speak = answers(FIRST), sounds
    async with calling(servers) as client:
        await client.configure(audio={"output": {"format": {"type": "audio/pcmu"}}})
        events = await client.respond()
    assert len(audio_of(events)) == len(FIRST) * 50 * 8
    assert max(len(audio_of([event])) for event in of(events, "response.output_audio.delta")) <= 400 * 8


async def test_the_voice_is_told_the_speed(servers: Servers) -> None:
    servers.think, servers.speak = answers(FIRST), sounds
    async with calling(servers, voice={"voice": "anna"}) as client:
        await client.configure(audio={"output": {"speed": 1.25}})
        await client.respond()
    (body,) = (each.body for each in servers.asked["voice"])
    assert (body["speed"], body["voice"]) == (1.25, "anna")


async def test_what_cannot_be_pronounced_is_not_sent_to_the_voice(servers: Servers) -> None:
    servers.think, servers.speak = answers("**Really**, yes!\n---\nGood."), sounds
    async with calling(servers) as client:
        events = await client.respond()
    assert [each.body["input"] for each in servers.asked["voice"]] == ["Really, yes!", "Good."]
    assert said(events) == "**Really**, yes!\n---\nGood."


async def test_connections_are_used_again(servers: Servers) -> None:
    servers.think, servers.speak = answers(*[FIRST] * 3), sounds
    async with calling(servers) as client:
        for _ in range(3):
            await client.respond()
    used = {each.connection for each in servers.asked["brain"] + servers.asked["voice"]}
    assert len(used) <= 2, "one to the brain, one to the voice"


# What the brain is told.


async def test_the_brain_is_told_instructions_words_and_tools(servers: Servers) -> None:
    servers.think, servers.speak = answers(FIRST, SECOND, THIRD), sounds
    async with calling(servers, brain={"temperature": 0.5, "max_tokens": 300}) as client:
        await client.configure(instructions="Be brief.", tools=[WEATHER], max_output_tokens=200)
        await client.send("response.create", response={"instructions": "Greet the caller."})
        await client.until("response.done")
        await client.user("How are you?")
        await client.respond()
    first, second = (each.body for each in servers.asked["brain"])
    assert (first["model"], first["stream"], first["temperature"], first["max_tokens"]) == ("brain-1", True, 0.5, 200)
    assert first["messages"] == [
        {"role": "system", "content": "Be brief.\n\nNow: Greet the caller."},
        {"role": "user", "content": NOTHING_YET},
    ]
    assert first["tools"] == [{"type": "function", "function": {k: v for k, v in WEATHER.items() if k != "type"}}]
    assert second["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "assistant", "content": FIRST},
        {"role": "user", "content": "How are you?"},
    ]


async def test_a_tool_is_called_and_its_result_told(servers: Servers) -> None:
    servers.speak = sounds
    async with calling(servers) as client:
        await client.configure(tools=[WEATHER])
        await client.user("Is it raining in Rome?")
        await client.send("response.create")
        brain = await asked(servers.brain)
        brain.say("Let me look that up.")
        call = {"index": 0, "id": "call_7", "type": "function", "function": {"name": "weather", "arguments": ""}}
        brain.chunk(tool_calls=[call])
        for piece in ('{"town"', ': "Rome"}'):
            brain.chunk(tool_calls=[{"index": 0, "function": {"arguments": piece}}])
        brain.stop("tool_calls")
        events = await client.until("response.done")
        message, item = only(events, "response.done")["response"]["output"]
        assert message["content"] == [{"type": "output_audio", "transcript": "Let me look that up."}]
        assert (item["type"], item["name"], item["call_id"]) == ("function_call", "weather", "call_7")
        assert item["arguments"] == '{"town": "Rome"}'
        await client.item(type="function_call_output", call_id="call_7", output='{"rain": true}')
        servers.think = answers("Yes, it is.")
        events = await client.respond()
    assert said(events) == "Yes, it is."
    function = {"name": "weather", "arguments": '{"town": "Rome"}'}
    assert servers.asked["brain"][1].body["messages"][1:] == [
        {"role": "user", "content": "Is it raining in Rome?"},
        {
            "role": "assistant",
            "content": "Let me look that up.",
            "tool_calls": [{"id": "call_7", "type": "function", "function": function}],
        },
        {"role": "tool", "tool_call_id": "call_7", "content": '{"rain": true}'},
    ]


# Interruptions.


async def speaking(client: Client, servers: Servers) -> tuple[Asked, Asked, Asked, str]:
    """Brain and two requests to the voice in the middle of their work; the id of the item."""
    await client.send("response.create")
    brain = await asked(servers.brain)
    brain.say(FIRST + SECOND + " And")
    first, second = await asked(servers.voice), await asked(servers.voice)
    first.write(b"\x01\x00" * (24 * 50 * len(FIRST)))
    second.write(b"\x01\x00" * 24)
    begun = await client.until("response.output_audio.delta")
    return brain, first, second, str(begun[-1]["item_id"])


async def test_a_cancel_closes_all_requests_at_once(servers: Servers) -> None:
    async with calling(servers) as client:
        brain, first, second, _ = await speaking(client, servers)
        await client.send("response.cancel")
        events = await client.until("response.done")
        assert status_of(events) == ("cancelled", "client_cancelled")
        await gone(brain, first, second)


async def test_the_caller_who_speaks_closes_all_requests_at_once(servers: Servers) -> None:
    async with calling(servers) as client:
        brain, first, second, _ = await speaking(client, servers)
        await client.append(tone(300, 400, 24000))
        events = await client.until("response.done")
        assert status_of(events) == ("cancelled", "turn_detected")
        await gone(brain, first, second)


async def test_a_lost_client_closes_all_requests(servers: Servers) -> None:
    async with calling(servers) as client:
        brain, first, second, _ = await speaking(client, servers)
    await gone(brain, first, second)


async def test_words_that_are_understood_meanwhile_do_not_start_the_answer_again(servers: Servers) -> None:
    async with calling(servers) as client:
        await client.configure(audio=LISTENING)
        brain, first, second, _ = await speaking(client, servers)
        audio = base64.b64encode(SPOKEN).decode()
        item = {"type": "message", "role": "user", "content": [{"type": "input_audio", "audio": audio}]}
        await client.send("conversation.item.create", item=item)
        (await asked(servers.ears)).reply(200, {"text": "Also."})
        await client.until("conversation.item.input_audio_transcription.completed")
        brain.say(" so on.")
        brain.stop()
        first.end()
        second.end()
        (await asked(servers.voice)).sound()
        assert status_of(await client.until("response.done")) == ("completed", None)
    assert len(servers.asked["brain"]) == 1


async def test_a_cancelled_answer_does_not_disturb_the_next(servers: Servers) -> None:
    async with calling(servers) as client:
        brain, *_ = await speaking(client, servers)
        await client.send("response.cancel")
        await client.until("response.done")
        await gone(brain)
        servers.think, servers.speak = answers("Once more."), sounds
        events = await client.respond()
        assert (said(events), status_of(events)) == ("Once more.", ("completed", None))


@pytest.mark.parametrize(
    ("audio_end_ms", "heard"),
    [
        (50 * len(FIRST), FIRST),
        (50 * len(FIRST) + 50 * len(" Here comes") - 1, FIRST + " Here"),
        (50 * len(FIRST) + 50 * len(" Here comes"), FIRST + " Here comes"),
        (50 * 13, "This is the"),
        (50 * len(FIRST + SECOND), FIRST + SECOND),
        (0, None),
    ],
)
async def test_the_brain_knows_only_what_was_heard(servers: Servers, audio_end_ms: int, heard: str | None) -> None:
    servers.think, servers.speak = answers(FIRST + SECOND, THIRD), lambda each: each.sound(len(each.body["input"]))
    if audio_end_ms >= 50 * len(FIRST):
        # The blank before the second sentence has its time, too.
        servers.speak = lambda each: each.sound(len(each.body["input"]) + each.body["input"].startswith("Here"))
    async with calling(servers) as client:
        await client.user("Go on.")
        events = await client.respond()
        item_id = only(events, "response.output_item.done")["item"]["id"]
        truncate = {"item_id": item_id, "content_index": 0, "audio_end_ms": audio_end_ms}
        await client.send("conversation.item.truncate", **truncate)
        await client.until("conversation.item.truncated")
        await client.user("Stop.")
        await client.respond()
    told = servers.asked["brain"][1].body["messages"][1:]
    if heard is None:
        assert told == [{"role": "user", "content": "Go on.\nStop."}]
    else:
        assert [message["content"] for message in told] == ["Go on.", heard, "Stop."]


async def test_what_was_cut_off_before_it_was_sent_is_not_told(servers: Servers) -> None:
    async with calling(servers) as client:
        brain, first, *_ = await speaking(client, servers)
        first.end()
        while "second" not in said(client.events):
            await client.until("response.output_audio_transcript.delta")
        await client.send("response.cancel")
        await client.until("response.done")
        await gone(brain)
        servers.think, servers.speak = answers("Good."), sounds
        await client.user("Stop.")
        await client.respond()
    assert servers.asked["brain"][1].body["messages"][1]["content"] == FIRST


# Servers that fail.


@pytest.mark.parametrize("part", ["brain", "voice"])
async def test_429_is_tried_again_after_the_time_it_names(servers: Servers, part: str) -> None:
    servers.think, servers.speak = answers(FIRST), sounds
    setattr(servers, {"brain": "think", "voice": "speak"}[part], None)
    async with calling(servers) as client:
        await client.send("response.create")
        queue = {"brain": servers.brain, "voice": servers.voice}[part]
        (await asked(queue)).reply(429, {"error": {"code": "rate_limit_exceeded"}}, Retry_After="0.01")
        again = await asked(queue)
        if part == "brain":
            answers(FIRST)(again)
        else:
            again.sound()
        events = await client.until("response.done")
    assert (said(events), status_of(events)) == (FIRST, ("completed", None))


@pytest.mark.parametrize(
    ("status", "headers", "body", "code", "tries"),
    [
        (429, {"Retry_After": "60"}, {}, "rate_limit_exceeded", 1),
        (429, {"Retry_After": "0"}, {}, "rate_limit_exceeded", 3),
        (429, {"Retry_After": "0"}, {"error": {"code": "insufficient_quota"}}, "insufficient_quota", 1),
        (500, {}, {}, "server_error", 2),
        (503, {}, b"\x00" * 100_000, "server_error", 2),
        (401, {}, {}, "invalid_api_key", 1),
        (404, {}, {}, "model_not_found", 1),
        (400, {}, {}, "invalid_request_error", 1),
        (302, {"Location": "http://127.0.0.1:9/"}, {}, "server_error", 1),
    ],
)
async def test_a_brain_that_refuses_fails_the_response(
    servers: Servers, status: int, headers: dict[str, str], body: Any, code: str, tries: int
) -> None:
    servers.think = lambda each: each.reply(status, body, **headers)
    async with calling(servers) as client:
        events = await client.respond()
        assert status_of(events) == ("failed", code)
        assert len(servers.asked["brain"]) == tries
        servers.think, servers.speak = answers(FIRST), sounds
        assert status_of(await client.respond()) == ("completed", None)


async def test_nobody_at_the_address_fails_the_response(servers: Servers) -> None:
    async with calling(servers, brain={"url": "http://127.0.0.1:9/v1"}) as client:
        assert status_of(await client.respond()) == ("failed", "server_error")


async def test_one_fault_of_a_server_is_forgiven(servers: Servers) -> None:
    faults = iter([lambda each: each.reply(502), break_off, break_off])

    def think(each: Asked) -> None:
        next(faults, answers(FIRST))(each)

    servers.think, servers.speak = think, sounds
    async with calling(servers) as client:
        # A broken connection and a 502 in a row are two.
        assert status_of(await client.respond()) == ("failed", "server_error")
        assert status_of(await client.respond()) == ("completed", None)
    assert len(servers.asked["brain"]) == 4


def stall(each: Asked) -> None:
    """Nothing more comes."""


def break_off(each: Asked) -> None:
    each.break_off()


def nonsense(each: Asked) -> None:
    each.write(b"data: {\n\ndata: 7\n\n<html>\x00\xff\n", SSE)
    each.end()


def comments(each: Asked) -> None:
    """The connection is kept alive, and nothing else."""
    if not each.gone.is_set():
        each.write(b": ping\n\n", SSE)
        asyncio.get_running_loop().call_later(0.1, comments, each)


def told(each: Asked) -> None:
    each.write(b'data: {"error": {"message": "out of memory"}}\n\n', SSE)


def patience(fail: Callable[[Asked], None]) -> float:
    """The time-out of a part, in s: long enough for what is not meant to meet it."""
    return 1 if fail in (stall, comments, stall_in_sound) else WAIT_S


BROKEN = [stall, break_off, nonsense, comments, told]


@pytest.mark.parametrize("fail", BROKEN)
async def test_a_brain_that_fails_before_its_first_sentence(servers: Servers, fail: Callable[[Asked], None]) -> None:
    def think(each: Asked) -> None:
        each.say("I do")
        fail(each)

    servers.think = think
    async with calling(servers, brain={"timeout_s": patience(fail)}) as client:
        events = await client.respond()
    assert status_of(events) == ("failed", "server_error")
    assert only(events, "response.done")["response"]["output"] == []
    await gone(*[each for each in servers.asked["brain"] if fail in (stall, comments, told)])


@pytest.mark.parametrize("fail", BROKEN)
async def test_a_brain_that_fails_half_way_ends_with_what_there_is(
    servers: Servers, fail: Callable[[Asked], None]
) -> None:
    def think(each: Asked) -> None:
        each.say(FIRST + " I do")
        fail(each)

    servers.think, servers.speak = think, sounds
    async with calling(servers, brain={"timeout_s": patience(fail)}) as client:
        events = await client.respond()
        assert status_of(events) == ("incomplete", "server_error")
        assert said(events) == FIRST
        assert len(audio_of(events)) == len(FIRST) * 50 * 48
        servers.think = answers(SECOND)
        assert status_of(await client.respond()) == ("completed", None)
    assert servers.asked["brain"][1].body["messages"][-1] == {"role": "assistant", "content": FIRST}


def stall_in_sound(each: Asked) -> None:
    each.write(b"\x01\x00" * 240)


def break_in_sound(each: Asked) -> None:
    each.write(b"\x01\x00" * 240)
    each.break_off()


def page(each: Asked) -> None:
    each.write(b"<html>", "text/html")
    each.end()


def mp3(each: Asked) -> None:
    each.write(b"ID3\x04" + bytes(4000))
    each.end()


def refused(each: Asked) -> None:
    each.reply(400, {})


@pytest.mark.parametrize("fail", [stall, page, mp3, refused])
async def test_a_voice_that_fails_from_the_start(servers: Servers, fail: Callable[[Asked], None]) -> None:
    servers.think, servers.speak = answers(FIRST + SECOND), fail
    async with calling(servers, voice={"timeout_s": patience(fail)}) as client:
        events = await client.respond()
    assert status_of(events)[0] == "failed"
    assert only(events, "response.done")["response"]["output"] == []


@pytest.mark.parametrize("fail", [stall, page, mp3, refused, stall_in_sound, break_in_sound])
async def test_a_voice_that_fails_later_ends_with_what_there_is(
    servers: Servers, fail: Callable[[Asked], None]
) -> None:
    def speak(each: Asked) -> None:
        (sounds if each.body["input"] == FIRST else fail)(each)

    servers.think, servers.speak = answers(FIRST + SECOND + THIRD), speak
    async with calling(servers, voice={"timeout_s": patience(fail)}) as client:
        events = await client.respond()
    assert status_of(events)[0] == "incomplete"
    begun = fail in (stall_in_sound, break_in_sound)
    assert said(events) == FIRST + (SECOND if begun else "")
    assert len(audio_of(events)) == len(FIRST) * 50 * 48 + (480 if begun else 0)


async def test_answers_without_end_are_cut(servers: Servers) -> None:
    def think(each: Asked) -> None:
        for _ in range(300):
            each.say("Again and again and again and once more. ")

    servers.think = think
    async with calling(servers) as client:
        await client.send("response.create", response={"output_modalities": ["text"]})
        events = await client.until("response.done")
        assert status_of(events) == ("incomplete", "max_output_tokens")
        assert len(only(events, "response.output_text.done")["text"]) == 8000
        servers.think = lambda each: each.write(b"data: " + b"x" * (1 << 20), SSE)
        assert status_of(await client.respond()) == ("failed", "server_error")


async def test_a_voice_without_end_is_cut(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_voice, "MAX_SECONDS", 2)
    servers.think, servers.speak = answers(FIRST + SECOND), lambda each: each.sound(20)
    async with calling(servers) as client:
        assert status_of(await client.respond()) == ("completed", None)
        servers.think = answers(FIRST)
        servers.speak = lambda each: each.sound(20 * 3)
        events = await client.respond()
    assert status_of(events)[0] in ("failed", "incomplete")
    assert len(audio_of(events)) <= 2000 * 48


async def test_a_brain_that_reaches_its_limit_says_so(servers: Servers) -> None:
    def think(each: Asked) -> None:
        each.say(FIRST)
        each.stop("length")

    servers.think, servers.speak = think, sounds
    async with calling(servers) as client:
        events = await client.respond()
    assert (said(events), status_of(events)) == (FIRST, ("incomplete", "max_output_tokens"))


async def test_a_stream_that_is_not_closed_after_the_last_word_ends_all_the_same(servers: Servers) -> None:
    def think(each: Asked) -> None:
        each.say(FIRST)
        each.chunk(finish_reason="stop")

    servers.think, servers.speak = think, sounds
    async with calling(servers, brain={"timeout_s": 10 * WAIT_S}) as client:
        assert status_of(await client.respond()) == ("completed", None)


async def test_a_brain_that_cannot_stream_is_understood(servers: Servers) -> None:
    message = {"role": "assistant", "content": FIRST}
    servers.think = lambda each: each.reply(200, {"choices": [{"message": message, "finish_reason": "stop"}]})
    servers.speak = sounds
    async with calling(servers) as client:
        events = await client.respond()
    assert (said(events), status_of(events)) == (FIRST, ("completed", None))


# Ears.

SPOKEN = AudioFormat.PCM.silence(300) + tone(300, 600, 24000) + AudioFormat.PCM.silence(700)
LISTENING = {"input": {"transcription": {"model": "whisper-1", "language": "de"}}}


async def test_the_ears_get_a_wav_file_and_the_brain_their_words(servers: Servers) -> None:
    servers.think, servers.speak = answers(FIRST), sounds
    async with calling(servers) as client:
        await client.configure(audio=LISTENING)
        await client.append(SPOKEN)
        ears = await asked(servers.ears)
        ears.reply(200, {"text": " What time is it? "})
        events = await client.until("response.done")
    completed = only(client.events, "conversation.item.input_audio_transcription.completed")
    assert completed["transcript"] == "What time is it?"
    assert said(events) == FIRST
    assert (ears.body["model"], ears.body["language"]) == ("ears-1", "de")
    with wave.open(io.BytesIO(ears.body["file"])) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16000, 1, 2)
        assert 0.9 < file.getnframes() / 16000 < 1.5
    assert servers.asked["brain"][0].body["messages"][1:] == [{"role": "user", "content": "What time is it?"}]


@pytest.mark.parametrize(
    ("fail", "code"),
    [
        (stall, "server_error"),
        (page, "server_error"),
        (lambda each: each.reply(200, {"words": 7}), "server_error"),
        (lambda each: each.reply(200, {"text": "x" * (1 << 20)}), "server_error"),
        (lambda each: each.reply(429, {}, Retry_After="99"), "rate_limit_exceeded"),
        (lambda each: each.reply(500, {}), "server_error"),
    ],
)
async def test_ears_that_fail_are_told_to_client_and_brain(
    servers: Servers, fail: Callable[[Asked], None], code: str
) -> None:
    servers.hear, servers.think, servers.speak = fail, answers("Pardon?"), sounds
    async with calling(servers, ears={"timeout_s": patience(fail)}) as client:
        await client.configure(audio=LISTENING)
        await client.append(SPOKEN)
        events = await client.until("response.done")
    failed = only(client.events, "conversation.item.input_audio_transcription.failed")
    assert failed["error"]["code"] == code
    assert said(events) == "Pardon?"
    assert servers.asked["brain"][0].body["messages"][1:] == [{"role": "user", "content": TOLD_NOT_UNDERSTOOD}]


async def test_noise_gets_an_empty_transcript(servers: Servers) -> None:
    servers.hear = lambda each: each.reply(200, {"text": ""})
    servers.think, servers.speak = answers("Pardon?"), sounds
    async with calling(servers) as client:
        await client.configure(audio=LISTENING)
        await client.append(SPOKEN)
        await client.until("response.done")
    assert only(client.events, "conversation.item.input_audio_transcription.completed")["transcript"] == ""
    assert servers.asked["brain"][0].body["messages"][1:] == [{"role": "user", "content": TOLD_NOT_UNDERSTOOD}]


async def test_the_ears_get_the_newest_of_a_long_turn(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_ears, "MAX_SECONDS", 1)
    async with calling(servers) as client:
        await client.append(SPOKEN)
        ears = await asked(servers.ears)
    with wave.open(io.BytesIO(ears.body["file"])) as file:
        assert file.getnframes() == 16000


# Parts that are built in.


async def test_the_built_in_brain_speaks_with_a_voice_by_http(servers: Servers) -> None:
    servers.hear, servers.speak = (lambda each: each.reply(500)), sounds
    async with calling(servers, brain=None) as client:
        events = await client.respond()
        assert said(events) == GREETING
        assert [each.body["input"] for each in servers.asked["voice"]] == [
            "Hello, this is the built-in agent.",
            "Ask me for the time, the date, a joke or a story.",
        ]
        await client.append(SPOKEN)
        assert said(await client.until("response.done")) == NOT_UNDERSTOOD


async def test_a_brain_by_http_speaks_with_the_built_in_voice(servers: Servers) -> None:
    pytest.importorskip("espeakng_loader", reason="the extra 'agent' is not installed")
    servers.think = answers(FIRST + SECOND)
    async with calling(servers, voice=None) as client:
        events = await client.respond()
    assert (said(events), status_of(events)) == (FIRST + SECOND, ("completed", None))
    assert len(audio_of(events)) > 1000 * 48


async def test_a_script_runs_beside_the_pipeline(servers: Servers) -> None:
    servers.think, servers.speak = answers(FIRST), sounds
    script = "brain: true\nrules: [{on: response_created, do: [{error: {code: odd, message: Odd.}}]}]"
    async with calling(servers, script=script) as client:
        events = await client.respond()
    assert only(events, "error")["error"]["code"] == "odd"
    assert said(events) == FIRST


# Who gets which pipeline.


async def test_a_session_chooses_its_pipeline_by_its_model(servers: Servers) -> None:
    servers.think, servers.speak = answers(FIRST), sounds
    named = {"a": Pipeline.of(servers.pipeline()), "b": Pipeline.of(servers.pipeline(brain={"model": "other"}))}
    server = AgentServer(pipelines=Pipelines(named, plain=False))
    url = await server.start()
    try:
        assert server.ears is None, "nothing that is built in is needed"
        async with connect(f"{url}?model=pipeline-b", proxy=None) as connection:
            client = Client(connection)
            await client.until("session.created")
            await client.respond()
        assert servers.asked["brain"][0].body["model"] == "other"
        for model in ("pipeline-c", "gpt-realtime"):
            async with connect(f"{url}?model={model}", proxy=None) as connection:
                refusal = json.loads(await connection.recv())
                assert refusal["error"]["code"] == "invalid_model"
    finally:
        await server.close()


@pytest.mark.parametrize(
    ("part", "package"), [({"turns": "webrtcvad"}, "webrtcvad"), ({"ears": {}}, "soxr"), ({"voice": {}}, "numpy")]
)
async def test_a_package_that_is_missing_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, part: dict[str, Any], package: str
) -> None:
    server = {"url": "http://127.0.0.1:9/v1", "model": "m"}
    given = {name: value if isinstance(value, str) else server for name, value in part.items()}
    monkeypatch.setattr(voice, "find_spec", lambda name: None if name == package else True)
    with pytest.raises(voice.ExtraMissing, match=package):
        await AgentServer(pipelines=Pipelines(default=Pipeline.of(given))).start()


# Beside the conversation, and clients that do not read.


async def test_an_answer_beside_the_conversation_knows_only_its_input(servers: Servers) -> None:
    servers.think, servers.speak = answers("A summary."), sounds
    async with calling(servers) as client:
        await client.user("Something else.")
        content = [{"type": "input_text", "text": "Sum up."}]
        given = [{"type": "message", "role": "user", "content": content}]
        wanted = {"conversation": "none", "input": given, "output_modalities": ["text"], "metadata": {"a": "b"}}
        await client.send("response.create", response=wanted)
        response = only(await client.until("response.done"), "response.done")["response"]
    assert (response["metadata"], response["conversation_id"]) == ({"a": "b"}, None)
    assert servers.asked["brain"][0].body["messages"][1:] == [{"role": "user", "content": "Sum up."}]


class Watched(deque[Any]):
    """Remembers how long it has been."""

    longest = 0

    def append(self, entry: Any) -> None:
        super().append(entry)
        self.longest = max(self.longest, len(self))


async def test_a_client_that_does_not_read_holds_the_servers_up(servers: Servers) -> None:
    sentences = 16
    servers.think, servers.speak = answers((FIRST + " ") * sentences), lambda each: each.sound(400)  # 20 s
    server = AgentServer(pipelines=Pipelines(default=Pipeline.of(servers.pipeline())))
    url = await server.start()
    try:
        async with connect(url, proxy=None, max_queue=1) as connection:
            (session,) = server.sessions
            outbox = Watched(session.core.outbox)
            session.core.outbox = outbox
            client = Client(connection)
            await client.send("response.create")
            async with asyncio.timeout(WAIT_S):
                while outbox.longest < 129:
                    await asyncio.sleep(0.01)
            done, sound = False, 0
            async with asyncio.timeout(WAIT_S):
                while not done:
                    event = json.loads(await connection.recv())
                    sound += (
                        len(base64.b64decode(event["delta"])) if event["type"] == "response.output_audio.delta" else 0
                    )
                    done = event["type"] == "rate_limits.updated"
        assert sound == sentences * 20_000 * 48
        assert outbox.longest < 160
    finally:
        await server.close()


async def test_a_client_that_does_not_read_can_cancel_all_the_same(servers: Servers) -> None:
    servers.speak = lambda each: each.sound(1200)  # 60 s
    server = AgentServer(pipelines=Pipelines(default=Pipeline.of(servers.pipeline())))
    url = await server.start()
    try:
        async with connect(url, proxy=None, max_queue=1) as connection:
            client = Client(connection)
            await client.send("response.create")
            brain = await asked(servers.brain)
            brain.say((FIRST + " ") * 20)
            (session,) = server.sessions
            async with asyncio.timeout(WAIT_S):
                while len(session.core.outbox) < 129:
                    await asyncio.sleep(0.01)
            await client.send("response.cancel")
            await gone(brain)
            connection.transport.abort()
    finally:
        await server.close()


async def test_time_in_which_nobody_listens_is_not_the_voices_fault(servers: Servers) -> None:
    part = VoicePart(servers.url, "m", timeout_s=0.5)
    async with open_http() as http:
        sound = HttpVoice(http, part).speak(FIRST, AudioFormat.PCM, "anna", 1.0)
        taking = asyncio.ensure_future(anext(sound))
        voice_request = await asked(servers.voice)
        voice_request.write(bytes(4800))
        assert await asyncio.wait_for(taking, WAIT_S) == bytes(4800)
        await asyncio.sleep(part.timeout_s * 1.2)
        taking = asyncio.ensure_future(anext(sound))
        await asyncio.sleep(0)
        voice_request.write(bytes(480))
        assert await asyncio.wait_for(taking, WAIT_S) == bytes(480)
        await sound.aclose()
