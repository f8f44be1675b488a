"""The caller against a service that loses, swaps, delays and refuses: what it says must be what happened."""

from __future__ import annotations

import base64
import itertools
import json
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from typing import Any

import numpy as np
import pylibsrtp
import pytest

from tests.bench.arrivals import ARRIVAL, Arrivals
from tests.bench.caller import Caller
from tests.bench.caller_options import Options, options_of
from tests.bench.fake_service import FIRST_NUMBER, FakeService, steady
from tests.bench.mmsg import Incoming, Outgoing, Table, send
from tests.bench.percentiles import summary
from tests.bench.sip_text import PAYLOAD_TYPES
from tests.bench.sockets import SO_TIMESTAMPNS, MediaSocket, dropped, media_socket, udp_socket
from tests.bench.streams import STEPS, Streams
from tests.bench.wire_figures import heard, stream_figures, window_figures
from tests.phones.wire import Packet, pacing_errors_ms, parse

HELD_MS = 400.0


def called(service: FakeService, **options: Any) -> dict[str, Any]:
    """The report of one run."""
    with Caller(Options(("127.0.0.1", service.port), **{"rate": 100.0} | options)) as caller:
        return caller.run()


def faulty(call: int, slot: int) -> Iterable[tuple[int, float]]:
    """Call 1 loses two packets, 2 swaps two, 3 sends one twice, 4 holds some back, 5 never sends."""
    if call == 5 or (call == 1 and slot in (45, 46)):
        return []
    if call == 2 and slot in (45, 46):
        return [(45 + 46 - slot, 0)]
    if call == 3 and slot == 45:
        return [(slot, 0), (slot, 0)]
    if call == 4 and 45 <= slot < 45 + HELD_MS / 20:
        return [(slot, HELD_MS - 10 - 19.9 * (slot - 45))]
    return steady(call, slot)


def test_what_is_told_of_faulty_streams_is_what_happened(capsys: pytest.CaptureFixture[str]) -> None:
    with FakeService(faulty) as service:
        told = called(service, calls=6, from_s=0.5, for_s=1.5, heard=True)
    assert json.loads(capsys.readouterr().out) == {"up": 6, "refused": 0}
    assert (told["up"], told["refused"], told["ended"], told["unended"], told["calls"]) == (6, 0, 0, 0, 6)
    assert (told["lost"], told["reordered"], told["duplicates"]) == (2, 1, 1)
    assert (told["streams"], told["silent_calls"], told["dropped"], told["strangers"]) == (5, 1, 0, 0)
    assert told["gaps_over_40_ms"] >= 3 and told["gaps_over_100_ms"] >= 2
    assert told["pacing_ms"]["max"] >= HELD_MS - 40 and told["pacing_ms"]["count"] == told["received"]
    # Five streams of 75 packets: two lost, one more. The edges of the window may cut off one more on either side.
    assert 360 <= told["received"] <= 390 and 430 <= told["sent"] <= 470
    missing = {call: gap for call, response, _, _, _, gap in told["heard"] if response == 1}
    assert missing == {0: 0, 1: 2, 2: 0, 3: 0, 4: 0}
    assert all(last - first <= 1.5e9 for _, _, _, first, last, _ in told["heard"])
    assert {response for _, response, *_ in told["heard"]} >= {1, 2}
    assert told["downlink_ms"]["count"] >= 5 and 0 < told["downlink_ms"]["p50"] < 100


def test_each_packet_says_whose_it_is_and_when_it_left() -> None:
    with FakeService() as service:
        told = called(service, calls=3, from_s=0.1, for_s=0.5, law="pcma")
        lines = list(service.lines.values())
    assert [line.number for line in lines] == [0, 1, 2] and told["sent"] > 60
    for line in lines:
        packets = [parse(datagram) for datagram in line.received]
        assert len(packets) >= 25
        assert [p.marker for p in packets] == [True] + [False] * (len(packets) - 1)
        assert {p.payload_type for p in packets} == {PAYLOAD_TYPES["pcma"]} and len({p.ssrc for p in packets}) == 1
        heads = [struct.unpack_from("!4sIIIQ", p.payload) for p in packets]
        for index, (packet, (magic, call, frame, zero, _)) in enumerate(zip(packets, heads, strict=True)):
            assert (magic, call, frame, zero, len(packet.payload)) == (b"SBup", line.number, index, 0, 160)
            assert packet.sequence == (packets[0].sequence + index) & 0xFFFF
            assert packet.timestamp == (packets[0].timestamp + 160 * index) & 0xFFFFFFFF
        times = [head[4] for head in heads]
        assert times == sorted(times) and abs(times[-1] - time.time_ns()) < 10e9
        assert abs((times[-1] - times[0]) / 1e6 / (len(times) - 1) - 20) < 2
        assert len(set(packets[0].payload[24:])) > 50


