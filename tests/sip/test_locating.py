"""Where a URI may be tried: RFC 3263 as a table, weights by lot, hostile answers, servers that failed."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Mapping, Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.sip.advertise import family_of
from bridge.sip.locating import (
    FAMILIES,
    MAX_FAILED,
    MAX_HOSTS,
    MAX_PENALTY_S,
    MAX_PER_HOST,
    MAX_RECORDS,
    MAX_SERVICES,
    MAX_TARGETS,
    Answers,
    Kind,
    Naptr,
    Question,
    Record,
    Srv,
    Target,
    TargetMemory,
    in_order,
    is_host_name,
    locate,
)
from bridge.sip.uri import Uri

ALL = ("UDP", "TCP", "TLS")
V4, V6 = socket.AF_INET, socket.AF_INET6

Zone = Mapping[tuple[str, str], Sequence[Record]]


def find(
    text: str,
    zone: Zone | None = None,
    supported: Sequence[str] = ALL,
    families: Sequence[socket.AddressFamily] = FAMILIES,
    asked: list[Question] | None = None,
) -> list[Target]:
    """The targets of a URI when DNS says `zone`; `asked` collects the questions."""
    steps = locate(Uri.parse(text), supported, Random(1), families)
    answers: Answers | None = None
    while True:
        try:
            questions = steps.send(answers) if answers is not None else next(steps)
        except StopIteration as end:
            found: list[Target] = end.value
            return found
        if asked is not None:
            asked += questions
        answers = [(zone or {}).get((question.name, question.kind), ()) for question in questions]


def shown(targets: Sequence[Target]) -> list[str]:
    return [f"{target.transport} {target.host} {target.port}" for target in targets]


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("sip:192.0.2.1", "UDP 192.0.2.1 5060"),
        ("sip:192.0.2.1:5070", "UDP 192.0.2.1 5070"),
        ("sip:192.0.2.1;transport=tcp", "TCP 192.0.2.1 5060"),
        ("sip:192.0.2.1;transport=TLS", "TLS 192.0.2.1 5061"),
        ("sips:192.0.2.1", "TLS 192.0.2.1 5061"),
        ("sips:192.0.2.1:5062;transport=tcp", "TLS 192.0.2.1 5062"),
        ("sip:a@[2001:db8::1]", "UDP 2001:db8::1 5060"),
        ("sip:a@h.example;maddr=192.0.2.9", "UDP 192.0.2.9 5060"),
        ("sip:a@h.example;maddr=[2001:db8::9]", "UDP 2001:db8::9 5060"),
        ("sip:localhost", "UDP 127.0.0.1 5060"),
        ("sip:agent.localhost:5070", "UDP 127.0.0.1 5070"),
    ],
)
def test_some_uris_need_no_question(uri: str, expected: str) -> None:
    asked: list[Question] = []
    assert shown(find(uri, asked=asked))[0] == expected
    assert not asked


@pytest.mark.parametrize(
    "uri",
    [
        "tel:+12015550123",
        "urn:service:sos",
        "sip:192.0.2.1;transport=sctp",
        "sips:192.0.2.1;transport=udp",
        "sip:224.0.1.75",
        "sip:192.0.2.1;maddr=239.255.255.1",
        "sip:0.0.0.0",
        "sip:255.255.255.255",
        "sip:[ff02::1]",
        "sip:127.1",
        "sip:2130706433",
        "sip:0x7f000001",
        "sip:a..b.example",
        f"sip:{'x' * 64}.example",
        f"sip:{'x.' * 130}example",
        "sip:h.example;maddr=a/b",
    ],
)
def test_some_uris_lead_nowhere_and_nobody_is_asked(uri: str) -> None:
    asked: list[Question] = []
    assert find(uri, asked=asked) == []
    assert not asked


def test_the_name_for_tls_is_the_one_in_the_uri() -> None:
    zone: Zone = {
        ("_sips._tcp.example.com", "SRV"): [Srv(1, 1, 5061, "sbc.carrier.example.")],
        ("sbc.carrier.example", "A"): ["192.0.2.1"],
    }
    assert find("sips:a@Example.com", zone) == [Target("TLS", "192.0.2.1", 5061, "example.com")]
    assert find("sips:example.com;maddr=192.0.2.2") == [Target("TLS", "192.0.2.2", 5061, "example.com")]


def test_without_a_transport_of_ours_there_is_no_way() -> None:
    assert find("sip:192.0.2.1", supported=()) == []
    assert find("sips:192.0.2.1", supported=("UDP", "TCP")) == []
    assert shown(find("sip:192.0.2.1", supported=("TLS",))) == ["TLS 192.0.2.1 5061"]


def test_a_port_means_an_address_and_no_services() -> None:
    asked: list[Question] = []
    zone: Zone = {("pbx.example", "A"): ["192.0.2.1"]}
    assert shown(find("sip:pbx.example:5070;transport=tcp", zone, asked=asked)) == ["TCP 192.0.2.1 5070"]
    assert {question.kind for question in asked} == {Kind.A, Kind.AAAA}
    assert shown(find("sips:pbx.example:5070", zone)) == ["TLS 192.0.2.1 5070"]


def test_naptr_decides_the_transport() -> None:
    zone: Zone = {
        ("example.com", "NAPTR"): [
            Naptr(90, 5, "s", "SIP+D2T", "_sip._tcp.far.example."),
            Naptr(50, 20, "S", "sips+d2t", "_sips._tcp.far.example."),
            Naptr(50, 10, "s", "SIP+D2S", "_sip._sctp.far.example."),
            Naptr(50, 30, "s", "SIP+D2U", "_sip._udp.far.example."),
            Naptr(10, 10, "u", "SIP+D2U", "_sip._udp.wrong.example."),
            Naptr(10, 11, "s", "E2U+sip", "_sip._udp.wrong.example."),
        ],
        ("_sip._udp.wrong.example", "SRV"): [Srv(1, 0, 666, "a.far.example.")],
        ("_sips._tcp.far.example", "SRV"): [Srv(1, 0, 5061, "a.far.example.")],
        ("_sip._udp.far.example", "SRV"): [Srv(1, 0, 5060, "a.far.example.")],
        ("_sip._tcp.far.example", "SRV"): [Srv(1, 0, 5062, "a.far.example.")],
        ("a.far.example", "A"): ["192.0.2.1"],
    }
    assert shown(find("sip:example.com", zone)) == ["TLS 192.0.2.1 5061", "UDP 192.0.2.1 5060", "TCP 192.0.2.1 5062"]
    assert shown(find("sip:example.com", zone, ("TCP", "UDP"))) == ["UDP 192.0.2.1 5060", "TCP 192.0.2.1 5062"]
    assert shown(find("sips:example.com", zone)) == ["TLS 192.0.2.1 5061"]


def test_without_naptr_the_services_of_our_transports_are_asked_for() -> None:
    asked: list[Question] = []
    zone: Zone = {
        ("_sip._tcp.example.com", "SRV"): [Srv(1, 0, 5062, "a.example.com")],
        ("_sip._udp.example.com", "SRV"): [Srv(1, 0, 5064, "a.example.com")],
        ("a.example.com", "A"): ["192.0.2.1"],
    }
    targets = find("sip:example.com", zone, ("TCP", "UDP"), asked=asked)
    assert shown(targets) == ["TCP 192.0.2.1 5062", "UDP 192.0.2.1 5064"]
    assert [question.kind for question in asked] == [Kind.NAPTR, Kind.SRV, Kind.SRV, Kind.A, Kind.AAAA]
    asked.clear()
    assert shown(find("sip:example.com;transport=udp", zone, asked=asked)) == ["UDP 192.0.2.1 5064"]
    assert asked[0] == Question("_sip._udp.example.com", Kind.SRV)


def test_without_any_service_the_name_itself_is_the_server() -> None:
    zone: Zone = {("example.com", "A"): ["192.0.2.1"]}
    assert shown(find("sip:example.com", zone)) == ["UDP 192.0.2.1 5060"]
    assert shown(find("sip:example.com", zone, ("TCP", "TLS"))) == ["TCP 192.0.2.1 5060"]
    assert shown(find("sip:example.com;transport=tcp", zone)) == ["TCP 192.0.2.1 5060"]
    assert shown(find("sips:example.com", zone)) == ["TLS 192.0.2.1 5061"]


def test_a_service_that_is_not_there_is_not_tried_elsewhere() -> None:
    zone: Zone = {("_sip._udp.example.com", "SRV"): [Srv(0, 0, 0, ".")], ("example.com", "A"): ["192.0.2.1"]}
    assert find("sip:example.com;transport=udp", zone) == []
    assert find("sip:example.com", zone) == []
    assert shown(find("sip:example.com;transport=tcp", zone)) == ["TCP 192.0.2.1 5060"]


def test_priorities_come_in_order() -> None:
    zone: dict[tuple[str, str], Sequence[Record]] = {
        ("_sip._udp.example.com", "SRV"): [
            Srv(20, 100, 5060, "c.example.com."),
            Srv(10, 0, 5060, "a.example.com."),
            Srv(15, 1, 5070, "b.example.com."),
        ]
    }
    zone |= {(f"{name}.example.com", "A"): [f"192.0.2.{index}"] for index, name in enumerate("abc", 1)}
    targets = find("sip:example.com;transport=udp", zone)
    assert shown(targets) == ["UDP 192.0.2.1 5060", "UDP 192.0.2.2 5070", "UDP 192.0.2.3 5060"]


def test_both_families_take_turns() -> None:
    ours = ["192.0.2.1", "192.0.2.2", "192.0.2.3"]
    zone: Zone = {("h.example", "A"): ours, ("h.example", "AAAA"): ["2001:db8::1"]}
    hosts = [target.host for target in find("sip:h.example:5060", zone, families=(V6, V4))]
    assert hosts == ["2001:db8::1", *ours]
    hosts = [target.host for target in find("sip:h.example:5060", zone, families=(V4, V6))]
    assert hosts == [ours[0], "2001:db8::1", *ours[1:]]
    asked: list[Question] = []
    assert [target.host for target in find("sip:h.example:5060", zone, families=(V6,), asked=asked)] == ["2001:db8::1"]
    assert Kind.A not in {question.kind for question in asked}
    assert find("sip:192.0.2.1", families=(V6,)) == []


def test_a_name_that_dns_does_not_know_may_be_known_to_the_machine() -> None:
    zone: Zone = {("pbx.office", "SYSTEM"): ["192.0.2.7"], ("asterisk", "SYSTEM"): ["192.0.2.8", "2001:db8::8"]}
    assert shown(find("sip:pbx.office", zone)) == ["UDP 192.0.2.7 5060"]
    asked: list[Question] = []
    hosts = [target.host for target in find("sip:asterisk;transport=tcp", zone, asked=asked)]
    assert hosts == ["192.0.2.8", "2001:db8::8"]
    assert asked == [Question("asterisk", Kind.SYSTEM)]  # a name without a dot is no business of the world's DNS


def test_the_machine_is_not_asked_for_what_a_zone_names() -> None:
    zone: Zone = {
        ("_sip._udp.evil.example", "SRV"): [Srv(1, 1, 22, "database."), Srv(2, 1, 22, "localhost.")],
        ("database", "SYSTEM"): ["10.0.0.5"],
    }
    asked: list[Question] = []
    assert find("sip:evil.example", zone, asked=asked) == []
    assert Kind.SYSTEM not in {question.kind for question in asked}


def test_duplicates_are_dropped() -> None:
    zone: Zone = {
        ("_sip._udp.example.com", "SRV"): [Srv(1, 1, 5060, "a.example.com."), Srv(2, 1, 5060, "b.example.com.")],
        ("a.example.com", "A"): ["192.0.2.1", "192.0.2.1"],
        ("b.example.com", "A"): ["192.0.2.1", "192.0.2.2"],
    }
    hosts = [target.host for target in find("sip:example.com;transport=udp", zone)]
    assert hosts == ["192.0.2.1", "192.0.2.2"]


def test_lots_follow_the_weights() -> None:
    records = [Srv(1, 60, 5060, "heavy"), Srv(1, 20, 5060, "light"), Srv(1, 20, 5061, "light"), Srv(1, 0, 5060, "none")]
    first = Counter(in_order(records, Random(seed))[0].target for seed in range(4000))
    assert 0.55 < first["heavy"] / 4000 < 0.65
    assert 0.35 < first["light"] / 4000 < 0.45
    assert 0 < first["none"] / 4000 < 0.03  # only when the lot is 0: one in 101


services = st.builds(
    Srv, st.integers(0, 3), st.integers(0, 65535), st.integers(0, 65535), st.sampled_from([".", "a.b.", "c.d.", "e.f."])
)


@given(st.lists(services, max_size=70), st.integers())
def test_an_order_keeps_every_record_and_every_priority(records: list[Srv], seed: int) -> None:
    ordered = in_order(records, Random(seed))
    assert Counter(ordered) == Counter(records)
    assert [record.priority for record in ordered] == sorted(record.priority for record in records)


@given(st.integers(0, 65535), st.integers(0, 65535))
def test_a_weight_of_nothing_is_drawn_last_but_for_one_lot(weight: int, seed: int) -> None:
    records = [Srv(1, 0, 1, "none"), Srv(1, weight, 2, "some")]
    lot = Random(seed).randint(0, weight)
    assert (in_order(records, Random(seed))[0].target == "none") == (lot == 0)


names = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        ["a.example.", "example.com", "_sip._udp.example.com.", "10.0.0.1", "x" * 64 + ".y", "a." * 200, ""]
    ),
)
addresses = st.one_of(st.text(max_size=12), st.ip_addresses().map(str), st.sampled_from(["0.0.0.0", "::", "224.0.0.1"]))
records = st.one_of(
    addresses,
    st.builds(Srv, st.integers(0, 65535), st.integers(0, 65535), st.integers(0, 65535), names),
    st.builds(
        Naptr,
        st.integers(0, 65535),
        st.integers(0, 65535),
        st.sampled_from(["s", "S", "", "a", "u"]),
        st.sampled_from(["SIP+D2U", "SIPS+D2T", "sip+d2t", "\ufffd"]),
        names,
    ),
)


@given(
    st.sampled_from(
        ["sip:example.com", "sips:example.com", "sip:example.com:5070", "sip:x", "sip:example.com;transport=tcp"]
    ),
    st.lists(st.lists(records, max_size=40), min_size=1, max_size=8),
    st.integers(),
)
def test_whatever_dns_says_there_are_few_sound_questions_and_targets(
    text: str, rows: list[list[Record]], seed: int
) -> None:
    steps = locate(Uri.parse(text), ALL, Random(seed))
    questions = next(steps)
    for rounds in range(1, 6):
        assert rounds < 5
        assert len(questions) <= 2 * MAX_HOSTS
        assert all(is_host_name(question.name) for question in questions)
        try:
            questions = steps.send([rows[index % len(rows)] for index in range(len(questions))])
        except StopIteration as end:
            targets = end.value
            break
    assert len(targets) <= MAX_TARGETS
    assert len(set(targets)) == len(targets)
    for target in targets:
        assert family_of(target.host) is not None and 0 < target.port < 65536
        assert target.transport == "TLS" or not text.startswith("sips:")


def test_thousands_of_records_are_cut_and_leave_room_for_the_second_server() -> None:
    many = [f"10.0.{index // 256}.{index % 256}" for index in range(1, 5000)]
    zone: Zone = {
        ("_sip._udp.example.com", "SRV"): [Srv(1, 1, 5060, "a.example.com."), Srv(2, 1, 5060, "b.example.com.")],
        ("a.example.com", "A"): many,
        ("b.example.com", "A"): ["192.0.2.2"],
    }
    targets = find("sip:example.com;transport=udp", zone)
    assert len(targets) == MAX_PER_HOST + 1
    assert targets[-1].host == "192.0.2.2"
    every = {(f"h{n}.example.com", "A"): [f"10.0.{n}.{k}" for k in range(9)] for n in range(9)}
    services = [Srv(1, 1, 5060, f"h{n}.example.com.") for n in range(9)]
    assert len(find("sip:example.com;transport=udp", {("_sip._udp.example.com", "SRV"): services, **every})) == 16
    late: Zone = {("h.example", "A"): [*["not an address"] * MAX_RECORDS, "192.0.2.1"]}
    assert find("sip:h.example:5060", late) == []
    flood: Zone = {("_sip._udp.example.com", "SRV"): [Srv(1, 1, 5060, f"h{n}.example.com") for n in range(5000)]}
    asked: list[Question] = []
    assert find("sip:example.com;transport=udp", flood, asked=asked) == []
    assert len(asked) == 1 + 2 * MAX_HOSTS
    rules = [Naptr(1, 1, "s", "SIP+D2U", f"_sip._udp.h{n}.example.com") for n in range(60)]
    asked.clear()
    assert find("sip:example.com", {("example.com", "NAPTR"): rules}, asked=asked) == []
    assert sum(question.kind is Kind.SRV for question in asked) == MAX_SERVICES


def test_names_that_are_numbers_are_refused() -> None:
    assert is_host_name("pbx_1.local") and is_host_name("a.x1") and is_host_name("1.example")
    for text in ("", "a.", ".a", "-a.b", "a b", "a.127", "1.0x7f", "ü.example", "a\n"):
        assert not is_host_name(text), text


def target(number: int) -> Target:
    return Target("UDP", "192.0.2.1", number, "h")


def test_what_failed_is_tried_last_for_a_while() -> None:
    memory = TargetMemory()
    three = [target(1), target(2), target(3)]
    memory.failed(target(1), now=100.0)
    memory.failed(target(2), now=100.0, seconds=5)
    assert memory.order(three, 100.0) == [target(3), target(2), target(1)]
    assert memory.order(three, 105.0) == [target(2), target(3), target(1)]
    assert memory.order(three, 129.9) == [target(2), target(3), target(1)]
    assert memory.order(three, 130.0) == three


def test_the_same_server_under_another_name_has_failed_too() -> None:
    memory = TargetMemory()
    memory.failed(target(1), now=0.0)
    other = Target("UDP", "192.0.2.1", 1, "another.name")
    assert memory.order([other, target(2)], 1.0) == [target(2), other]
    over_tcp = Target("TCP", "192.0.2.1", 1, "h")
    assert memory.order([over_tcp, target(2)], 1.0) == [over_tcp, target(2)]


def test_a_penalty_has_an_end_and_the_memory_a_bound() -> None:
    memory = TargetMemory()
    memory.failed(target(1), now=0.0, seconds=2.0**31)
    memory.failed(target(2), now=0.0, seconds=-5)
    assert memory.order([target(1), target(2)], 0.0) == [target(2), target(1)]
    assert memory.order([target(1), target(2)], MAX_PENALTY_S) == [target(1), target(2)]
    for number in range(3 * MAX_FAILED):
        memory.failed(target(number), now=1.0)
    assert len(memory) <= MAX_FAILED
    assert memory.order([target(0), target(3 * MAX_FAILED - 1)], 2.0)[0] == target(0)
    memory.failed(target(0), now=1000.0)
    assert len(memory) == 1  # what was over went first


def test_who_failed_again_is_not_the_first_to_be_forgotten() -> None:
    memory = TargetMemory()
    for number in (*range(MAX_FAILED - 1), 0, MAX_FAILED, MAX_FAILED + 1):
        memory.failed(target(number), now=0.0)
    assert memory.order([target(0), target(1)], 2.0) == [target(1), target(0)]
