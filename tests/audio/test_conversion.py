import random
import sys
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.audio.conversion import converter
from bridge.audio.format import Format, Linear
from bridge.audio.g711 import Law, decode, encode, translation
from bridge.audio.resample import Polyphase
from tests.audio.signals import frames, level, snr, speech, tone, wave

FORMATS: tuple[Format, ...] = (Law.PCMU, Law.PCMA, Linear(8000), Linear(16000), Linear(24000), Linear(48000))
PAIRS = [(source, target) for source in FORMATS for target in FORMATS if source != target]


def sample_bytes(audio_format: Format) -> int:
    return 1 if isinstance(audio_format, Law) else 2


def converted(source: Format, target: Format, pieces: list[bytes]) -> bytes:
    convert = converter(source, target)
    assert convert is not None
    return b"".join(map(convert, pieces)) + convert.finish()


@pytest.mark.parametrize("audio_format", FORMATS)
def test_nothing_to_convert(audio_format: Format) -> None:
    assert converter(audio_format, audio_format) is None
    assert converter(Linear(24000), Linear(24000)) is None


@pytest.mark.parametrize(("source", "target"), [(Law.PCMU, Law.PCMA), (Law.PCMA, Law.PCMU)])
def test_a_law_becomes_the_other_by_the_table(source: Law, target: Law) -> None:
    every = bytes(range(256))
    table = translation(source, target)
    convert = converter(source, target)
    assert convert is not None and table is not None
    assert convert(every) == every.translate(table)
    assert (convert.finish(), convert.latency_ms) == (b"", 0)


@pytest.mark.parametrize("law", Law)
def test_a_law_and_linear_at_its_rate_are_decoded_and_encoded_only(law: Law) -> None:
    every = bytes(range(256))
    assert converted(law, Linear(8000), [every]) == decode(every, law)
    assert converted(Linear(8000), law, [decode(every, law)]) == encode(decode(every, law), law)


@given(pair=st.sampled_from(PAIRS), sizes=st.lists(st.integers(0, 700), max_size=12))
@settings(max_examples=300, deadline=None)
def test_length_is_exact_for_any_pieces(pair: tuple[Format, Format], sizes: list[int]) -> None:
    source, target = pair
    convert = converter(source, target)
    assert convert is not None
    for _ in range(2):  # once more after `finish`
        out = b"".join(convert(bytes(size)) for size in sizes) + convert.finish()
        count = sum(sizes) // sample_bytes(source)
        assert len(out) % sample_bytes(target) == 0
        assert abs(len(out) // sample_bytes(target) - count * target.rate / source.rate) <= 0.5


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_how_the_stream_is_cut_changes_nothing(source: Format, target: Format) -> None:
    luck = random.Random(5)
    pcm = speech(source.rate, 0.3)
    audio = pcm if isinstance(source, Linear) else encode(pcm, source)
    cuts = sorted(luck.randrange(len(audio)) for _ in range(60))
    pieces = [audio[start:end] for start, end in pairwise([0, *cuts, len(audio)])]
    whole, cut = converted(source, target, [audio]), converted(source, target, pieces)
    assert len(whole) == 300 * target.bytes_per_ms
    if isinstance(target, Linear):
        assert snr(whole, cut) > 70
    else:
        assert sum(a != b for a, b in zip(whole, cut, strict=True)) < len(whole) / 100


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_a_tone_arrives_where_and_as_loud_as_it_was(source: Format, target: Format) -> None:
    pcm = tone(source.rate, 1000, 0.5)
    out = converted(source, target, frames(pcm if isinstance(source, Linear) else encode(pcm, source), 80))
    heard = out if isinstance(target, Linear) else decode(out, target)
    laws = isinstance(source, Law) + isinstance(target, Law)
    assert snr(tone(target.rate, 1000, 0.5), heard) > (65, 35, 30)[laws]


@pytest.mark.parametrize(("source", "target", "hz"), [(16000, 8000, 7000), (24000, 8000, 7000), (24000, 16000, 11000)])
def test_what_the_target_cannot_carry_does_not_alias(source: int, target: int, hz: int) -> None:
    high = tone(source, hz, 0.5)
    out = converted(Linear(source), Linear(target), frames(high, source // 25))
    # The edges of the tone leave a trace.
    assert level(out[target // 20 : -target // 20]) < level(high) / 1000


def test_a_telephones_band_is_kept_up_to_its_edge() -> None:
    for source, target in ((8000, 24000), (24000, 8000)):
        for hz in (300, 3400):
            out = converted(Linear(source), Linear(target), frames(tone(source, hz, 0.5), source // 25))
            assert snr(tone(target, hz, 0.5), out) > 55


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_only_the_filters_latency_is_kept_back(source: Format, target: Format) -> None:
    convert = converter(source, target)
    assert convert is not None
    assert convert.latency_ms <= 2.0
    given, frame = 0, bytes(20 * source.bytes_per_ms)
    for number in range(1, 50):
        given += len(convert(frame))
        behind = 20 * number - given / target.bytes_per_ms
        assert 0 <= behind <= convert.latency_ms + 0.2
    assert len(convert.finish()) == 49 * 20 * target.bytes_per_ms - given


def test_each_frame_gives_a_whole_frame_after_the_first() -> None:
    convert = converter(Linear(16000), Linear(24000))
    assert convert is not None
    assert [len(convert(bytes(640))) for _ in range(5)] == [912, 960, 960, 960, 960]


def test_a_byte_that_waits_for_its_sample_is_kept() -> None:
    pcm = speech(8000, 0.1)
    assert converted(Linear(8000), Law.PCMU, frames(pcm, 1)) == encode(pcm, Law.PCMU)
    convert = converter(Linear(8000), Law.PCMU)
    assert convert is not None
    assert convert(b"\0\0\0") == b"\xff"
    assert convert.finish() == b""
    assert convert(b"\0\0") == b"\xff"  # the half sample before `finish` is gone


def test_too_loud_is_clipped_and_does_not_turn_over() -> None:
    step = b"\x00\x80" * 400 + b"\xff\x7f" * 400
    out = wave(converted(Linear(8000), Linear(24000), [step]))
    # A filter overshoots beside the step; 0.5 ms about it and the ends are left out.
    assert max(out[100:1188]) < -20000
    assert min(out[1212:2300]) > 20000
    assert min(out) == -32768


def test_polyphase_refuses_what_it_cannot_convert() -> None:
    with pytest.raises(ValueError, match="positive"):
        Polyphase(0, 8000)
    with pytest.raises(ValueError, match="nothing to convert"):
        Polyphase(8000, 8000)
    with pytest.raises(ValueError, match="3 bytes"):
        Polyphase(8000, 16000).process(b"abc")


def test_rates_without_a_short_common_multiple() -> None:
    sent = tone(22050, 440, 0.5)
    polyphase = Polyphase(22050, 24000)
    out = b"".join(map(polyphase.process, frames(sent, 882))) + polyphase.finish()
    assert snr(tone(24000, 440, 0.5), out) > 65


def test_without_numpy_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(RuntimeError, match=r"pip install sipbridge\[wideband\]"):
        converter(Law.PCMU, Linear(24000))
    assert converter(Law.PCMU, Linear(8000)) is not None