def test_refusals_are_told_by_status_and_cause_and_acknowledged() -> None:
    with FakeService(refuse=(1, 2)) as service:
        told = called(service, calls=4, from_s=0.05, for_s=0.2)
        methods = [method for method, _ in service.requests]
    assert (told["up"], told["refused"], told["placed"]) == (2, 2, 4)
    assert told["refusals"] == {"503": 2} and told["reasons"] == {"503 too busy": 2}
    assert methods.count("ACK") == 4 and methods.count("BYE") == 2


def test_what_still_rings_is_given_up_at_the_end() -> None:
    with FakeService(ring=(1,)) as service:
        with Caller(Options(("127.0.0.1", service.port), calls=2)) as caller:
            later = threading.Timer(0.8, caller.order, (signal.SIGTERM,))
            later.start()
            told = caller.run()
            later.join()
    methods = [method for method, _ in service.requests]
    assert (told["up"], told["refused"], told["cancelled"], told["repeats"]) == (1, 0, 1, 0)
    assert told["ringing_ms"]["count"] == 1
    assert methods.count("CANCEL") == 1 and methods.count("ACK") == 2 and methods.count("INVITE") == 2


def test_a_lost_invite_is_sent_again_after_t1() -> None:
    with FakeService(mute=1) as service:
        told = called(service, from_s=0.05, for_s=0.2)
    assert (told["up"], told["repeats"]) == (1, 1)
    assert 500 <= told["setup_ms"]["max"] < 1000


def test_calls_that_the_service_ends_are_counted() -> None:
    ended: list[str] = []

    def plan(call: int, slot: int) -> Iterable[tuple[int, float]]:
        if call == 1 and slot == 25:
            line = list(service.lines.values())[1]
            service.hang_up(line)
            ended.append(line.invite["Call-ID"])
        return steady(call, slot)

    with FakeService(plan) as service:
        told = called(service, calls=3, from_s=0.2, for_s=0.8)
        byes = [call_id for method, call_id in service.requests if method == "BYE"]
        answered = [call_id for method, call_id in service.requests if method == "SIP/2.0"]
    assert (told["up"], told["ended"], told["ended_in_window"], told["calls"]) == (3, 1, 1, 2)
    assert answered == ended and not set(byes) & set(ended) and len(byes) == 2
    assert told["silent_calls"] == 0


def test_churn_replaces_each_call_that_is_over() -> None:
    with FakeService() as service:
        told = called(service, calls=3, hold_s=0.3, from_s=0.1, for_s=1.4)
        methods = [method for method, _ in service.requests]
    # In 1.5 s each of three places has seen five calls begin.
    assert 12 <= told["placed"] <= 18 and told["answered_in_window"] >= 9
    assert told["placing_late_ms"]["max"] < 100
    assert told["refused"] == told["ended"] == told["unended"] == told["repeats"] == 0
    assert methods.count("BYE") == told["up"] and told["lost"] == 0


def test_set_ups_come_at_their_rate_and_send_next_to_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with FakeService() as service:
        told = called(service, rate=40.0, for_s=1.5, hold_s=0.4, setups=True)
        lines = list(service.lines.values())
    assert 55 <= told["placed"] <= 62 and told["up"] == told["placed"] == told["setup_ms"]["count"]
    assert told["answered_in_window"] == told["up"]
    assert {len(line.received) for line in lines[:40]} == {1} and told["received"] > 500
    assert capsys.readouterr().out == ""


