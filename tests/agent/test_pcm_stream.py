"""Audio of speech servers: raw, in a WAV file, or something else altogether."""

from __future__ import annotations

import contextlib
import io
import struct
import wave
from array import array
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.agent.fault import Fault
from bridge.agent.formats import AudioFormat
from bridge.agent.patterns import tone
from bridge.agent.pcm_stream import PcmStream
from bridge.audio.level import rms

TONE = tone(440, 300, 24000)


def wav(pcm: bytes, rate: int = 24000, channels: int = 1, width: int = 2) -> bytes:
    made = io.BytesIO()
    with wave.open(made, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(pcm)
    return made.getvalue()


def convert(data: bytes, form: AudioFormat = AudioFormat.PCM, size: int = 1000) -> bytes:
    stream = PcmStream(form)
    return b"".join(stream.feed(data[i : i + size]) for i in range(0, len(data), size)) + stream.finish()


@pytest.mark.parametrize("size", [1, 7, 1000, 100_000])
def test_raw_pcm_passes_through_whatever_its_pieces(size: int) -> None:
    assert convert(TONE, size=size) == TONE
    assert convert(TONE + b"\x01", size=size) == TONE


@pytest.mark.parametrize("size", [1, 7, 1000, 100_000])
def test_the_header_of_a_wav_file_is_not_played(size: int) -> None:
    assert convert(wav(TONE), size=size) == TONE


def test_streamed_headers_have_no_length_and_files_may_have_more_chunks() -> None:
    head = bytearray(wav(TONE)[:44])
    for length in (0, 0xFFFFFFFF, 0x7FFFFFFF):
        head[40:44] = struct.pack("<I", length)
        assert convert(bytes(head) + TONE) == TONE
    listed = wav(TONE)
    between = listed[:36] + b"LIST" + struct.pack("<I", 5) + b"hello\0" + listed[36:]
    assert convert(between) == TONE
    assert convert(listed + b"LIST" + struct.pack("<I", 4) + b"\xff\x7f\xff\x7f") == TONE


@pytest.mark.parametrize("form", list(AudioFormat))
@pytest.mark.parametrize("rate", [8000, 16000, 22050, 24000, 48000])
def test_any_rate_becomes_that_of_the_session(rate: int, form: AudioFormat) -> None:
    audio = convert(wav(tone(440, 300, rate), rate), form)
    assert abs(len(audio) - 300 * form.bytes_per_ms) <= 2
    pcm = form.to_pcm(audio)
    assert 0.9 < rms(pcm) / rms(TONE) < 1.1
    samples = array("h", pcm)
    crossings = sum(1 for a, b in pairwise(samples) if a < 0 <= b)
    assert abs(crossings - 132) <= 3, "the pitch is the same"


@pytest.mark.parametrize(
    "data",
    [
        b"ID3\x04" + bytes(400),
        b"OggS" + bytes(400),
        b"fLaC" + bytes(400),
        b'{"error": "no such voice"}',
        wav(TONE * 2, channels=2),
        wav(TONE, width=1),
        wav(TONE, rate=96000),
        b"RIFF\0\0\0\0WAVEdata\0\0\0\0" + bytes(100),
        b"RIFF\0\0\0\0WAVEjunk\xff\xff\0\0" + bytes(10_000),
        b"RIFF\0\0\0\0WAVEfmt \0\0",
    ],
)
def test_what_is_no_pcm_is_not_played(data: bytes) -> None:
    with pytest.raises(Fault, match="cannot be used"):
        convert(data)


def test_a_header_without_end_is_not_waited_for() -> None:
    for chunks in (b"junk\xff\xff\xff\x7f", b"junk\0\0\0\0" * 2000):
        with pytest.raises(Fault, match="does not end"):
            PcmStream(AudioFormat.PCM).feed(b"RIFF\0\0\0\0WAVE" + chunks)


@pytest.mark.parametrize("data", [b"", b"\x01", b"\x01\x00\x02\x00", b"RIF"])
def test_very_short_audio(data: bytes) -> None:
    assert convert(data) == data[: len(data) // 2 * 2]


@given(st.binary(max_size=200), st.sampled_from([b"", b"RIFF\0\0\0\0WAVE", wav(b"")[:36]]), st.integers(1, 50))
def test_nothing_that_a_server_sends_breaks_it(data: bytes, head: bytes, size: int) -> None:
    with contextlib.suppress(Fault):
        convert(head + data, size=size)
