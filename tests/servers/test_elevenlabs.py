"""The test server speaks ElevenLabs' protocol: the vendor's own client classes hold a conversation with it."""

from __future__ import annotations

import asyncio
import threading
import warnings
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import httpx
import pytest
from elevenlabs.client import ElevenLabs

from tests.servers.elevenlabs import Settings, Talk, serving

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of websockets, named in an annotation
    from elevenlabs.conversational_ai.conversation import (
        AsyncAudioInterface,
        AsyncConversation,
        AudioInterface,
        ClientTools,
        Conversation,
        ConversationInitiationData,
        DisconnectionDetails,
    )

PCM = Settings(audio_in="pcm_16000", audio_out="pcm_16000", private=True)
SPOKEN = [bytes([number, 0]) * 1600 for number in range(1, 6)]
LATE = b"\x7f\x00" * 1600


async def shop(talk: Talk) -> None:
    """Greets, looks something up, is interrupted, and hangs up."""
    await talk.heard(8000)
    await talk.ping(40)
    await talk.say("Bicycle shop, hello.", SPOKEN[0], SPOKEN[1])
    await talk.understand("Do you have the blue one?")
    result = await talk.call("stock", {"article": "blue one"})
    assert result == {
        "type": "client_tool_result",
        "tool_call_id": "tc_1",
        "result": "4 of blue one",
        "is_error": False,
    }
    await talk.say("There are four of them, and more of the red one.", SPOKEN[2], SPOKEN[3])
    interrupted = await talk.interrupt("There are four of them, and more of the red one.", "There are four")
    await talk.speak(LATE, event_id=interrupted)
    await talk.understand("Thanks, bye.")
    await talk.say("Goodbye.", SPOKEN[4])
    await talk.close(1000, "bye")


class Ear(AudioInterface):
    """What the vendor's client plays, and 250 ms of silence for its microphone."""

    def __init__(self) -> None:
        self.played: list[bytes] = []
        self.interruptions: list[int] = []

    def start(self, input_callback: Callable[[bytes], None]) -> None:
        input_callback(bytes(8000))

    def stop(self) -> None:
        pass

    def output(self, audio: bytes) -> None:
        self.played.append(audio)

    def interrupt(self) -> None:
        self.interruptions.append(len(self.played))


class AsyncEar(AsyncAudioInterface):
    def __init__(self) -> None:
        self.ear = Ear()

    async def start(self, input_callback: Callable[[bytes], Awaitable[None]]) -> None:
        await input_callback(bytes(8000))

    async def stop(self) -> None:
        pass

    async def output(self, audio: bytes) -> None:
        self.ear.output(audio)

    async def interrupt(self) -> None:
        self.ear.interrupt()


def stock(parameters: dict[str, Any]) -> str:
    return f"4 of {parameters['article']}"


ClientOf = Callable[[str], ElevenLabs]


@pytest.fixture
def client_of() -> Iterator[ClientOf]:
    """The vendor's REST client, by base address; its connections are closed in the end."""
    with httpx.Client() as http:
        yield lambda base: ElevenLabs(api_key=PCM.key, base_url=base, httpx_client=http)


WORDS = [
    ("agent", "Bicycle shop, hello."),
    ("caller", "Do you have the blue one?"),
    ("agent", "There are four of them, and more of the red one."),
    ("corrected", "There are four"),
    ("caller", "Thanks, bye."),
    ("agent", "Goodbye."),
]


