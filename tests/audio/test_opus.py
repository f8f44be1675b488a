import random
import sys
from collections.abc import Iterator

import pytest

from bridge.audio import opus
from bridge.audio.opus import RATE, RTP_CLOCK, OpusDecoder, OpusEncoder, check_installed, duration_ms
from bridge.audio.wideband import CodecError
from tests.audio.signals import delay, frames, level, likeness, mutated, pcm, snr, speech, tone, wave

try:
    check_installed()
except RuntimeError as error:
    pytest.skip(str(error), allow_module_level=True)

BYTES_PER_MS = 48
"""PCM at 24000 Hz."""
FRAME = 20 * BYTES_PER_MS

FRAME_MS = {
    **{n: (10, 20, 40, 60)[n % 4] for n in range(12)},
    **{12: 10, 13: 20, 14: 10, 15: 20},
    **{n: (2.5, 5, 10, 20)[n % 4] for n in range(16, 32)},
}
"""RFC 6716 table 2, by hand."""


def packets(sent: bytes, ms: int = 20, **wishes: int) -> list[bytes]:
    encoder = OpusEncoder(**wishes)
    return [encoder.encode(frame) for frame in frames(sent, ms * BYTES_PER_MS)]


def test_numbers_of_rfc_7587() -> None:
    assert (RATE, RTP_CLOCK) == (24000, 48000)


@pytest.mark.parametrize("config", range(32))
@pytest.mark.parametrize("stereo", [0, 4])
def test_duration_by_the_first_bytes(config: int, stereo: int) -> None:
    toc, frame = config << 3 | stereo, FRAME_MS[config]
    assert duration_ms(bytes((toc,))) == frame
    assert duration_ms(bytes((toc | 1, 1, 1))) == 2 * frame
    assert duration_ms(bytes((toc | 2, 1, 1, 1))) == 2 * frame
    for count in range(64):
        for flags in (0, 0x40, 0x80, 0xC0):
            total = count * frame
            assert duration_ms(bytes((toc | 3, flags | count))) == (total if total <= 120 else 0)


def test_duration_of_what_is_malformed_is_none() -> None:
    assert duration_ms(b"") == 0
    assert duration_ms(b"\x03") == 0
    assert duration_ms(b"\x03\x00") == 0
    assert OpusDecoder().duration_ms(b"\x01\x00\x00") == 20


@pytest.mark.parametrize("ms", [10, 20, 40, 60])
def test_each_packet_has_exactly_its_milliseconds_from_the_first_on(ms: int) -> None:
    decoder = OpusDecoder()
    for packet in packets(speech(RATE, 0.6), ms):
        assert duration_ms(packet) == ms
        assert len(decoder.decode(packet)) == ms * BYTES_PER_MS


def every_shape() -> Iterator[bytes]:
    """Packets of all 32 configurations, mono and stereo, of one frame and more, whose frames say nothing (DTX)."""
    for config in range(32):
        for stereo in (0, 4):
            toc = config << 3 | stereo
            yield bytes((toc,))
            yield bytes((toc | 1,))
            yield bytes((toc | 2, 0))
            most = int(120 / FRAME_MS[config])
            yield from (bytes((toc | 3, count)) for count in range(1, most + 1))


@pytest.mark.parametrize("rate", [8000, 16000, 24000, 48000])
def test_any_packet_gives_exactly_its_duration(rate: int) -> None:
    decoder = OpusDecoder(rate)
    for packet in every_shape():
        assert len(decoder.decode(packet)) == 2 * duration_ms(packet) * rate / 1000


def test_stereo_becomes_mono() -> None:
    # CELT, 20 ms, stereo: the coder of libopus, asked for two channels.
    library = opus._library()
    import ctypes

    state = ctypes.create_string_buffer(library.opus_encoder_get_size(2))
    assert library.opus_encoder_init(state, RATE, 2, 2049) == 0
    decoder, out, heard = OpusDecoder(), ctypes.create_string_buffer(1275), b""
    assert library.opus_encoder_ctl(state, 4002, ctypes.c_int(96000)) == 0
    left = wave(tone(RATE, 440, 0.5))
    for frame in frames(pcm([sample for value in left for sample in (value, value / 2)]), 2 * FRAME):
        size = library.opus_encode(state, frame, 480, out, 1275)
        packet = out.raw[:size]
        assert packet[0] & 4
        heard += decoder.decode(packet)
    assert len(heard) == 0.5 * 1000 * BYTES_PER_MS
    assert level(heard[9600:]) == pytest.approx(0.75 * 7071, rel=0.05)


@pytest.mark.parametrize("hz", [440, 1000, 3000])
def test_a_tone_comes_through(hz: int) -> None:
    sent = tone(RATE, hz, 1.0)
    decoder = OpusDecoder()
    heard = b"".join(map(decoder.decode, packets(sent)))
    assert snr(sent, heard, delay(sent, heard)) > 15
    assert level(heard) == pytest.approx(level(sent), rel=0.1)


def test_speech_comes_through_in_a_voices_bitrate() -> None:
    sent = speech(RATE, 2.0)
    decoder, coded = OpusDecoder(), packets(sent)
    heard = b"".join(map(decoder.decode, coded))
    late = delay(sent, heard)
    assert 140 <= late <= 170  # 6.5 ms
    assert likeness(sent, heard, late) > 15
    assert 20_000 < 8 * sum(map(len, coded)) / 2.0 < 36_000


