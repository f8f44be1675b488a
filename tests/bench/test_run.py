"""The benchmark itself, small: it runs, says what it saw, and says when a window was not what it should be."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from bridge.settings import load
from tests.bench import machine
from tests.bench.bench_service import CpuTime, Memory, Ports, config, cpu_time, memory
from tests.bench.cases import CASES, Traffic, named
from tests.bench.programs import Pinned, ProgramFailed
from tests.bench.reports import CallerReport, ServerReport, faults, generator_limits
from tests.bench.run import Measured, Seen, told
from tests.bench.table import Row, document, table

SUMMARY = {"count": 100, "p50": 0.1, "p99": 1.0, "p99_9": 2.0, "max": 3.0}
CALLER = CallerReport(100, 0, {}, 0, 5000, 5000, 0, 0, 0, 0, 0, 1.0, SUMMARY, SUMMARY, SUMMARY, SUMMARY)
SERVER = ServerReport(5000, 800_000, 0, 0, 1.0, SUMMARY, SUMMARY)
PLAIN = Traffic()


def measured(**changes: Any) -> Measured:
    seen = Seen((0, 10_000_000_000), CpuTime(3.0, 1.0, 0.1), 0.05, Memory(100_000, 90_000), {})
    return replace(Measured(100, seen, CALLER, SERVER, (), ()), **changes)


# A whole run


def test_a_run_prints_a_table_and_writes_all_figures(tmp_path: Path) -> None:
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        pytest.skip("service and load need a core each")
    path = tmp_path / "bench.json"
    command = [sys.executable, "-m", "tests.bench", "--plain", "--cases", "append-20", "--calls", "3", "--seconds", "2"]
    command += ["--json", str(path), "--service-core", str(cores[0]), "--load-cores", str(cores[1])]
    ran = subprocess.run(command, cwd=machine.ROOT, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    assert [line.split()[:2] for line in ran.stdout.splitlines() if line.startswith("append-20")] == [
        ["append-20", "3"]
    ]
    figures = json.loads(path.read_text())
    (row,) = figures["rows"]
    seen = row["measured"]
    assert seen["caller"]["up"] == 3 and seen["caller"]["refused"] == 0
    # Two seconds of three calls are 300 packets each way; a busy machine may keep some back.
    assert 200 <= seen["caller"]["sent"] <= 330
    assert 200 <= seen["caller"]["received"] <= 330
    assert abs(seen["server"]["appends"] - seen["caller"]["sent"]) <= 30
    assert seen["server"]["uplink_ms"]["count"] > 0
    assert 0 < seen["cpu_share"] < 1
    assert figures["machine"]["cores"] == os.cpu_count()


def test_every_case_has_a_configuration_that_the_service_takes(tmp_path: Path) -> None:
    for traffic in {case.traffic for case in CASES}:
        path = tmp_path / "sipbridge.yaml"
        provider = "wss://127.0.0.1:4433/v1/realtime" if traffic.tls else "ws://127.0.0.1:8080/v1/realtime"
        path.write_text(yaml.safe_dump(config(traffic, provider, Ports(5060, 8081, 20000), tmp_path)))
        settings = load(path, {})
        assert settings.media.append_ms == traffic.append_ms
        assert settings.agents["bench"].record == traffic.record
        assert (settings.agents["bench"].server.g711 is False) == traffic.pcm


def test_a_program_that_ends_early_says_why(tmp_path: Path) -> None:
    words = "import sys; sys.exit('no port is free')"
    with Pinned([sys.executable, "-c", words], list(os.sched_getaffinity(0)), tmp_path / "log") as program:
        with pytest.raises(ProgramFailed, match="no port is free"):
            program.line(20)


def test_a_child_runs_on_its_cores_and_we_on_ours(tmp_path: Path) -> None:
    ours = os.sched_getaffinity(0)
    words = "import json, os; print(json.dumps({'cores': list(os.sched_getaffinity(0))}))"
    with Pinned([sys.executable, "-c", words], [max(ours)], tmp_path / "log") as program:
        assert program.line(20) == {"cores": [max(ours)]}
    assert os.sched_getaffinity(0) == ours


# What was seen of the machine


def test_cpu_time_and_memory_are_those_of_the_process() -> None:
    before = cpu_time(os.getpid())
    block = bytearray(os.urandom(1)) * (32 << 20)
    sum(range(1_000_000))
    used = cpu_time(os.getpid()) - before
    assert 0 < used.all_s < 30
    assert memory(os.getpid()).rss_kib > len(block) // 1024
    assert abs(machine.cpu_s(os.getpid()) - sum(os.times()[:2])) < 0.2


def test_others_are_processes_that_are_not_ours() -> None:
    clocks = iter([{1: 50.0, 2: 7.0, 3: 1.0}, {1: 54.0, 2: 9.0, 4: 0.5}])
    stats, now = iter([_stat(stolen=10), _stat(stolen=20)]), iter([100.0, 110.0])
    others = machine.Foreign(lambda: [1], lambda: next(clocks), lambda: next(stats), lambda: next(now))
    # 4 s were ours, 2 s another's, half a second one's that began meanwhile; the host took a tenth of one.
    assert others.cores() == pytest.approx(0.25 + 0.01)


def test_others_that_cannot_be_seen_show_in_the_wait_for_the_core() -> None:
    quiet = measured().seen
    for waited_s, noisy in ((0.1, False), (0.3, True)):
        assert measured(seen=replace(quiet, cpu=replace(quiet.cpu, waited_s=waited_s))).noisy is noisy


def test_a_program_of_ours_that_has_ended_is_not_another() -> None:
    programs: list[subprocess.Popen[bytes]] = []

    def clocks() -> dict[int, float]:
        return {each.pid: machine.cpu_s(each.pid) for each in programs if Path(f"/proc/{each.pid}").exists()}

    def own() -> list[int]:
        return [each.pid for each in programs if each.poll() is None]

    others = machine.Foreign(own, clocks, lambda: _stat(stolen=10))
    programs.append(subprocess.Popen([sys.executable, "-c", "sum(range(3_000_000))"]))
    os.waitid(os.P_PID, programs[0].pid, os.WEXITED | os.WNOWAIT)
    assert clocks(), "nobody has waited for it yet: its clock is still there"
    assert others.cores() == 0


def test_every_process_has_a_clock() -> None:
    clocks = machine.processes()
    assert os.getpid() in clocks and os.getppid() in clocks
    assert clocks[os.getpid()] == pytest.approx(machine.cpu_s(os.getpid()), abs=0.5)


def _stat(stolen: int) -> str:
    tick = os.sysconf("SC_CLK_TCK") // 100
    return f"cpu  700 10 10 99 99 10 0 {stolen * tick} 0 0\ncpu0 1 0\n"


def test_the_processor_has_a_name_or_an_architecture() -> None:
    assert machine.cpu_model("processor : 0\nmodel name\t: Some CPU @ 2GHz\n") == "Some CPU @ 2GHz"
    assert machine.cpu_model("processor : 0\n")


# What is carried


def test_a_clean_window_is_carried() -> None:
    assert faults(PLAIN, 10, CALLER, SERVER, {}) == []
    assert generator_limits(CALLER, SERVER, 10.0, 1) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"refused": 2, "refusals": {"overloaded": 2}}, "2 refused (overloaded)"),
        ({"ended": 1}, "1 ended"),
        ({"lost": 1}, "1 RTP lost"),
        ({"reordered": 1}, "1 RTP out of order"),
        ({"duplicates": 2}, "2 RTP twice"),
        ({"downlink_ms": {}}, "no answer heard"),
        ({"gaps_over_100_ms": 3}, "3 gaps over 100 ms"),
        ({"pacing_ms": SUMMARY | {"p99": 5.01}}, "pacing p99 5.0 ms"),
        ({"sent": 5000 + 31}, "1 uplink frames missing"),
        ({"sent": 5000 - 31}, "1 uplink frames missing"),
    ],
)
def test_what_the_caller_misses_is_a_fault(changes: dict[str, Any], said: str) -> None:
    assert faults(PLAIN, 10, replace(CALLER, **changes), SERVER, {}) == [said]


def test_what_goes_missing_upwards_is_a_fault() -> None:
    assert faults(PLAIN, 10, replace(CALLER, downlink_ms={}), SERVER, {}, seconds=5) == []
    assert faults(PLAIN, 10, CALLER, replace(SERVER, breaks=1), {}) == ["1 uplink frames lost or twice"]
    assert faults(PLAIN, 10, CALLER, SERVER, {"sipbridge_rtp_lost_total": 1}) == ["1 RTP lost upwards"]
    assert faults(PLAIN, 10, CALLER, SERVER, {"sipbridge_pacer_skipped_slots_total": 4}) == ["4 slots skipped"]
    dropped = {"sipbridge_uplink_dropped_bytes_total": 160}
    assert faults(PLAIN, 10, CALLER, SERVER, dropped) == ["160 uplink bytes dropped"]


def test_longer_appends_and_pcm_are_counted_in_frames() -> None:
    long = Traffic(append_ms=100)
    assert faults(long, 10, replace(CALLER, sent=5070), SERVER, {}) == []
    assert faults(long, 10, replace(CALLER, sent=5071), SERVER, {}) == ["1 uplink frames missing"]
    assert faults(Traffic(pcm=True), 10, CALLER, replace(SERVER, audio_bytes=5000 * 960), {}) == []


@pytest.mark.parametrize(
    ("caller", "server", "cores", "said"),
    [
        ({"cpu_s": 9.1}, {"cpu_s": 0.0}, 1, ["caller 91% of a core", "caller and server 91% of a core"]),
        ({"cpu_s": 5.0}, {"cpu_s": 4.5}, 1, ["caller and server 95% of a core"]),
        ({"cpu_s": 5.0}, {"cpu_s": 4.5}, 2, []),
        ({"late_ms": SUMMARY | {"p99": 2.5}}, {}, 1, ["caller late by 2.5 ms"]),
        ({}, {"late_ms": SUMMARY | {"p99": 2.5}}, 1, ["server late by 2.5 ms"]),
        ({"dropped": 7}, {}, 1, ["caller dropped 7"]),
    ],
)
def test_the_generator_tells_its_own_limit(
    caller: dict[str, Any], server: dict[str, Any], cores: int, said: list[str]
) -> None:
    assert generator_limits(replace(CALLER, **caller), replace(SERVER, **server), 10.0, cores) == said


# What is told


def test_a_row_tells_cost_latencies_and_what_was_wrong() -> None:
    assert measured().us_per_call == pytest.approx(3000)
    row = Row.of("append-20", measured(), "200 calls per core")
    assert row.figures == ("30.0", "3000", "1.00", "2.00", "0.10", "1.00", "0.10", "1.00")
    assert row.result == "200 calls per core"
    noisy = replace(measured().seen, foreign=0.5)
    bad = Row.of("tls", measured(seen=noisy, faults=("1 RTP lost",), generator=("caller dropped 7",)))
    assert bad.result == "1 RTP lost, generator: caller dropped 7, noisy: others used 0.5 cores"
    assert told(measured(faults=("1 RTP lost",))) == "core 30%, pacing p99 1.00 ms, 1 RTP lost"


def test_a_latency_that_nobody_measured_is_left_empty() -> None:
    pcm = measured(server=replace(SERVER, uplink_ms=SUMMARY | {"count": 0, "p50": 0.0, "p99": 0.0}))
    assert Row.of("pcm", pcm).figures[4:6] == ("", "")


def test_the_columns_of_the_table_stand_under_their_heads() -> None:
    rows = [Row.of("append-20", measured(), "a"), Row("set-ups", 0, "b")]
    about = {"cpu": "Some CPU", "cores": 2}
    first, head, _, *lines = table(rows, about).splitlines()
    assert first == "Some CPU, 2"
    result, core = head.index("result"), head.index("core %") + len("core %")
    assert [line[result:] for line in lines] == ["a", "b"]
    assert lines[0][:core].endswith(" 30.0")


def test_the_document_has_all_figures_and_no_long_lists() -> None:
    heard = replace(CALLER, heard=((1, 1, 400, 5, 6, 0),))
    (row,) = json.loads(json.dumps(document([Row.of("latency", measured(caller=heard))], {}, {})))["rows"]
    assert row["measured"]["carried"] is True and row["measured"]["us_per_call_and_second"] == pytest.approx(3000)
    assert row["measured"]["caller"]["pacing_ms"] == SUMMARY
    assert "heard" not in row["measured"]["caller"] and "truncates" not in row["measured"]["server"]


def test_cases_are_chosen_by_name() -> None:
    assert [case.name for case in named("tls,append-20")] == ["append-20", "tls"]
    assert named("") == list(CASES)
    with pytest.raises(ValueError, match="no case nonsense"):
        named("tls,nonsense")