def test_the_program_obeys_signals() -> None:
    with FakeService() as service:
        command = [sys.executable, "-m", "tests.bench.caller", "--target", f"127.0.0.1:{service.port}"]
        with subprocess.Popen([*command, "--calls", "2"], stdout=subprocess.PIPE, text=True) as program:
            assert program.stdout is not None
            assert json.loads(program.stdout.readline()) == {"up": 2, "refused": 0}
            for number, seconds in ((signal.SIGUSR1, 0.5), (signal.SIGUSR1, 0.3), (signal.SIGUSR2, 0.2)):
                program.send_signal(number)
                time.sleep(seconds)
            program.send_signal(signal.SIGTERM)
            told = json.loads(program.stdout.readline())
            assert program.wait(10) == 0
    # The second window is the one that counts.
    assert 0.25 < told["window_s"] < 0.45 and 20 <= told["sent"] <= 50 and told["cpu_s"] > 0
    assert told["late_ms"]["count"] > 200 and "heard" not in told
    assert [method for method, _ in service.requests].count("BYE") == 2


def test_set_ups_need_a_length_and_a_hold() -> None:
    with pytest.raises(SystemExit):
        options_of(["--target", "a:1", "--setups-per-s", "10", "--for-s", "1"])
    assert options_of(["--target", "127.0.0.1:5060", "--setups-per-s", "10", "--for-s", "1", "--hold-s", "2"]).setups


def test_a_sealed_stream_can_be_opened_with_the_key_of_the_offer() -> None:
    offers: list[str] = []
    options: dict[str, Any] = {"calls": 2, "srtp": True, "from_s": 0.1, "for_s": 0.3}
    with FakeService() as service, Caller(Options(("127.0.0.1", service.port), **options)) as caller:
        place = caller._sip.place

        def noted(number: int, sdp: str, now: float) -> None:
            offers.append(sdp)
            place(number, sdp, now)

        caller._sip.place = noted  # type: ignore[method-assign]
        told = caller.run()
        lines = list(service.lines.values())
    assert told["sent"] > 20 and told["received"] > 20
    for line, sdp in zip(lines, offers, strict=True):
        key = re.search(r"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:(\S+)", sdp)
        assert key is not None and "RTP/SAVP" in sdp
        kind = pylibsrtp.Policy.SSRC_ANY_INBOUND
        session = pylibsrtp.Session(pylibsrtp.Policy(key=base64.b64decode(key[1]), ssrc_type=kind))
        payloads = [parse(session.unprotect(datagram)).payload for datagram in line.received]
        assert [struct.unpack_from("!4sII", payload) for payload in payloads] == [
            (b"SBup", line.number, index) for index in range(len(payloads))
        ]


# The parts.


def rows_of(*packets: tuple[float, int], call: int = 0) -> Table:
    """Packets (ms of arrival, number) of one stream that wraps in number and timestamp."""
    rows = np.zeros(len(packets), ARRIVAL)
    numbers = np.array([number for _, number in packets])
    rows["t_ns"] = [int(ms * 1e6) + 10**18 for ms, _ in packets]
    rows["sequence"] = (FIRST_NUMBER + numbers) & 0xFFFF
    rows["timestamp"] = (2**32 - 480 + 160 * numbers) & 0xFFFFFFFF
    rows["call"] = call
    return rows


def test_pacing_errors_are_those_of_the_test_phones() -> None:
    chosen = np.random.default_rng(7)
    rows = rows_of(*((20 * n + float(chosen.exponential(2)), n) for n in range(500)))
    packets = [
        Packet(int(row["t_ns"]), ("", 0), 0, False, int(row["sequence"]), int(row["timestamp"]), 0, b"") for row in rows
    ]
    figures = stream_figures(rows)
    assert figures.pacing_ms == pytest.approx(pacing_errors_ms(packets), abs=1e-6)
    assert figures.intervals_ms == pytest.approx([(b.t_ns - a.t_ns) / 1e6 - 20 for a, b in itertools.pairwise(packets)])
    assert (figures.lost, figures.reordered, figures.duplicates) == (0, 0, 0)