async def test_the_vendors_client_calls_a_tool_is_interrupted_and_hears_nothing_late(client_of: ClientOf) -> None:
    ear, said, ended = Ear(), [], threading.Event()
    tools = ClientTools()
    tools.register("stock", stock)
    ways: list[DisconnectionDetails] = []

    def gone(details: DisconnectionDetails) -> None:
        ways.append(details)
        ended.set()

    async with serving(shop, PCM) as server:
        conversation = Conversation(
            client_of(server.base),
            PCM.agent_id,
            requires_auth=True,
            audio_interface=ear,
            client_tools=tools,
            config=ConversationInitiationData(dynamic_variables={"caller": "+49 30 1"}),
            callback_agent_response=lambda text: said.append(("agent", text)),
            callback_agent_response_correction=lambda before, after: said.append(("corrected", after)),
            callback_user_transcript=lambda text: said.append(("caller", text)),
            callback_disconnect=gone,
        )
        await asyncio.to_thread(conversation.start_session)
        await asyncio.to_thread(ended.wait, 20)
        assert await asyncio.to_thread(conversation.wait_for_session_end) == "conv_1"
        assert server.talk.problems == []
        assert server.talk.initiation["dynamic_variables"] == {"caller": "+49 30 1"}
        assert server.signed == 1
    assert said == WORDS
    assert ear.played == SPOKEN, "the late piece is dropped by its event_id"
    assert ear.interruptions == [4]
    assert [(way.reason, way.close_code) for way in ways] == [("agent", 1000)]


async def test_the_vendors_asyncio_client_does_the_same(client_of: ClientOf) -> None:
    interface, said, ended = AsyncEar(), [], asyncio.Event()
    tools = ClientTools(loop=asyncio.get_running_loop())
    tools.register("stock", stock)

    def note(who: str) -> Callable[..., Awaitable[None]]:
        async def keep(*texts: str) -> None:
            said.append((who, texts[-1]))

        return keep

    async def gone(details: DisconnectionDetails) -> None:
        ended.set()

    async with serving(shop, PCM) as server:
        conversation = AsyncConversation(
            client_of(server.base),
            PCM.agent_id,
            requires_auth=True,
            audio_interface=interface,
            client_tools=tools,
            callback_agent_response=note("agent"),
            callback_agent_response_correction=note("corrected"),
            callback_user_transcript=note("caller"),
            callback_disconnect=gone,
        )
        await conversation.start_session()
        async with asyncio.timeout(20):
            await ended.wait()
            await conversation.wait_for_session_end()
        assert server.talk.problems == []
    assert said == WORDS
    assert interface.ear.played == SPOKEN and interface.ear.interruptions == [4]


async def test_messages_that_the_vendors_client_sends_besides_are_known(client_of: ClientOf) -> None:
    async def script(talk: Talk) -> None:
        await talk.told("user_message", text="Hello?")
        await talk.told("contextual_update", text="The caller is in Berlin.")
        await talk.told("user_activity")
        await talk.close(1000)

    ended = threading.Event()
    public = Settings(audio_in="pcm_16000", audio_out="pcm_16000")
    async with serving(script, public) as server:
        conversation = Conversation(
            client_of(server.base),
            public.agent_id,
            requires_auth=False,
            callback_disconnect=lambda details: ended.set(),
        )
        await asyncio.to_thread(conversation.start_session)
        while not server.talks or not server.talk.initiation:
            await asyncio.sleep(0.01)
        conversation.send_user_message("Hello?")
        conversation.send_contextual_update("The caller is in Berlin.")
        conversation.register_user_activity()
        await asyncio.to_thread(ended.wait, 20)
        await asyncio.to_thread(conversation.wait_for_session_end)
        assert server.talk.problems == []
        assert server.talk.initiation["conversation_config_override"] == {"text_only": True}


async def test_a_private_agent_is_not_had_without_a_signature_nor_with_an_override_that_is_not_allowed(
    client_of: ClientOf,
) -> None:
    async def never(talk: Talk) -> None:
        raise AssertionError("the conversation began")

    for settings, private in ((PCM, False), (Settings(allowed=frozenset(), private=True), True)):
        ways: list[DisconnectionDetails] = []

        def gone(details: DisconnectionDetails, ways: list[DisconnectionDetails] = ways) -> None:
            ways.append(details)

        async with serving(never, settings) as server:
            conversation = Conversation(
                client_of(server.base),
                settings.agent_id,
                requires_auth=private,
                audio_interface=Ear(),
                config=ConversationInitiationData(conversation_config_override={"agent": {"language": "de"}}),
                callback_disconnect=gone,
            )
            await asyncio.to_thread(conversation.start_session)
            await asyncio.to_thread(conversation.wait_for_session_end)
        assert [(way.reason, way.close_code) for way in ways] == [("error", 1008)]
