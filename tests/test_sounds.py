"""Sounds made ready at the start: from files, from sentences, in the format of any leg, and each only once."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from bridge import sounds as module
from bridge.audio.format import Format, Linear
from bridge.audio.g711 import Law, decode, encode
from bridge.audio.music import FAREWELL_MS, MUSIC_MS, TONE_MS
from bridge.audio.wav import WavWriter
from bridge.sounds import FAREWELL, MUSIC, SPOKEN_HZ, TONE, Sound, SoundError, Sounds, Wanted, warm
from tests.audio.signals import snr, tone

FORMATS: list[Format] = [Law.PCMU, Law.PCMA, Linear(16000), Linear(24000)]
RATES = [8000, 11025, 16000, 22050, 24000, 32000, 44100, 48000]


class Voice:
    """Says each sentence as a second of some tone, and counts."""

    def __init__(self, pcm: bytes | None = tone(SPOKEN_HZ, 400, 1)) -> None:
        self.said: list[tuple[str, str]] = []
        self.pcm = pcm

    async def __call__(self, text: str, language: str) -> bytes | None:
        self.said.append((text, language))
        return self.pcm


async def silent(text: str, language: str) -> bytes | None:
    raise RuntimeError("the built-in agent needs 'espeakng_loader'")


def written(path: Path, rate: int, pcm: bytes, channels: int = 1) -> Path:
    with WavWriter(path, rate, channels) as file:
        file.write(pcm)
    return path


async def prepared(*wanted: Wanted, speak: module.Speak = silent) -> Sounds:
    sounds = Sounds()
    await sounds.prepare(wanted, speak)
    return sounds


@pytest.mark.parametrize("audio_format", FORMATS, ids=lambda one: one.name)
@pytest.mark.parametrize("rate", RATES)
async def test_a_file_of_any_rate_is_as_long_in_any_format(tmp_path: Path, rate: int, audio_format: Format) -> None:
    path = written(tmp_path / "a.wav", rate, tone(rate, 400, 0.5))
    audio = (await prepared(Wanted("k", file=path)))["k"].in_format(audio_format)
    exact = (rate // 2) * audio_format.rate / rate * (audio_format.bytes_per_ms * 1000 // audio_format.rate)
    assert abs(len(audio) - exact) <= 2, "rounded to a sample"


@pytest.mark.parametrize("rate", RATES)
async def test_and_is_the_same_sound(tmp_path: Path, rate: int) -> None:
    path = written(tmp_path / "a.wav", rate, tone(rate, 400, 0.5))
    audio = (await prepared(Wanted("k", file=path)))["k"].in_format(Linear(24000))
    assert snr(tone(24000, 400, 0.5), audio) > 40


async def test_g711_comes_from_linear_audio_in_either_law(tmp_path: Path) -> None:
    pcm = tone(8000, 400, 0.5)
    sound = (await prepared(Wanted("k", file=written(tmp_path / "a.wav", 8000, pcm))))["k"]
    for law in Law:
        assert sound.in_format(law) == encode(pcm, law)
        assert decode(sound.in_format(law), law) != pcm


async def test_stereo_is_mixed(tmp_path: Path) -> None:
    one = struct.pack("<800h", *([4000, 2000] * 400))
    sound = (await prepared(Wanted("k", file=written(tmp_path / "a.wav", 8000, one, channels=2))))["k"]
    assert sound.in_format(Linear(8000)) == struct.pack("<400h", *([3000] * 400))


async def test_half_a_sample_at_the_end_is_left_out() -> None:
    assert Sound.of_pcm("odd", b"\x01\x02\x03", 8000).in_format(Linear(8000)) == b"\x01\x02"


async def test_a_sentence_is_spoken_once_whoever_says_it() -> None:
    voice = Voice()
    sounds = await prepared(
        Wanted("agents.a.plan_b.say", "Sorry.", language="en"),
        Wanted("agents.b.plan_b.say", "Sorry.", language="en"),
        Wanted("agents.c.plan_b.say", "Sorry.", language="de"),
        speak=voice,
    )
    assert voice.said == [("Sorry.", "en"), ("Sorry.", "de")]
    assert sounds["agents.a.plan_b.say"] is sounds["agents.b.plan_b.say"] is not sounds["agents.c.plan_b.say"]
    assert len(sounds["agents.a.plan_b.say"].in_format(Law.PCMA)) == 8000


async def test_the_sounds_of_a_section_have_its_own_keys(tmp_path: Path) -> None:
    path = written(tmp_path / "a.wav", 8000, b"\0\0")
    sounds = await prepared(Wanted("agents.a.plan_b.file", file=path), Wanted("agents.ab.plan_b.file", file=path))
    assert list(sounds.below("agents.a.plan_b")) == ["file"] and sounds.below("agents.c") == {}
    with pytest.raises(KeyError):
        sounds["agents.c.plan_b.file"]


async def test_every_fault_is_told_at_once_with_key_and_file(tmp_path: Path) -> None:
    text, empty, long = tmp_path / "text.wav", tmp_path / "empty.wav", tmp_path / "long.wav"
    text.write_text("no audio")
    written(empty, 8000, b"")
    written(long, 4000, bytes(2 * 4000 * 301))
    with pytest.raises(SoundError) as caught:
        await prepared(
            Wanted("agents.a.plan_b.say", "Sorry."),
            Wanted("agents.b.plan_b.file", file=tmp_path / "none.wav"),
            Wanted("agents.c.plan_b.file", file=text),
            Wanted("agents.d.plan_b.file", file=empty),
            Wanted("agents.e.hold_music", file=long),
        )
    assert str(caught.value).splitlines() == [
        "agents.a.plan_b.say: the built-in agent needs 'espeakng_loader'",
        f"agents.b.plan_b.file: {tmp_path}/none.wav: No such file or directory",
        f"agents.c.plan_b.file: {text}: not a RIFF/WAVE file",
        f"agents.d.plan_b.file: {empty}: there is no audio in it",
        f"agents.e.hold_music: {long}: 301 s long: 300 s at most",
    ]


@pytest.mark.parametrize("rate", [44_099, 3975, 192_025, 4_000_000_000])
async def test_a_rate_that_would_need_a_monstrous_filter_is_refused(tmp_path: Path, rate: int) -> None:
    path = tmp_path / "a.wav"
    header = b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, rate, 0, 2, 16)
    path.write_bytes(b"RIFF\0\0\0\0" + header + b"data" + struct.pack("<I", 4) + bytes(4))
    with pytest.raises(SoundError, match=f"{rate} Hz cannot be converted: use 8000"):
        await prepared(Wanted("k", file=path))


@pytest.mark.parametrize("pcm", [None, b""])
async def test_a_voice_that_cannot_say_it_is_a_fault(pcm: bytes | None) -> None:
    with pytest.raises(SoundError, match=r"^k: the built-in voice could not speak 'Sorry\.'$"):
        await prepared(Wanted("k", "Sorry."), speak=Voice(pcm))


async def test_a_rate_that_cannot_be_converted_here_stops_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lacking(source: Format, target: Format) -> None:
        raise RuntimeError("converting needs numpy: pip install sipbridge[wideband]")

    monkeypatch.setattr(module, "converter", lacking)
    path = written(tmp_path / "a.wav", 44100, b"\0\0")
    with pytest.raises(SoundError, match=r"a\.wav: converting needs numpy"):
        await prepared(Wanted("k", file=path))


def test_a_format_is_made_once_and_the_oldest_is_forgotten() -> None:
    made: list[int] = []

    def pcm_at(rate: int) -> bytes:
        made.append(rate)
        return bytes(rate)

    sound = Sound("counted", pcm_at)
    rates = [8000, 16000, 24000, 32000]
    warm([sound, sound], [Linear(rate) for rate in rates])
    assert made == rates
    first = sound.in_format(Linear(8000))
    assert sound.in_format(Linear(8000)) is first, "shared, not copied"
    sound.in_format(Linear(48000))
    sound.in_format(Linear(8000))
    assert made == [*rates, 48000], "8000 was asked for just before"
    sound.in_format(Linear(16000))
    assert made == [*rates, 48000, 16000]


@pytest.mark.parametrize("audio_format", FORMATS, ids=lambda one: one.name)
@pytest.mark.parametrize(("sound", "ms"), [(TONE, TONE_MS), (MUSIC, MUSIC_MS), (FAREWELL, FAREWELL_MS)])
def test_what_is_built_in_needs_no_file_and_no_library(sound: Sound, ms: int, audio_format: Format) -> None:
    assert len(sound.in_format(audio_format)) == ms * audio_format.bytes_per_ms