@pytest.mark.parametrize(
    ("numbers", "lost", "reordered", "duplicates"),
    [
        ([0, 1, 2, 3, 9, 10], 5, 0, 0),
        ([0, 2, 1, 3], 0, 1, 0),
        ([0, 3, 1, 2, 4], 0, 2, 0),
        ([0, 1, 1, 2], 0, 0, 1),
        ([0, 1, 2, 1, 3], 0, 0, 1),
        ([1, 0, 2], 0, 1, 0),
        ([3, 4, 7, 6, 6, 9], 2, 1, 1),
        ([5], 0, 0, 0),
    ],
)
def test_loss_order_and_repeats_of_a_stream(numbers: list[int], lost: int, reordered: int, duplicates: int) -> None:
    figures = stream_figures(rows_of(*((20 * place, number) for place, number in enumerate(numbers))))
    assert (figures.lost, figures.reordered, figures.duplicates) == (lost, reordered, duplicates)


def test_gaps_count_from_edge_to_edge_of_the_window() -> None:
    begun = 10**18
    rows = np.concatenate(
        [
            rows_of(*((20 * n, n) for n in range(50)), call=1),
            rows_of((0, 0), (20, 1), (61, 3), (161, 4), (262, 5), (980, 6), call=2),
            rows_of((500, 0), (520, 1), call=3),
            rows_of((500, 0), (520, 1), call=4),
        ]
    )
    chosen = np.random.default_rng(3).permutation(4)
    shuffled = np.concatenate([rows[rows["call"] == call + 1] for call in chosen])
    told = window_figures(shuffled, begun, begun + 10**9, {1, 2, 3, 5})
    # Of call 2: 41, 100, 101 and 718 ms; of 3: both edges; of 4, which was not up all the time: nothing; of 5: all.
    assert (told["gaps_over_40_ms"], told["gaps_over_100_ms"]) == (7, 5)
    assert (told["longest_gap_ms"], told["silent_calls"], told["streams"]) == (1000.0, 1, 4)
    assert (told["lost"], told["received"]) == (1, 60)


def test_nothing_at_all_has_figures_too() -> None:
    told = window_figures(np.zeros(0, ARRIVAL), 0, 10**9, ())
    assert (told["received"], told["lost"], told["gaps_over_100_ms"]) == (0, 0, 0)
    assert heard(np.zeros(0, ARRIVAL)) == []


def test_heard_tells_each_answer_of_each_call() -> None:
    rows = rows_of(*((20 * n, n) for n in range(8)))
    rows["call"] = [7, 7, 8, 7, 8, 7, 7, 8]
    rows["response"] = [1, 1, 1, 0, 1, 2, 2, 1]
    rows["frame"] = [0, 1, 0, 9, 3, 4, 7, 5]
    start = 10**18
    assert heard(rows) == [
        [7, 1, 2, start, start + 20_000_000, 0],
        [7, 2, 2, start + 100_000_000, start + 120_000_000, 2],
        [8, 1, 3, start + 40_000_000, start + 140_000_000, 3],
    ]


def test_summary_gives_values_that_occurred() -> None:
    assert summary([5.0, 1.0, 3.0]) == {"count": 3, "p50": 3.0, "p99": 5.0, "p99_9": 5.0, "max": 5.0}
    assert summary(range(10_001)) == {"count": 10_001, "p50": 5000.0, "p99": 9900.0, "p99_9": 9990.0, "max": 10_000.0}
    assert summary([]) == {"count": 0, "p50": 0.0, "p99": 0.0, "p99_9": 0.0, "max": 0.0}


def test_batches_carry_datagrams_sources_and_kernel_stamps() -> None:
    with udp_socket("127.0.0.1") as ours, udp_socket("127.0.0.1") as theirs:
        packets = np.arange(700 * 20, dtype=np.uint16).view(np.uint8).reshape(700, 40)
        wire = Outgoing(packets)
        time.sleep(0.05)  # the kernel begins to stamp a moment after it was asked for the first time
        wire.to["port"], wire.to["address"] = theirs.getsockname()[1], 0x7F000001
        chosen = np.arange(0, 700, 2)
        before = time.time_ns()
        assert send(ours.fileno(), wire.headers(chosen)) == 350
        after, batch, got, stamps = time.time_ns(), Incoming(), [], []
        while count := batch.receive(theirs.fileno()):
            got.append(batch.datagrams[:count, :40].copy())
            stamps += batch.times(count).tolist()
            assert set(batch.ports[:count]) == {ours.getsockname()[1]} and set(batch.lengths[:count]) == {40}
        assert [len(each) for each in got] == [256, 94]
        assert np.array_equal(np.concatenate(got), packets[chosen])
        assert before <= stamps[0] and stamps[-1] <= after and stamps == sorted(stamps)


