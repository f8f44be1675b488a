"""The agent understands its own voice through a telephone, also with noise."""

from __future__ import annotations

import random
from array import array
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from bridge.agent.brain import Brain, Prompt
from bridge.agent.ears import Ears
from bridge.agent.formats import AudioFormat
from bridge.agent.orders import Speak
from bridge.agent.turns import Started, Stopped, TurnDetector, TurnSettings
from bridge.agent.voice import ExtraMissing, Voice, require_extra
from bridge.audio.level import rms
from bridge.audio.vad import SpeechDetector

pytest.importorskip("pocketsphinx", reason="the extra 'agent' is not installed")
pytest.importorskip("espeakng_loader", reason="the extra 'agent' is not installed")

PHRASES = [
    "what time is it",
    "what is the time",
    "tell me the time",
    "what day is it",
    "what is the date today",
    "what is today's date",
    "tell me a joke",
    "tell me another joke",
    "tell me a story",
    "goodbye",
    "bye bye",
    "what can you do",
    "i need help",
    "thank you",
    "connect me to an operator",
]
REPEAT = ["hello world", "one two three", "good morning", "the weather is nice"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def voice() -> AsyncIterator[Voice]:
    one = Voice()
    yield one
    await one.pool.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ears() -> AsyncIterator[Ears]:
    one = Ears()
    yield one
    await one.pool.close()


pytestmark = pytest.mark.asyncio(loop_scope="module")


def speak(text: str, form: AudioFormat = AudioFormat.PCMU, voice: str = "marin") -> Speak:
    return Speak("", text, form, voice, 1.0)


def on_the_line(audio: bytes, noise: int) -> bytes:
    """G.711 of a telephone: pauses around it, and hiss of an RMS."""
    form, chance = AudioFormat.PCMU, random.Random(1)
    samples = array("h", form.to_pcm(form.silence(300) + audio + form.silence(500)))
    noisy = (max(-32768, min(32767, int(sample + chance.gauss(0, noise)))) for sample in samples)
    return form.from_pcm(array("h", noisy).tobytes())


async def understood(voice: Voice, ears: Ears, phrase: str, noise: int, speaker: str) -> bool:
    audio = await voice.speak(speak(phrase, voice=speaker))
    assert audio is not None
    heard = await ears.listen(on_the_line(audio, noise), AudioFormat.PCMU)
    meant = Brain().answer(Prompt(phrase)).text
    return Brain().answer(Prompt(heard or "")).text == meant


@pytest.mark.parametrize("noise", [0, 150, 400])
async def test_it_understands_its_own_voice(voice: Voice, ears: Ears, noise: int) -> None:
    asked = [(phrase, speaker) for phrase in PHRASES for speaker in ("marin", "verse")]
    right = [await understood(voice, ears, phrase, noise, speaker) for phrase, speaker in asked]
    missed = [pair for pair, good in zip(asked, right, strict=True) if not good]
    assert sum(right) >= 0.9 * len(asked), f"understood {sum(right)} of {len(asked)}, not {missed}"


async def test_it_repeats_after_the_caller(voice: Voice, ears: Ears) -> None:
    right = [await understood(voice, ears, f"repeat after me {each}", 150, "marin") for each in REPEAT]
    assert sum(right) >= 3, right


async def test_silence_and_nothing_are_not_understood(ears: Ears) -> None:
    assert await ears.listen(b"", AudioFormat.PCMU) is None
    assert await ears.listen(AudioFormat.PCMU.silence(10), AudioFormat.PCMU) is None


@pytest.mark.parametrize("form", list(AudioFormat))
async def test_all_formats_have_the_same_length_and_level(voice: Voice, form: AudioFormat) -> None:
    audio, telephone = await voice.speak(speak("hello", form)), await voice.speak(speak("hello"))
    assert audio is not None
    assert telephone is not None
    assert abs(len(audio) // form.bytes_per_ms - len(telephone) // 8) <= 1
    level = rms(AudioFormat.PCMU.to_pcm(telephone))
    assert 0.8 < rms(form.to_pcm(audio)) / level < 1.25
    assert level > 1000


@pytest.mark.parametrize("form", list(AudioFormat))
async def test_all_formats_are_understood(voice: Voice, ears: Ears, form: AudioFormat) -> None:
    audio = await voice.speak(speak("what time is it", form))
    assert audio is not None
    assert await ears.listen(form.silence(300) + audio + form.silence(300), form) == "what time is it"


async def test_speed_and_voices_change_the_sound(voice: Voice) -> None:
    slow = await voice.speak(Speak("", "hello there", AudioFormat.PCMU, "marin", 0.5))
    fast = await voice.speak(Speak("", "hello there", AudioFormat.PCMU, "marin", 1.5))
    assert slow is not None
    assert fast is not None
    assert len(slow) > 1.5 * len(fast)
    assert await voice.speak(speak("hello", voice="shimmer")) != await voice.speak(speak("hello", voice="ash"))


async def test_any_text_can_be_spoken(voice: Voice) -> None:
    for text in ("", "\0", "<speak>&", "Grüße aus Köln ☎", "a" * 10_000, "[[x"):
        assert await voice.speak(speak(text)) is not None


async def test_a_missing_package_is_named_with_its_cure() -> None:
    with pytest.raises(ExtraMissing, match=r"pip install 'sipbridge\[agent\]'"):
        require_extra("json", "no_such_package_of_ours")


@pytest.mark.parametrize("form", list(AudioFormat))
@pytest.mark.parametrize("hiss", [0, 150, 400])
async def test_webrtcvad_finds_a_sentence_as_one_turn(voice: Voice, form: AudioFormat, hiss: int) -> None:
    pytest.importorskip("webrtcvad", reason="the extra 'turns' is not installed")
    spoken = await voice.speak(speak("what time is it, and what will the weather be like tomorrow?", form))
    assert spoken is not None
    pcm = bytes(2 * form.rate) + form.to_pcm(spoken) + bytes(2 * form.rate)
    chance = random.Random(1)
    noisy = (max(-32768, min(32767, int(sample + chance.gauss(0, hiss)))) for sample in array("h", pcm))
    settings = TurnSettings(silence_duration_ms=600, prefix_padding_ms=300)
    detector = TurnDetector(settings, form.rate, judge=SpeechDetector(form.rate).is_speech)
    started, stopped = detector.feed(array("h", noisy).tobytes())
    assert isinstance(started, Started) and isinstance(stopped, Stopped)
    ends_ms = 1000 + len(spoken) // form.bytes_per_ms
    assert 600 <= started.audio_start_ms <= 1000
    assert ends_ms + 200 <= stopped.audio_end_ms <= ends_ms + 900
