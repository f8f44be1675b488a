"""Ears by HTTP: POST /audio/transcriptions (OpenAI API, Audio)."""

from __future__ import annotations

import asyncio
import io
import wave

import aiohttp
import orjson

from bridge.agent.fault import Fault
from bridge.agent.formats import AudioFormat
from bridge.agent.http_exchange import Exchange
from bridge.agent.pipeline_config import EarsPart
from bridge.audio.resample import Resampler

RATE = 16000
"""What the models were trained with; some servers take nothing else."""
MAX_SECONDS = 120
"""Of one turn; older audio of it is left out."""
_MAX_ANSWER_BYTES = 256 << 10
_MAX_CHARS = 8000


class HttpEars:
    """One speech-to-text server."""

    def __init__(self, http: aiohttp.ClientSession, part: EarsPart) -> None:
        self._server = Exchange(http, part, "ears")
        self._part = part

    async def listen(self, audio: bytes, form: AudioFormat, language: str | None) -> str:
        """The words of wire bytes; empty when there are none in it. Raises Fault."""
        newest = audio[-MAX_SECONDS * 1000 * form.bytes_per_ms :]
        if not newest:
            return ""
        file = await asyncio.to_thread(_wav, newest, form)
        fields = {"model": self._part.model, "response_format": "json"}
        if self._part.language or language:
            fields["language"] = self._part.language or language or ""

        def form_data() -> dict[str, aiohttp.FormData]:
            data = aiohttp.FormData(fields)
            data.add_field("file", file, filename="turn.wav", content_type="audio/wav")
            return {"data": data}

        async with self._server.post("/audio/transcriptions", form_data) as body:
            return _text(await body.read_all(_MAX_ANSWER_BYTES))


def _wav(audio: bytes, form: AudioFormat) -> bytes:
    made = io.BytesIO()
    with wave.open(made, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(Resampler(form.rate, RATE).process(form.to_pcm(audio), last=True))
    return made.getvalue()


def _text(answer: bytes) -> str:
    try:
        given = orjson.loads(answer)
    except orjson.JSONDecodeError:
        given = None
    text = given.get("text") if isinstance(given, dict) else None
    if not isinstance(text, str):
        raise Fault("server_error", "The server's transcription makes no sense.")
    return text.strip()[:_MAX_CHARS]
