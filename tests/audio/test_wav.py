import contextlib
import struct
import wave
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.audio.g711 import Law, decode
from bridge.audio.wav import Wav, WavError, WavWriter, parse, read


def riff(code: int, channels: int, rate: int, bits: int, data: bytes, extra: bytes = b"") -> bytes:
    block = channels * bits // 8
    fmt = struct.pack("<HHIIHH", code, channels, rate, rate * block, block, bits) + extra
    body = b"WAVE" + b"LIST\x03\x00\x00\x00abc\x00"
    body += b"fmt " + struct.pack("<I", len(fmt)) + fmt + b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def test_what_is_written_is_read(tmp_path: Path) -> None:
    pcm = struct.pack("<6h", 1, -2, 3, -4, 5, -32768)
    with WavWriter(tmp_path / "a.wav", 16000, 2) as writer:
        writer.write(pcm[:8])
        writer.write(pcm[8:])
    assert read(tmp_path / "a.wav") == Wav(16000, 2, pcm)
    with wave.open(str(tmp_path / "a.wav")) as other:
        assert (other.getnchannels(), other.getframerate(), other.getnframes()) == (2, 16000, 3)
        assert other.readframes(3) == pcm


def test_a_crash_costs_less_than_a_second(tmp_path: Path) -> None:
    writer = WavWriter(tmp_path / "a.wav", 8000, 1)
    for _ in range(125):
        writer.write(b"\1\0" * 160)
    left = (tmp_path / "a.wav").read_bytes()
    writer.close()
    with wave.open(str(tmp_path / "a.wav")) as whole:
        assert whole.getnframes() == 125 * 160
    (tmp_path / "b.wav").write_bytes(left)
    with wave.open(str(tmp_path / "b.wav")) as survived:
        assert survived.getnframes() == 2 * 8000


def test_closing_twice_and_writing_after(tmp_path: Path) -> None:
    writer = WavWriter(tmp_path / "a.wav", 8000, 1)
    writer.close()
    writer.close()
    with pytest.raises(ValueError):
        writer.write(b"\0\0")


@pytest.mark.parametrize(("code", "law"), [(6, Law.PCMA), (7, Law.PCMU)])
def test_g711_becomes_pcm(code: int, law: Law) -> None:
    wav = parse(riff(code, 1, 8000, 8, bytes(range(256)), extra=b"\0\0"))
    assert wav == Wav(8000, 1, decode(bytes(range(256)), law))
    assert wav.seconds == 256 / 8000


def test_extensible_pcm() -> None:
    extra = struct.pack("<HHIH", 22, 16, 4, 1) + bytes(14)
    assert parse(riff(0xFFFE, 1, 24000, 16, b"\1\0\2\0", extra)) == Wav(24000, 1, b"\1\0\2\0")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not a RIFF"),
        (b"RIFF\0\0\0\0AVI ", "not a RIFF"),
        (riff(3, 1, 8000, 32, b"\0" * 8), "coding 3"),
        (riff(1, 1, 8000, 8, b"\0" * 8), "8 bits"),
        (riff(1, 0, 8000, 16, b""), "no channels"),
        (b"RIFF\0\0\0\0WAVEdata\2\0\0\0ab", "before its format"),
        (b"RIFF\0\0\0\0WAVEfmt \2\0\0\0ab", "too short"),
        (b"RIFF\0\0\0\0WAVE", "no audio"),
    ],
)
def test_what_is_not_read_says_why(data: bytes, reason: str) -> None:
    with pytest.raises(WavError, match=reason):
        parse(data)


def test_a_file_cut_short_gives_whole_frames() -> None:
    whole = riff(1, 2, 8000, 16, b"\1\0\2\0\3\0\4\0")
    assert parse(whole[:-3]).pcm == b"\1\0\2\0"


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for file in (data, riff(1, 1, 8000, 16, b"\0\0")[:24] + data):
        with contextlib.suppress(WavError):
            parse(file)


def test_mono_is_the_mean_of_all_channels() -> None:
    stereo = Wav(8000, 2, struct.pack("<4h", 100, 300, -32768, -32768))
    assert stereo.mono() == Wav(8000, 1, struct.pack("<2h", 200, -32768))
    assert stereo.mono().mono() == stereo.mono()
    four = Wav(8000, 4, struct.pack("<4h", 400, 0, 0, 0))
    assert four.mono().pcm == struct.pack("<h", 100)
