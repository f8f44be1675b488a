import asyncio
import itertools
import time

import pytest

from tests.phones import wire as w


def test_a_packet_keeps_its_fields_and_gets_the_time_of_the_kernel() -> None:
    with w.Wire() as near, w.Wire(seed=1) as far:
        far.to = (near.host, near.port)
        # The kernel starts to stamp in the background when the first socket asks; until then it stamps at the read.
        time.sleep(0.015)
        before = time.time_ns()
        far.send(b"\x01" * 160, payload_type=8, marker=True)
        after = time.time_ns()
        time.sleep(0.015)
        near.drain()
    (packet,) = near.packets
    assert before <= packet.t_ns <= after + 5_000_000
    assert (packet.payload_type, packet.marker, packet.payload) == (8, True, b"\x01" * 160)
    assert (packet.sequence, packet.timestamp) == (far.sent[0].sequence, far.sent[0].timestamp)
    assert packet.ssrc == far.ssrc and packet.source == (far.host, far.port)


def test_what_is_no_rtp_is_a_stray() -> None:
    with w.Wire() as near, w.Wire() as far:
        far.send_raw(b"hello", (near.host, near.port))
        near.drain()
    assert [data for _, data in near.strays] == [b"hello"] and not near.packets


def test_csrc_extension_and_padding_are_not_payload() -> None:
    header = bytes([0x80 | 0x20 | 0x10 | 1, 0]) + bytes(10) + b"csrc" + b"\xbe\xde\x00\x01" + b"exte"
    assert w.parse(header + b"sound" + b"\x00\x00\x03").payload == b"sound"


async def test_play_keeps_the_time_line() -> None:
    with w.Wire() as near, w.Wire() as far:
        far.to = (near.host, near.port)
        far.sequence = 0xFFFE
        asyncio.get_running_loop().add_reader(near, near.drain)
        await far.play(w.frames(bytes(range(250)) * 4), ptime_ms=2)
        near.drain()
        asyncio.get_running_loop().remove_reader(near)
    assert [p.sequence for p in near.packets] == [0xFFFE, 0xFFFF, 0, 1, 2, 3, 4]
    assert [p.marker for p in near.packets] == [True] + [False] * 6
    assert near.heard() == bytes(range(250)) * 4 + b"\xff" * 120
    stamps = [p.timestamp for p in near.packets]
    assert {(b - a) & 0xFFFFFFFF for a, b in itertools.pairwise(stamps)} == {160}


def test_order_survives_the_wrap_and_repeats() -> None:
    def packet(sequence: int) -> w.Packet:
        return w.Packet(0, ("", 0), 0, False, sequence, 0, 0, b"%d " % sequence)

    mixed = [packet(s) for s in (65534, 0, 65535, 1, 0)]
    assert [p.sequence for p in w.in_order(mixed)] == [65534, 65535, 0, 1]


def test_pacing_errors_name_the_late_packet() -> None:
    packets = [w.Packet(i * 20_000_000, ("", 0), 0, False, i, i * 160, 0, b"") for i in range(9)]
    late = packets[4]
    packets[4] = w.Packet(late.t_ns + 7_000_000, ("", 0), 0, False, 4, 640, 0, b"")
    assert w.pacing_errors_ms(packets) == pytest.approx([0, 0, 0, 0, 7, 0, 0, 0, 0])
    assert w.intervals_ms(packets)[3] == pytest.approx(27)


def test_a_key_press_ends_three_times() -> None:
    payloads = w.event_payloads("#", 80)
    assert [p[0] for p in payloads] == [11] * 6
    assert [bool(p[1] & 0x80) for p in payloads] == [False] * 3 + [True] * 3
    assert [int.from_bytes(p[2:]) for p in payloads] == [160, 320, 480, 640, 640, 640]


def test_a_recorder_drains_many_wires_without_a_loop() -> None:
    wires = [w.Wire() for _ in range(5)]
    with w.Wire() as far, w.Recorder(*wires):
        for index, near in enumerate(wires):
            far.to = (near.host, near.port)
            far.send(bytes([index]) * 160)
        deadline = time.monotonic() + 5
        while not all(near.packets for near in wires) and time.monotonic() < deadline:
            time.sleep(0.005)
    assert [near.heard()[:1] for near in wires] == [bytes([i]) for i in range(5)]
    for near in wires:
        near.close()
