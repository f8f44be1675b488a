import pytest

from bridge.audio.format import SAMPLE_BYTES, Format, Linear, silence_of
from bridge.audio.g711 import Law, decode


@pytest.mark.parametrize(
    ("audio_format", "rate", "bytes_per_ms", "name"),
    [
        (Law.PCMU, 8000, 8, "PCMU"),
        (Law.PCMA, 8000, 8, "PCMA"),
        (Linear(16000), 16000, 32, "PCM16"),
        (Linear(24000), 24000, 48, "PCM24"),
    ],
)
def test_all_have_rate_size_and_name(audio_format: Format, rate: int, bytes_per_ms: int, name: str) -> None:
    assert (audio_format.rate, audio_format.bytes_per_ms) == (rate, bytes_per_ms)
    assert audio_format.name == name


def test_formats_are_equal_by_what_they_are() -> None:
    assert Linear(16000) == Linear(16000) != Linear(24000)
    assert len({Linear(16000), Linear(16000), Law.PCMU, Law.PCMA}) == 3


@pytest.mark.parametrize("audio_format", [*Law, Linear(16000), Linear(24000)])
@pytest.mark.parametrize("ms", [0, 1, 20, 60])
def test_silence_is_as_long_as_asked_and_silent(audio_format: Format, ms: int) -> None:
    audio = silence_of(ms, audio_format)
    assert len(audio) == ms * audio_format.bytes_per_ms
    pcm = decode(audio, audio_format) if isinstance(audio_format, Law) else audio
    assert max(map(abs, memoryview(pcm).cast("h")), default=0) <= 8
    assert len(pcm) == SAMPLE_BYTES * ms * audio_format.rate // 1000


def test_each_law_is_silent_in_its_own_way() -> None:
    assert silence_of(1, Law.PCMU) == b"\xff" * 8
    assert silence_of(1, Law.PCMA) == b"\xd5" * 8
