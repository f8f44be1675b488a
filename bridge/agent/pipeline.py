"""The pipelines of a server at work: ears, brain and voice of each, by HTTP or built in."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from bridge.agent.brain import Answer
from bridge.agent.connection import Workers
from bridge.agent.fault import Fault
from bridge.agent.http_brain import HttpBrain
from bridge.agent.http_ears import HttpEars
from bridge.agent.http_exchange import open_http
from bridge.agent.http_voice import HttpVoice
from bridge.agent.orders import Listen, Reply, Speak
from bridge.agent.pieces import Called, Ended, Said
from bridge.agent.pipeline_config import Pipeline
from bridge.agent.replying import Put, reply


class HttpParts:
    """The pipelines that are in use, all on one HTTP client. Make it inside a running loop."""

    def __init__(self, built_in: Workers) -> None:
        self._built_in = built_in
        self._http = open_http()
        self._made: dict[Pipeline, PipelineWorkers] = {}

    def of(self, pipeline: Pipeline) -> PipelineWorkers:
        """Who works for the sessions of this pipeline."""
        made = self._made.get(pipeline)
        if made is None:
            made = self._made[pipeline] = PipelineWorkers(
                self._built_in,
                ears=None if pipeline.ears is None else HttpEars(self._http, pipeline.ears),
                brain=None if pipeline.brain is None else HttpBrain(self._http, pipeline.brain),
                voice=None if pipeline.voice is None else HttpVoice(self._http, pipeline.voice),
            )
        return made

    async def close(self) -> None:
        """Close all connections."""
        await self._http.close()


class PipelineWorkers:
    """Listens, thinks and speaks for sessions, each by its own part or by the built-in one."""

    def __init__(
        self, built_in: Workers, *, ears: HttpEars | None, brain: HttpBrain | None, voice: HttpVoice | None
    ) -> None:
        self._built_in = built_in
        self._ears = ears
        self._brain = brain
        self._voice = voice

    async def listen(self, order: Listen) -> str | None:
        """See `connection.Workers`."""
        if self._ears is None:
            return await self._built_in.listen(order)
        return await self._ears.listen(order.audio, order.format, order.language)

    async def speak(self, order: Speak) -> bytes | None:
        """See `connection.Workers`."""
        return await self._built_in.speak(order)

    async def reply(self, order: Reply, put: Put) -> None:
        """See `connection.Workers`."""
        await reply(order, self._think, self._speak, put)

    def _think(self, order: Reply) -> AsyncGenerator[Said | Called | Ended]:
        if self._brain is not None and order.chat is not None:
            return self._brain.think(order.chat)
        return _pieces(order.answer)

    def _speak(self, text: str, order: Reply) -> AsyncGenerator[bytes]:
        if self._voice is not None:
            return self._voice.speak(text, order.format, order.voice, order.speed)
        return self._built_in_voice(Speak(order.response_id, text, order.format, order.voice, order.speed))

    async def _built_in_voice(self, order: Speak) -> AsyncGenerator[bytes]:
        spoken = await self._built_in.speak(order)
        if spoken is None:
            raise Fault("server_error", "The voice is not available.")
        yield spoken


async def _pieces(answer: Answer | None) -> AsyncGenerator[Said | Called | Ended]:
    """What the built-in brain has found."""
    if answer is not None:
        yield Said(answer.text)
        if answer.call is not None:
            yield Called(*answer.call)
    yield Ended()
