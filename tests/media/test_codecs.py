import random

import pytest

from bridge.audio import g722, opus
from bridge.audio.format import Format, Linear, silence_of
from bridge.audio.g711 import Law, decode, translation
from bridge.audio.level import rms
from bridge.audio.wideband import CodecError
from bridge.media import codecs
from bridge.media.codecs import CODECS, CodedDecoder, G711Decoder, decoder, encoder, why_not
from bridge.media.concealment import conceal

WIDE, OPUS = Linear(16000), Linear(24000)
LOUD = bytes(0x80 + at % 8 for at in range(160))


def noise(ms: int, rate: int) -> bytes:
    return random.Random(5).randbytes(2 * ms * rate // 1000)


class TestTable:
    @pytest.mark.parametrize(
        ("name", "clock_rate", "audio_format", "plain"),
        [
            ("PCMU", 8000, Law.PCMU, True),
            ("PCMA", 8000, Law.PCMA, True),
            ("G722", 8000, WIDE, False),
            ("OPUS", 48000, OPUS, False),
        ],
    )
    def test_clocks_are_those_of_the_rfcs(self, name: str, clock_rate: int, audio_format: Format, plain: bool) -> None:
        codec = CODECS[name]
        assert (codec.name, codec.clock_rate, codec.audio_format, codec.is_plain) == (
            name,
            clock_rate,
            audio_format,
            plain,
        )


class TestG711:
    def test_the_legs_own_law_is_the_very_bytes(self) -> None:
        found = decoder(CODECS["PCMA"], Law.PCMA)
        assert found.is_plain
        assert found.decode(LOUD) is LOUD
        assert found.ticks(LOUD) == 160

    def test_the_other_law_is_translated(self) -> None:
        found, table = decoder(CODECS["PCMA"], Law.PCMU), translation(Law.PCMA, Law.PCMU)
        assert table is not None
        assert not found.is_plain
        assert found.decode(LOUD) == LOUD.translate(table)

    def test_concealment_is_in_the_legs_law(self) -> None:
        assert G711Decoder(Law.PCMA, Law.PCMU).conceal(LOUD, 320) == conceal(LOUD, 320, Law.PCMU)

    @pytest.mark.parametrize("name", ["PCMU", "PCMA"])
    def test_a_wide_leg_gets_it_as_pcm(self, name: str) -> None:
        found = decoder(CODECS[name], WIDE)
        audio = b"".join(found.decode(LOUD) for _ in range(10))
        assert not found.is_plain
        assert found.ticks(LOUD) == 160
        assert 10 * 640 - 64 <= len(audio) <= 10 * 640
        assert rms(audio) == pytest.approx(rms(decode(LOUD, Law(name))), rel=0.2)
        assert len(found.conceal(b"", 320)) == 1280


class TestCoded:
    @pytest.mark.parametrize(
        ("name", "leg"), [("G722", WIDE), ("G722", OPUS), ("G722", Law.PCMU), ("OPUS", OPUS), ("OPUS", Law.PCMA)]
    )
    def test_what_is_encoded_comes_out_as_long_and_as_loud(self, name: str, leg: Format) -> None:
        codec = CODECS[name]
        encode, found = encoder(codec), decoder(codec, leg)
        assert encode is not None and not found.is_plain
        audio = noise(20, codec.audio_format.rate)
        payloads = [encode(audio) for _ in range(10)]
        assert {found.ticks(payload) for payload in payloads} == {codec.clock_rate // 50}
        heard = b"".join(map(found.decode, payloads))
        # The filter between two rates keeps back 2 ms at most.
        assert 198 * leg.bytes_per_ms <= len(heard) <= 200 * leg.bytes_per_ms
        assert rms(decode(heard, leg) if isinstance(leg, Law) else heard) > 1000

    @pytest.mark.parametrize(("name", "leg"), [("G722", WIDE), ("G722", Law.PCMU), ("OPUS", OPUS), ("OPUS", Law.PCMA)])
    @pytest.mark.parametrize("ms", [10, 20, 50, 500])
    def test_concealment_is_exactly_as_long_as_the_gap(self, name: str, leg: Format, ms: int) -> None:
        codec = CODECS[name]
        encode, found = encoder(codec), decoder(codec, leg)
        assert encode is not None
        for _ in range(5):
            found.decode(encode(noise(20, codec.audio_format.rate)))
        made = found.conceal(b"", ms * codec.clock_rate // 1000)
        assert len(made) == ms * leg.bytes_per_ms
        pcm = decode(made, leg) if isinstance(leg, Law) else made
        assert rms(pcm[: len(pcm) * 10 // ms]) > 500
        if ms == 500:
            assert rms(pcm[len(pcm) // 2 :]) < 20

    def test_before_the_first_packet_concealment_is_silence(self) -> None:
        for name, leg in (("G722", WIDE), ("OPUS", OPUS), ("PCMU", WIDE), ("OPUS", Law.PCMA), ("G722", Law.PCMU)):
            made = decoder(CODECS[name], leg).conceal(b"", CODECS[name].clock_rate // 50)
            assert made == silence_of(20, leg)

    @pytest.mark.parametrize("payload", [b"", b"\x03", b"\xff\xff\xff"])
    def test_a_damaged_opus_packet_is_an_error_and_the_next_is_heard(self, payload: bytes) -> None:
        encode, found = opus.OpusEncoder().encode, decoder(CODECS["OPUS"], OPUS)
        with pytest.raises(CodecError):
            found.decode(payload)
        assert len(found.decode(encode(noise(20, 24000)))) == 960

    @pytest.mark.parametrize(("ms", "ticks"), [(10, 480), (20, 960), (40, 1920), (60, 2880)])
    def test_opus_says_its_length_itself(self, ms: int, ticks: int) -> None:
        payload = opus.OpusEncoder().encode(noise(ms, 24000))
        assert decoder(CODECS["OPUS"], OPUS).ticks(payload) == ticks

    def test_a_half_millisecond_is_whole_ticks(self) -> None:
        celt_2_5_ms = bytes((16 << 3,))
        assert decoder(CODECS["OPUS"], OPUS).ticks(celt_2_5_ms) == 120

    def test_two_streams_do_not_share_a_decoder(self) -> None:
        first, second = decoder(CODECS["G722"], WIDE), decoder(CODECS["G722"], WIDE)
        payload = g722.G722Encoder().encode(noise(20, 16000))
        alone = second.decode(payload)
        first.decode(payload)
        first.decode(payload)
        assert isinstance(first, CodedDecoder)
        assert decoder(CODECS["G722"], WIDE).decode(payload) == alone != first.decode(payload)


class TestEncoders:
    @pytest.mark.parametrize("name", ["PCMU", "PCMA"])
    def test_g711_needs_none(self, name: str) -> None:
        assert encoder(CODECS[name]) is None

    def test_each_stream_has_its_own(self) -> None:
        assert encoder(CODECS["OPUS"]) is not encoder(CODECS["OPUS"])

    @pytest.mark.parametrize("name", ["PCMU", "PCMA", "G722", "OPUS"])
    def test_all_can_be_spoken_here(self, name: str) -> None:
        assert why_not(name) == ""

    @pytest.mark.parametrize(("name", "module"), [("G722", "g722"), ("OPUS", "opus")])
    def test_why_one_cannot_is_told(self, name: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
        def missing() -> None:
            raise RuntimeError("pip install it")

        monkeypatch.setattr(getattr(codecs, module), "check_installed", missing)
        assert why_not(name) == "pip install it"
        assert why_not("PCMU") == ""