def test_the_bitrate_is_what_was_asked_for() -> None:
    sent = speech(RATE, 2.0)
    low, high = (sum(map(len, packets(sent, bitrate=bitrate))) * 4 for bitrate in (16_000, 64_000))
    assert low == pytest.approx(16_000, rel=0.3)
    assert high == pytest.approx(64_000, rel=0.3)


def test_packets_that_were_damaged_raise_codec_error_and_nothing_else() -> None:
    luck, decoder = random.Random(3), OpusDecoder()
    coded = packets(speech(RATE, 0.4)) + packets(speech(RATE, 0.4), 60, bitrate=16_000)
    refused = 0
    for number in range(10_000):
        damaged = mutated(coded[number % len(coded)], luck)
        try:
            heard = decoder.decode(damaged)
        except CodecError as error:
            refused += 1
            assert "libopus" in str(error)
        else:
            assert len(heard) == duration_ms(damaged) * BYTES_PER_MS > 0
    assert 500 < refused < 9_500
    sent = speech(RATE, 1.0)
    heard = b"".join(map(decoder.decode, packets(sent)))
    assert likeness(sent, heard, delay(sent, heard)) > 15


def test_nothing_is_no_packet() -> None:
    with pytest.raises(CodecError, match="0 bytes"):
        OpusDecoder().decode(b"")
    assert issubclass(CodecError, ValueError)


@pytest.mark.parametrize("size", [0, 2, 959, 962, 48 * 30, 48 * 120])
def test_only_whole_frames_are_encoded(size: int) -> None:
    with pytest.raises(ValueError, match=f"{size} bytes"):
        OpusEncoder().encode(bytes(size))


def test_wrong_rates_and_bitrates_are_refused() -> None:
    for make in (OpusEncoder, OpusDecoder):
        with pytest.raises(ValueError, match="44100 Hz"):
            make(44100)
    with pytest.raises(ValueError, match="-5"):
        OpusEncoder(bitrate=-5)


@pytest.mark.parametrize("rate", [8000, 24000])
@pytest.mark.parametrize("ms", [0, 1, 7, 20, 60, 121, 1000])
def test_what_is_lost_is_replaced_by_exactly_as_much(ms: int, rate: int) -> None:
    decoder = OpusDecoder(rate)
    assert decoder.lost(ms) == bytes(2 * ms * rate // 1000)
    coded = packets(speech(RATE, 0.4))
    for packet in coded[:10]:
        decoder.decode(packet)
    assert len(decoder.lost(ms)) == 2 * ms * rate // 1000
    assert len(decoder.lost(ms, coded[11])) == 2 * ms * rate // 1000


def test_a_lost_voice_goes_on_and_fades_to_silence_in_120_ms() -> None:
    decoder = OpusDecoder()
    for packet in packets(speech(RATE, 0.4)):
        heard = decoder.decode(packet)
    parts = [level(part) for part in frames(decoder.lost(200), FRAME)]
    assert parts[0] > level(heard) / 3
    assert parts[5] < parts[0] / 5
    assert parts[6:] == [0.0] * 4
    assert decoder.lost(20) == bytes(FRAME)
    decoder.decode(packet)
    assert level(decoder.lost(20)) > 0


def test_a_loss_told_in_two_calls_fades_as_one() -> None:
    decoder = OpusDecoder()
    for packet in packets(speech(RATE, 0.4)):
        decoder.decode(packet)
    first, second = decoder.lost(60), decoder.lost(60)
    assert level(second[-FRAME:]) < level(first[:FRAME]) / 10
    assert decoder.lost(20) == bytes(FRAME)


def test_a_packet_after_the_gap_brings_back_its_end() -> None:
    sent = speech(RATE, 1.0)
    lost = range(10, 45, 5)
    for fec in (False, True):
        errors = {}
        coded = packets(sent, fec=fec)
        for following in (False, True):
            decoder, whole, wrong = OpusDecoder(), OpusDecoder(), 0.0
            for number, packet in enumerate(coded):
                right = wave(whole.decode(packet))
                if number in lost:
                    after = coded[number + 1] if following else b""
                    wrong += float(((wave(decoder.lost(20, after)) - right) ** 2).sum())
                else:
                    decoder.decode(packet)
            errors[following] = wrong
        if fec:
            assert errors[True] < errors[False] * 0.7
        else:
            assert errors[True] == pytest.approx(errors[False])


def test_a_damaged_packet_after_the_gap_is_passed_over() -> None:
    luck, decoder = random.Random(4), OpusDecoder()
    coded = packets(speech(RATE, 0.4), fec=True)
    for packet in coded:
        decoder.decode(packet)
    for number in range(2000):
        assert len(decoder.lost(20, mutated(coded[number % len(coded)], luck))) == FRAME


def test_the_systems_library_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opus, "_in_wheel", list)
    asked: list[str] = []

    def load(place: str) -> object:
        asked.append(place)
        raise OSError

    monkeypatch.setattr(opus.ctypes, "CDLL", load)
    with pytest.raises(RuntimeError, match=r"apt-get install libopus0"):
        opus._library.__wrapped__()
    assert asked == ["libopus.so.0", "libopus.0.dylib"]


def test_nothing_is_loaded_before_it_is_needed() -> None:
    import subprocess

    code = "import sys, bridge.audio.opus, bridge.audio.g722, bridge.audio.conversion; print(sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert not {"numpy", "G722", "opuslib_next"} & set(loaded.stdout.replace("'", "").strip("[]\n").split(", "))
