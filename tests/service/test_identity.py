"""Who calls and by which route, through the whole service: session, log, metric, answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bridge.agent.server import AgentSession
from tests.phones.rawphone import RawPhone
from tests.service.rig import bench, ended

SILENT = "vad: false"
AGENT = {
    "instructions": "Customer {header[X-Customer]}, number {caller}, sent on by {diverted_from}.",
    "greeting": "Greet {caller_name}.",
}
TRUNKS = {"pbx": {"peers": ["127.0.0.0/8"], "headers": ["X-Customer"]}}
ROUTES = [{"to": "7*", "agent": "test"}, {"header": {"X-Customer": "7?"}, "trunk": "pbx", "agent": "test"}]
HEADERS = [
    'P-Asserted-Identity: "Ada" <tel:+49-30-1>',
    "X-Customer: 77",
    "X-Secret: not to be told",
    "Diversion: <sip:200@pbx.example>;reason=user-busy",
]


def sent(session: AgentSession, kind: str) -> dict[str, Any]:
    """The first message of a kind that the bridge sent."""
    return next(event for _, event in session.received if event["type"] == kind)


async def test_chosen_headers_and_the_caller_reach_session_and_log(tmp_path: Path) -> None:
    log = {"callers": True}
    async with bench(tmp_path, SILENT, agent=AGENT, trunks=TRUNKS, routes=ROUTES, log=log) as (service, server):
        async with RawPhone() as phone:
            await phone.invite("127.0.0.1", service.sip_port, headers=HEADERS)
            await phone.bye()
        session = await ended(server.sessions[0])
        await service.until('sipbridge_calls_total{reason="caller_hung_up"}', 1)
        record = service.events("call.ended")[0]
        assert "not to be told" not in service.said(1_000_000)
    told = sent(session, "session.update")["session"]
    assert told["instructions"] == "Customer 77, number +49301, sent on by 200."
    asked = sent(session, "response.create")["response"]
    assert asked["instructions"].endswith("Greet Ada.")
    expected = {"X-Customer": "77", "caller": "+49301", "caller_name": "Ada", "diverted_from": "200"}
    assert asked["metadata"] == expected | {"purpose": "greeting"}
    known = {"trunk": "pbx", "route": 2, "headers": {"X-Customer": "77"}, "caller": "+49301", "called": "600"}
    assert known.items() <= record.items()


async def test_a_withheld_number_goes_nowhere(tmp_path: Path) -> None:
    agent = AGENT | {"greeting": "Greet {caller} {caller_name}."}
    log = {"callers": True}
    async with bench(tmp_path, SILENT, agent=agent, trunks=TRUNKS, log=log) as (service, server):
        async with RawPhone(user="4915112345") as phone:
            await phone.invite("127.0.0.1", service.sip_port, headers=["Privacy: id"])
            await phone.bye()
        session = await ended(server.sessions[0])
        assert "4915112345" not in service.said(1_000_000)
    assert "4915112345" not in str(session.received)
    assert "number anonymous," in sent(session, "session.update")["session"]["instructions"]


async def test_a_refusal_has_one_word_in_answer_metric_and_log(tmp_path: Path) -> None:
    trunks = {"pbx": {"peers": ["127.0.0.0/8"], "calls": 1}}
    async with bench(tmp_path, SILENT, trunks=trunks) as (service, _), RawPhone() as first, RawPhone() as second:
        await first.invite("127.0.0.1", service.sip_port)
        answer = await second.invite("127.0.0.1", service.sip_port)
        word = "too_many_calls_of_trunk"
        assert (answer.status, answer.header("Warning")) == (503, f'399 sipbridge "{word}"')
        assert (await service.metrics())[f'sipbridge_refusals_total{{reason="{word}"}}'] == 1
        assert service.events("call.refused")[0]["reason"] == word
        await first.bye()
        await service.until('sipbridge_calls_total{reason="caller_hung_up"}', 1)
        assert (await second.invite("127.0.0.1", service.sip_port)).status == 200, "there is room again"
        await second.bye()


async def test_a_number_without_a_route_is_told_why(tmp_path: Path) -> None:
    async with bench(tmp_path, SILENT, routes=[{"to": "7*", "agent": "test"}]) as (service, _), RawPhone() as phone:
        answer = await phone.invite("127.0.0.1", service.sip_port)
        assert (answer.status, answer.header("Warning")) == (404, '399 sipbridge "no_route"')
