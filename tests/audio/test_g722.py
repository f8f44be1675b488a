import hashlib
import random
import sys

import pytest

from tests.audio.signals import delay, frames, level, mutated, snr, speech, tone, wave

pytest.importorskip("G722", reason="pip install sipbridge[wideband]")

from bridge.audio.g722 import PAYLOAD_TYPE, RATE, RTP_CLOCK, G722Decoder, G722Encoder, check_installed

FRAME = 640
"""Bytes of 20 ms of PCM."""


def through(pcm: bytes, size: int = FRAME) -> bytes:
    encoder, decoder = G722Encoder(), G722Decoder()
    return b"".join(decoder.decode(encoder.encode(frame)) for frame in frames(pcm, size))


def test_numbers_of_rfc_3551() -> None:
    assert (RATE, RTP_CLOCK, PAYLOAD_TYPE) == (16000, 8000, 9)
    check_installed()


@pytest.mark.parametrize("ms", [10, 20, 30, 40, 60])
def test_each_packet_has_exactly_its_milliseconds_from_the_first_on(ms: int) -> None:
    encoder, decoder = G722Encoder(), G722Decoder()
    for frame in frames(speech(RATE, 0.5), 32 * ms):
        payload = encoder.encode(frame)
        assert len(payload) == 8 * ms
        assert decoder.duration_ms(payload) == ms
        assert len(decoder.decode(payload)) == 32 * ms


def test_decoding_is_what_the_recommendation_says_to_the_bit() -> None:
    # The sum is of what another implementation (FFmpeg's) made of the same bytes.
    decoder = G722Decoder()
    payload = random.Random(7).randbytes(1600)
    heard = b"".join(decoder.decode(part) for part in frames(payload, 160))
    assert hashlib.sha256(heard).hexdigest()[:16] == "6145a2578403d94d"


@pytest.mark.parametrize(("hz", "least"), [(440, 35), (1000, 30), (3000, 25), (6000, 15)])
def test_a_tone_comes_through(hz: int, least: float) -> None:
    sent = tone(RATE, hz, 1.0)
    heard = through(sent)
    late = delay(sent, heard, 60)
    assert snr(sent, heard, late) > 10  # a fraction of a sample is left of the delay
    assert level(heard) == pytest.approx(level(sent), rel=0.03)
    assert purity(heard, hz) > least


def purity(heard: bytes, hz: int) -> float:
    """dB of the tone over all else."""
    import numpy

    power = abs(numpy.fft.rfft(wave(heard)[1600:-1600] * numpy.hanning(len(heard) // 2 - 3200))) ** 2
    at = round(hz * (len(heard) // 2 - 3200) / RATE)
    of_tone = power[at - 4 : at + 5].sum()
    return float(10 * numpy.log10(of_tone / (power.sum() - of_tone)))


def test_speech_comes_through() -> None:
    sent = speech(RATE, 1.0)
    heard = through(sent)
    late = delay(sent, heard, 60)
    assert 20 <= late <= 24  # 1.4 ms: the quadrature mirror filters
    assert snr(sent, heard, late) > 15


def test_packets_are_one_stream_whatever_their_length() -> None:
    sent = speech(RATE, 0.6)
    assert through(sent, 320) == through(sent, 640) == through(sent, 1920)


def test_no_payload_is_damaged() -> None:
    luck, decoder = random.Random(2), G722Decoder()
    payload = G722Encoder().encode(speech(RATE, 0.02))
    for _ in range(10_000):
        damaged = mutated(payload, luck)
        assert len(decoder.decode(damaged)) == 4 * len(damaged)
    # What the noise left in the decoder is soon forgotten.
    encoder, sent = G722Encoder(), speech(RATE, 1.0)
    heard = b"".join(decoder.decode(encoder.encode(frame)) for frame in frames(sent, FRAME))
    assert snr(sent, heard, delay(sent, heard, 60)) > 15


def test_half_a_byte_of_samples_is_refused() -> None:
    with pytest.raises(ValueError, match="6 bytes"):
        G722Encoder().encode(bytes(6))


def heard_before(pcm: bytes) -> G722Decoder:
    encoder, decoder = G722Encoder(), G722Decoder()
    for frame in frames(pcm, FRAME):
        decoder.decode(encoder.encode(frame))
    return decoder


@pytest.mark.parametrize("ms", [0, 1, 7, 20, 60, 100, 1000])
def test_what_is_lost_is_replaced_by_exactly_as_much(ms: int) -> None:
    assert len(heard_before(speech(RATE, 0.1)).lost(ms)) == 32 * ms
    assert G722Decoder().lost(ms) == bytes(32 * ms)
    assert len(heard_before(bytes(FRAME)).lost(ms)) == 32 * ms  # silence fits anywhere


def test_a_lost_voice_goes_on_and_fades_to_silence_in_60_ms() -> None:
    decoder = heard_before(tone(RATE, 200, 0.2))
    gap = decoder.lost(100)
    parts = [level(part) for part in frames(gap, 320)]
    assert parts[0] == pytest.approx(7071, rel=0.1)
    assert parts[:7] == sorted(parts[:7], reverse=True)
    assert parts[5] < parts[0] / 5
    assert parts[6:] == [0.0] * 4


def test_a_lost_voice_keeps_its_period() -> None:
    sent = tone(RATE, 200, 0.2)
    decoder = heard_before(sent)
    gap = decoder.lost(10)
    # 200 Hz has a period of 80 samples; the decoder is 22 samples late.
    expected = wave(tone(RATE, 200, 0.3))[3200 - 22 :][:160]
    error = wave(gap) - expected
    assert (error**2).mean() < (expected**2).mean() / 100


def test_a_loss_told_in_two_calls_is_the_same_loss() -> None:
    sent = speech(RATE, 0.2)
    once, twice = heard_before(sent), heard_before(sent)
    assert once.lost(80) == twice.lost(13) + twice.lost(7) + twice.lost(60)


def test_after_a_loss_the_next_one_starts_at_full_level() -> None:
    sent = tone(RATE, 200, 0.2)
    decoder, encoder = heard_before(sent), G722Encoder()
    decoder.lost(200)
    for frame in frames(sent, FRAME):
        decoder.decode(encoder.encode(frame))
    assert level(decoder.lost(10)) == pytest.approx(7071, rel=0.1)


def test_without_the_library_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "G722", None)
    for needs in (G722Encoder, G722Decoder, check_installed):
        with pytest.raises(RuntimeError, match=r"pip install sipbridge\[wideband\]"):
            needs()