def test_only_known_packets_are_kept_and_only_whole_heads_believed() -> None:
    opened = media_socket("127.0.0.1")
    try:
        with udp_socket("127.0.0.1") as known, udp_socket("127.0.0.1") as stranger:
            arrivals = Arrivals([opened])
            arrivals.expect(9, 0, known.getsockname()[1])

            def packet(second: int = 0, magic: bytes = b"SBdn", zero: int = 0, t_ns: int = 1, size: int = 172) -> bytes:
                head = struct.pack("!BBHII4sIIIQ", 0x80, second, 5, 800, 1, magic, 3, 0, zero, t_ns)
                return head.ljust(size, b"\x55")[:size]

            arrivals.begin()
            for sent in (
                packet(),
                packet(size=40),
                packet(zero=1),
                packet(magic=b"SBup"),
                packet(t_ns=0),
                packet(second=200),
                packet(second=0x80),
            ):
                known.sendto(sent, ("127.0.0.1", opened.port))
            stranger.sendto(packet(), ("127.0.0.1", opened.port))
            known.sendto(b"\0" * 172, ("127.0.0.1", opened.port))
            arrivals.drain(0)
            # Too short for a head of its own: what lay there before must not be taken for it.
            known.sendto(packet(size=24), ("127.0.0.1", opened.port))
            arrivals.drain(0)
            arrivals.forget(9, 0, known.getsockname()[1])
            known.sendto(packet(), ("127.0.0.1", opened.port))
            arrivals.drain(0)
            assert arrivals.end() == 0
            known.sendto(packet(), ("127.0.0.1", opened.port))
            arrivals.drain(0)
        rows = arrivals.rows()
        assert rows["response"].tolist() == [3, 3, 0, 0, 3, 3, 0] and set(rows["call"]) == {9}
        assert rows["marker"].tolist() == [0, 0, 0, 0, 0, 1, 0]
        assert arrivals.strangers == 4
        assert sum(map(len, arrivals.latencies_ms)) == 3
    finally:
        opened.close()


def test_what_the_own_buffer_drops_is_known() -> None:
    with udp_socket("127.0.0.1") as small, udp_socket("127.0.0.1") as sender:
        small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        assert dropped(small) == 0
        for _ in range(100):
            sender.sendto(b"x" * 172, small.getsockname())
        assert 50 < dropped(small) < 100
        assert small.getsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS) == 1


def test_calls_are_spread_over_the_steps_and_late_ones_left_out() -> None:
    sockets = [media_socket("127.0.0.1") for _ in range(4)]
    try:
        streams = Streams(45, sockets, 0)
        used = [streams.place(call) for call in range(45)]
        with pytest.raises(IndexError):
            streams.place(45)
        far = ("127.0.0.1", sockets[0].port)
        for call in range(45):
            streams.open(call, far, None)
        left = []
        for tick in range(2 * STEPS):
            before = streams.sent
            streams.step(tick, late=False)
            left.append(streams.sent - before)
        assert set(left) == {2, 3} and sum(left) == 90
        streams.step(0, late=True)
        assert (streams.sent, streams.skipped) == (90, left[0])
        streams.close(44)
        streams.close(44)
        assert streams.place(45) == used[44]
        numbers = sorted(set(used))
        assert numbers == [0, 1, 2, 3] and _first_is_even(sockets)
    finally:
        for opened in sockets:
            opened.close()


def _first_is_even(sockets: list[MediaSocket]) -> bool:
    return all(opened.port % 2 == 0 and opened.rtcp.getsockname()[1] == opened.port + 1 for opened in sockets)


def test_a_skipped_packet_costs_time_but_no_number() -> None:
    opened = media_socket("127.0.0.1")
    try:
        with udp_socket("127.0.0.1") as far:
            streams = Streams(1, [opened], 0)
            streams.place(0)
            streams.open(0, far.getsockname(), None)
            for late in (False, True, False):
                for tick in range(STEPS):
                    streams.step(tick, late)
            first, second = (parse(far.recv(2048)) for _ in range(2))
        assert (second.sequence - first.sequence) & 0xFFFF == 1
        assert (second.timestamp - first.timestamp) & 0xFFFFFFFF == 320
    finally:
        opened.close()
