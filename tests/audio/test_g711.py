import math
import struct
import subprocess
import sys

import pytest

from bridge.audio.g711 import Law, decode, encode, silence, translation
from bridge.audio.level import dbfs, rms

EVERY_CODE = bytes(range(256))


@pytest.mark.parametrize(
    ("law", "name", "payload_type", "code"), [(Law.PCMU, "PCMU", 0, 0xFF), (Law.PCMA, "PCMA", 8, 0xD5)]
)
def test_names_and_numbers_of_rfc_3551(law: Law, name: str, payload_type: int, code: int) -> None:
    assert Law(name) is law
    assert (law.payload_type, law.silence) == (payload_type, code)
    assert encode(b"\0\0", law) == bytes((code,))
    assert silence(160, law) == bytes((code,)) * 160


@pytest.mark.parametrize(
    ("law", "code", "sample"),
    [
        (Law.PCMU, 0x00, -32124),
        (Law.PCMU, 0x80, 32124),
        (Law.PCMU, 0xFF, 0),
        (Law.PCMA, 0x2A, -32256),
        (Law.PCMA, 0xAA, 32256),
        (Law.PCMA, 0xD5, 8),
    ],
)
def test_extreme_values_of_the_recommendation(law: Law, code: int, sample: int) -> None:
    assert decode(bytes((code,)), law) == struct.pack("<h", sample)


def test_decoding_and_encoding_changes_no_code_word() -> None:
    assert encode(decode(EVERY_CODE, Law.PCMA), Law.PCMA) == EVERY_CODE
    # 0x7F is minus zero, which linear PCM does not have.
    assert encode(decode(EVERY_CODE, Law.PCMU), Law.PCMU) == EVERY_CODE.replace(b"\x7f", b"\xff")


@pytest.mark.parametrize("law", Law)
def test_a_tone_keeps_its_level(law: Law) -> None:
    tone = struct.pack("<800h", *(int(8000 * math.sin(n * 0.3)) for n in range(800)))
    assert rms(decode(encode(tone, law), law)) == pytest.approx(rms(tone), rel=0.01)


def test_odd_bytes_are_no_samples() -> None:
    with pytest.raises(ValueError, match="3 bytes"):
        encode(b"abc", Law.PCMU)


def test_translation_is_decoding_then_encoding() -> None:
    table = translation(Law.PCMU, Law.PCMA)
    assert table is not None
    assert EVERY_CODE.translate(table) == encode(decode(EVERY_CODE, Law.PCMU), Law.PCMA)
    back = translation(Law.PCMA, Law.PCMU)
    assert back is not None
    assert silence(5, Law.PCMU).translate(table) == silence(5, Law.PCMA)
    assert len(back) == 256


@pytest.mark.parametrize("law", Law)
def test_one_law_needs_no_translation(law: Law) -> None:
    assert translation(law, law) is None


def test_import_warns_of_nothing() -> None:
    subprocess.run([sys.executable, "-W", "error", "-c", "import bridge.audio.g711"], check=True)


def test_level_of_known_samples() -> None:
    assert rms(struct.pack("<4h", 300, -300, 300, -300)) == 300
    assert rms(b"") == 0
    assert dbfs(32768) == 0.0
    assert dbfs(3276.8) == pytest.approx(-20.0)
    assert dbfs(0) == -96.0
