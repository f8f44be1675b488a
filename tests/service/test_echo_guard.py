"""The echo guard on the running service: phones that send back what they hear, and people who speak meanwhile.

Each phone says frame by frame what the test knows, so what the model got is compared with it frame by frame.
"""

from __future__ import annotations

import asyncio
import json
import wave
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bridge.agent.server import AgentSession
from bridge.audio.g711 import Law, decode, encode
from tests.phones.rawphone import RawPhone
from tests.phones.wire import FRAME
from tests.service.rig import Service, bench, ended

numpy: Any = pytest.importorskip("numpy", reason="the echo guard needs it: pip install sipbridge[echo]")
from tests.media.test_echo import noise, powers, speech  # noqa: E402

RATE = 8000
SECONDS = 7
DELAY = 150 * 8
"""Samples from a packet to its echo."""
GAIN = 10 ** (-10 / 20)
SILENCE = b"\xff" * FRAME
SECOND = 50
"""Frames."""
ACTION = 'sipbridge_echo_guard_seconds_total{{action="{}"}}'.format


@dataclass
class Phone:
    """A caller at a loudspeaker. `says` is what he says himself, from the first packet he hears, at 8000 Hz."""

    gain: float
    says: Any
    wire: RawPhone = field(default_factory=RawPhone)
    sent: list[bytes] = field(default_factory=list)
    echo: list[Any] = field(default_factory=list)

    async def call(self, service: Service) -> None:
        """One call, until everything was said."""
        async with self.wire as phone:
            await phone.invite("127.0.0.1", service.sip_port)
            while not phone.wire.packets:
                phone.wire.send(SILENCE)
                self._keep(SILENCE, numpy.zeros(FRAME))
                await asyncio.sleep(0.02)
            loop = asyncio.get_running_loop()
            began = loop.time()
            for number in range(SECONDS * SECOND):
                echo = self.gain * self._heard(number * FRAME - DELAY)
                frame = _coded(echo + self.says[number * FRAME : (number + 1) * FRAME])
                phone.wire.send(frame)
                self._keep(frame, echo)
                await asyncio.sleep(max(0.0, began + (number + 1) * 0.02 - loop.time()))
            await phone.bye()

    def _keep(self, frame: bytes, echo: Any) -> None:
        self.sent.append(frame)
        self.echo.append(echo)

    def _heard(self, at: int) -> Any:
        """What came out of the loudspeaker from a sample on, a frame of it."""
        packets = self.wire.wire.packets
        first = max(0, at // FRAME)
        pcm = numpy.concatenate([_pcm(packet.payload) for packet in packets[first : first + 2]] or [numpy.zeros(0)])
        out = numpy.zeros(FRAME)
        offset = at - first * FRAME
        part = pcm[max(0, offset) : max(0, offset + FRAME)]
        out[: len(part)] = part
        return out


def _pcm(payload: bytes) -> Any:
    return numpy.frombuffer(decode(payload, Law.PCMU), "<i2").astype(float)


def _coded(pcm: Any) -> bytes:
    return encode(numpy.clip(numpy.rint(pcm), -32768, 32767).astype("<i2").tobytes(), Law.PCMU)


def loud(pcm: Any, below_db: float = 20) -> Any:
    """Per frame: whether it is not far below the average of those that sound."""
    each = powers(pcm)
    return each > each[each > 0].mean() * 10 ** (-below_db / 10)


def story(folder: Path) -> str:
    """A script: seven seconds of a voice, in one breath."""
    path = folder / "story.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(numpy.rint(speech(SECONDS, seed=3)).astype("<i2").tobytes())
    item = {"audio_ms": SECONDS * 1000, "pattern": f"wav:{path}"}
    return json.dumps({"vad": False, "answer": {"items": [item], "speed": 20}})


def got(session: AgentSession, phone: Phone) -> list[bytes]:
    """What the model got, frame by frame, in step with what the phone sent."""
    heard = bytes(session.input_audio)
    frames = [heard[at : at + FRAME] for at in range(0, len(heard), FRAME)]
    assert abs(len(frames) - len(phone.sent)) <= 2, "silence takes the place of audio, and never its time"
    return frames


async def calls(folder: Path, phones: list[Phone], **agent: Any) -> tuple[list[list[bytes]], dict[str, float]]:
    """One call of each phone, at the same time: what the model got of it, and the metrics."""
    chosen = {"greeting": "Tell me a story."} | agent
    async with bench(folder, story(folder), agent=chosen) as (service, server):
        tasks = []
        for number, phone in enumerate(phones):
            tasks.append(asyncio.create_task(phone.call(service)))
            while len(server.sessions) <= number:  # so that sessions and phones have one order
                await asyncio.sleep(0.01)
        await asyncio.gather(*tasks)
        sessions = [await ended(session) for session in server.sessions]
        await service.until("sipbridge_rtp_ports_free", 100)
        assert not [line for line in service.lines() if "exception" in line or line["level"] == "error"]
        metrics = await service.metrics()
    return [got(session, phone) for session, phone in zip(sessions, phones, strict=True)], metrics


@pytest.mark.alone
async def test_an_echo_is_silence_to_the_model_and_a_caller_is_not(tmp_path: Path) -> None:
    count = SECONDS * RATE
    caller = numpy.zeros(count)
    caller[4 * RATE : 6 * RATE] = 1.5 * speech(2, seed=8, pitch=190)
    handset = Phone(GAIN, noise(count))
    talker = Phone(GAIN, noise(count) + caller)
    muted = Phone(0, noise(count) + caller)
    (echo, both, voice), metrics = await calls(tmp_path, [handset, talker, muted], echo_guard=True)

    sounds = loud(numpy.concatenate(handset.echo))
    first = int(sounds.argmax())
    judged = [frame == SILENCE for frame, sounds in zip(echo, sounds, strict=False) if sounds][SECOND:]
    kept = sum(judged) / len(judged)
    own = loud(numpy.concatenate([numpy.zeros(FRAME * (len(talker.sent) - SECONDS * SECOND)), caller]))
    passed = [frame == said for frame, said, speaks in zip(both, talker.sent, own, strict=False) if speaks]
    print(f"\nechoes that were silence: {kept:.3f}; the caller's own frames that came: {sum(passed) / len(passed):.3f}")
    assert len(judged) > 2 * SECOND and kept >= 0.95
    assert sum(passed) / len(passed) >= 0.85
    assert echo[:first] == handset.sent[:first], "nothing is touched before there is an echo"
    assert voice == muted.sent[: len(voice)], "nor where there is none"
    assert metrics[ACTION("suppressed")] > 2 and metrics[ACTION("passed")] > SECONDS - 1


@pytest.mark.alone
async def test_without_the_guard_the_model_hears_itself(tmp_path: Path) -> None:
    phone = Phone(GAIN, noise(SECONDS * RATE))
    (heard,), metrics = await calls(tmp_path, [phone])
    assert heard == phone.sent[: len(heard)]
    assert metrics[ACTION("suppressed")] == metrics[ACTION("passed")] == 0
