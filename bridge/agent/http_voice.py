"""A voice by HTTP: POST /audio/speech with `response_format: pcm` (OpenAI API, Audio), played as it comes."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import aiohttp

from bridge.agent.fault import Fault
from bridge.agent.formats import AudioFormat
from bridge.agent.http_exchange import Exchange
from bridge.agent.pcm_stream import PcmStream
from bridge.agent.pipeline_config import VoicePart

MAX_SECONDS = 120
"""Of one sentence."""
_NO_PCM = ("text/", "application/json", "audio/mpeg", "audio/mp3", "audio/ogg", "audio/opus", "audio/flac", "audio/aac")


class HttpVoice:
    """One text-to-speech server."""

    def __init__(self, http: aiohttp.ClientSession, part: VoicePart) -> None:
        self._server = Exchange(http, part, "voice")
        self._part = part

    async def speak(self, text: str, form: AudioFormat, voice: str, speed: float) -> AsyncGenerator[bytes]:
        """The sound of a sentence, wire bytes, piece by piece. Raises Fault."""
        request: dict[str, Any] = {
            "model": self._part.model,
            "input": text,
            "voice": self._part.voice or voice,
            "response_format": "pcm",
        }
        if speed != 1.0:
            request["speed"] = speed
        sound = PcmStream(form)
        left = MAX_SECONDS * 1000 * form.bytes_per_ms
        async with self._server.post("/audio/speech", lambda: {"json": request}) as body:
            if body.content_type.startswith(_NO_PCM):
                raise Fault("server_error", f"The voice sent {body.content_type} instead of PCM.")
            while data := await body.read():
                audio = sound.feed(data)
                left -= len(audio)
                if left < 0:
                    raise Fault("server_error", "The voice does not stop.")
                if audio:
                    yield audio
                # Not before: it may be we who have waited.
                body.alive()
        yield sound.finish()
