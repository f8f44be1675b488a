"""What the comparison reads from the wire and makes of its figures."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest

from tests.bench.peers.__main__ import main
from tests.bench.peers.far_end import AUDIO, BINARY, Piece, audiosocket, websocket
from tests.bench.peers.subject import Figures, missing
from tests.bench.peers.table import markdown

FIGURES = Figures("a PBX", 50, 50, 0.1, {"p50": 0.1, "p99": 1.234, "p99_9": 5.0}, 1, 2, 0, 3, 55.4, 0.05, 0.3)


def masked(opcode: int, size: int) -> bytes:
    length = bytes([0x80 | size]) if size < 126 else struct.pack(">BH", 0xFE, size)
    return bytes([0x80 | opcode]) + length + bytes(4) + bytes(size)


def test_audiosocket_messages_are_found_whole() -> None:
    name, audio = b"\x01\x00\x10" + bytes(16), b"\x10\x01\x40" + bytes(320)
    assert list(audiosocket(name + audio + audio[:100])) == [Piece(1, 0, 19), Piece(AUDIO, 19, 342)]
    assert not list(audiosocket(audio[:2]))


@pytest.mark.parametrize("size", [20, 160, 40_000])
def test_frames_of_a_websocket_client_are_found_whole(size: int) -> None:
    text, binary = masked(1, 5), masked(BINARY, size)
    found = list(websocket(text + binary + binary[:-1]))
    assert found == [Piece(1, 0, len(text)), Piece(BINARY, len(text), len(text + binary))]


def test_the_edges_of_a_window_are_no_loss() -> None:
    assert missing(5000, 4900, 50) == 0
    assert missing(5000, 4800, 50) == 50
    assert missing(5000, None, 50) is None


def test_a_row_has_all_figures() -> None:
    head, rule, row, echo = markdown([FIGURES, replace(FIGURES, missing_up=None)]).splitlines()
    assert row == "| a PBX | 50 | 2000 | 10 % | 0.10 / 1.23 / 5.00 | 1 / 2 / 3 | 0 | 55 |  |"
    assert "| 1 / 2 / – |" in echo
    assert head.count("|") == rule.count("|") == row.count("|")


def test_a_row_says_what_was_wrong_with_it() -> None:
    row = replace(FIGURES, up=48, foreign=0.51, late_ms=3.0)
    assert row.remarks == "2 calls not up, noisy: others used 0.5 cores, callers late by 3.0 ms"


def test_strangers_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--only", "yate"])
    assert "no yate" in capsys.readouterr().err
