"""Tools of the application: a real HTTP server at the far end of the service that a caller and a scripted model use."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import time
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from bridge.agent.patterns import locate
from bridge.agent.server import AgentSession
from bridge.tools.request import DELIVERY
from bridge.tools.signature import HEADER, signature
from tests.phones.certificates import Authority
from tests.phones.processes import NotReady
from tests.phones.rawpeer import RawPeer
from tests.phones.wire import Packet
from tests.service.rig import Service, bench, ended
from tests.service.transfers import ENDED, OUTCOME, results
from tests.tools.application import Answer, Application, json_answer, never, text_answer
from tests.tools.wooden import own

pytestmark = pytest.mark.interop  # too many whole calls for each run of the quick tests

SECRET = "sixteen characters or more"
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
USED = 'sipbridge_tool_calls_total{{outcome="{}"}}'.format
COMPLETED = 'sipbridge_responses_total{status="completed"}'
SLOW_S = 0.7


def call(name: str = "lookup", call_id: str = "call_1", **arguments: Any) -> dict[str, Any]:
    return {"call": name, "arguments": arguments, "call_id": call_id}


def script(*items: dict[str, Any], answer_ms: int = 200, **response: Any) -> str:
    """The first response consists of these; every other one is a sentence."""
    first = {"on": "response_create", "nth": 1, "do": [{"response": {"items": list(items)} | response}]}
    return json.dumps({"vad": False, "rules": [first], "answer": {"items": [{"audio_ms": answer_ms}]}})


def agent(*tools: Any, **more: Any) -> dict[str, Any]:
    return {"greeting": "Begin.", "tools": list(tools)} | more


def slow(value: Any, seconds: float = SLOW_S) -> Answer:
    async def answer(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(seconds)
        return await json_answer(value)(request)

    return answer


def creates(session: AgentSession) -> list[dict[str, Any]]:
    """The responses that were asked for."""
    return [event for _, event in session.received if event["type"] == "response.create"]


def words(packets: list[Packet]) -> list[Packet]:
    """Packets in which the agent speaks."""
    return [packet for packet in packets if locate(packet.payload)]


def sounds(packets: list[Packet]) -> list[Packet]:
    """Packets that are neither silence nor the agent."""
    return [packet for packet in packets if packet.payload.strip(b"\xff\x7f") and not locate(packet.payload)]


async def test_the_application_answers_and_the_model_speaks_about_it(tmp_path: Path) -> None:
    async with Application(answers=[json_answer({"celsius": 21})]) as app:
        tool = own(parameters=CITY, url=app.url, secret=SECRET, send=["called"])
        items = script({"audio_ms": 300}, call(city="Atlantis"))
        async with bench(tmp_path, items, agent=agent(tool)) as (service, server), RawPeer() as phone:
            await phone.invite("127.0.0.1", service.sip_port)
            await service.until(COMPLETED, 2)
            await phone.bye()
            await service.until(ENDED("caller_hung_up"), 1)
            session = server.sessions[0]
            log, metrics = service.said(), await service.metrics()
    (got,) = app.got
    assert results(session) == [{"celsius": 21}] and len(creates(session)) == 2
    assert got.json == {
        "tool": "lookup",
        "call_id": "call_1",
        "arguments": {"city": "Atlantis"},
        "call": {"id": phone.call_id, "agent": "test", "called": "600"},
    }
    moment = int(got.headers[HEADER].split(",")[0].removeprefix("t="))
    assert got.headers[HEADER] == signature(SECRET, got.body, moment) and abs(moment - time.time()) < 60
    assert metrics[USED("ok")] == 1 and metrics["sipbridge_tool_seconds_count"] == 1
    assert not any(word in log for word in ("Atlantis", "celsius", SECRET, app.url)), (
        "what is said stays out of the log"
    )
    assert re.search(r'"tool": "lookup"', log) and '"outcome": "ok"' in log


async def test_what_was_cut_off_or_does_not_fit_is_told_and_asks_nobody(tmp_path: Path) -> None:
    async with Application() as app:
        cut = {"call": "lookup", "arguments": '{"city": "Atl', "call_id": "a"}
        items = script(cut, call(call_id="b", city=5), call("fly", "c"), call(call_id="d", city="Atlantis"))
        tool = own(parameters=CITY, url=app.url)
        async with bench(tmp_path, items, agent=agent(tool)) as (service, server), RawPeer() as phone:
            await phone.invite("127.0.0.1", service.sip_port)
            await service.until(USED("ok"), 1)
            await service.until(COMPLETED, 2)
            metrics = await service.metrics()
            await phone.bye()
    told = results(server.sessions[0])
    assert [*told[0]] == [*told[1]] == [*told[2]] == ["error"] and told[3] == {"status": "fine"}
    assert [got.json["call_id"] for got in app.got] == ["d"]
    assert metrics[USED("invalid_arguments")] == 2 and metrics[USED("unknown")] == 1


async def test_an_answer_cut_off_by_its_limit_leaves_no_call_without_result(tmp_path: Path) -> None:
    """Quirk F6: `incomplete`, and the arguments end in the middle."""
    cut = {"call": "lookup", "arguments": '{"city": "Atl', "call_id": "a"}
    items = script(cut, status="incomplete")
    async with bench(tmp_path, items, agent=agent(own(parameters=CITY))) as (service, server), RawPeer() as phone:
        await phone.invite("127.0.0.1", service.sip_port)
        await service.until(COMPLETED, 1)
        await phone.bye()
    assert "cut off" in results(server.sessions[0])[0]["error"]


async def test_calls_of_one_answer_run_side_by_side(tmp_path: Path) -> None:
    at_once = asyncio.Barrier(3)

    async def together(request: web.Request) -> web.StreamResponse:
        async with asyncio.timeout(5):
            await at_once.wait()
        return await json_answer({"n": 1})(request)

    async with Application(answers=[together]) as app:
        items = script(*(call(call_id=name, city="x") for name in "abc"))
        async with bench(tmp_path, items, agent=agent(own(url=app.url))) as (service, server), RawPeer() as phone:
            await phone.invite("127.0.0.1", service.sip_port)
            await service.until(USED("ok"), 3)
            await service.until(COMPLETED, 2)
            await phone.bye()
            await service.until(ENDED("caller_hung_up"), 1)
    session = server.sessions[0]
    assert results(session) == [{"n": 1}] * 3 and len(creates(session)) == 2, "one answer for all three"


@pytest.mark.parametrize(
    ("answer", "keys", "outcome"),
    [
        (text_answer("Traceback in db7", 500), {}, "http_error"),
        (text_answer("", 302, Location="http://127.0.0.1:1/"), {}, "redirected"),
        (never, {"timeout_s": 0.3}, "timeout"),
    ],
)
async def test_what_fails_is_told_in_few_words_and_the_call_goes_on(
    tmp_path: Path, answer: Answer, keys: dict[str, Any], outcome: str
) -> None:
    async with Application(answers=[answer]) as app:
        tool = own(url=app.url, **keys)
        async with bench(tmp_path, script(call()), agent=agent(tool)) as (service, server), RawPeer() as phone:
            await phone.invite("127.0.0.1", service.sip_port)
            await service.until(USED(outcome), 1)
            await service.until(COMPLETED, 2)
            (line,) = service.events("tool.answered")
            await phone.bye()
    (told,) = results(server.sessions[0])
    assert [*told] == ["error"] and "db7" not in told["error"] and "127.0.0.1" not in told["error"]
    assert line["outcome"] == outcome and line["level"] == "warning" and line["advice"] and app.url not in str(line)


async def test_what_waits_for_the_last_word_comes_after_it(tmp_path: Path) -> None:
    arrived: list[int] = []

    async def note(request: web.Request) -> web.StreamResponse:
        arrived.append(time.time_ns())
        return await json_answer({})(request)

    async with Application(answers=[note]) as app:
        tools = own("early", url=app.url), own("late", url=app.url, when="after_speech")
        items = script({"audio_ms": 900}, call("late", "a"), call("early", "b"), speed="max")
        async with bench(tmp_path, items, agent=agent(*tools)) as (service, server), RawPeer() as phone:
            await phone.invite("127.0.0.1", service.sip_port)
            await service.until(USED("ok"), 2)
            first = server.sessions[0].items[0]
            await phone.bye()
    early, late = arrived
    said = [packet for packet in words(phone.wire.packets) if locate(packet.payload)[0].number == 1]
    assert first.sent_bytes == 900 * 8 and early < said[-1].t_ns < late
    assert [got.json["tool"] for got in app.got] == ["early", "late"]


async def test_a_call_that_ends_takes_its_requests_with_it_but_for_those_that_outlive_it(tmp_path: Path) -> None:
    release = asyncio.Event()

    async def held(request: web.Request) -> web.StreamResponse:
        await release.wait()
        return await json_answer({})(request)

    async with Application(answers=[held]) as app:
        tools = own("now", url=app.url), own("later", url=app.url, after_call=True)
        items = script(call("now", "a"), call("later", "b"))
        async with bench(tmp_path, items, agent=agent(*tools)) as (service, server), RawPeer() as phone:
            await phone.invite("127.0.0.1", service.sip_port)
            await app.came(2)
            await phone.bye()
            await service.until(ENDED("caller_hung_up"), 1)
            await service.until(USED("cancelled"), 1)
            release.set()
            await service.until(USED("ok"), 1)
            await ended(server.sessions[0])
            metrics = await service.metrics()
    assert app.broken_off == 1 and results(server.sessions[0]) == []
    assert metrics[USED("ok")] == metrics[USED("cancelled")] == 1


async def test_a_farewell_waits_for_what_is_being_saved(tmp_path: Path) -> None:
    async with Application(answers=[slow({"saved": True})]) as app:
        items = script({"audio_ms": 200}, call(), call("hang_up", "b"))
        told = agent(own(url=app.url), "hang_up")
        async with bench(tmp_path, items, agent=told) as (service, server), RawPeer() as phone:
            await phone.invite("127.0.0.1", service.sip_port)
            await phone.got("BYE")
            await service.until(ENDED("agent_hung_up"), 1)
            session = await ended(server.sessions[0])
    assert {"saved": True} in results(session) and app.broken_off == 0
    assert len(creates(session)) == 1, "the farewell was said already"


async def test_a_slow_application_is_bridged_by_a_sentence_and_a_sound(tmp_path: Path) -> None:
    async with Application(answers=[slow({"celsius": 21}, 2.5)]) as app:
        tool = own(url=app.url, filler={"after_s": 0.3, "say": "Ask for a moment.", "sound": "music"})
        items = script({"audio_ms": 200}, call(), answer_ms=300)
        async with bench(tmp_path, items, agent=agent(tool)) as (service, server), RawPeer() as phone:
            await phone.invite("127.0.0.1", service.sip_port)
            await service.until(COMPLETED, 3)
            await asyncio.sleep(0.6)  # until all of it was heard
            heard = list(phone.wire.packets)
            await phone.bye()
    session = server.sessions[0]
    _, sentence, result = creates(session)
    assert "Ask for a moment." in sentence["response"]["instructions"] and "response" not in result
    spoken = {locate(packet.payload)[0].number: packet.t_ns for packet in words(heard)}
    music = [packet.t_ns for packet in sounds(heard)]
    assert spoken[2] < music[0] and music[-1] < spoken[3], "the sound fills what the sentence leaves"
    assert music[-1] - music[0] > 500_000_000
    assert service.events("tool.answered")[0]["outcome"] == "ok"


async def test_a_fast_application_needs_no_filler(tmp_path: Path) -> None:
    async with Application() as app:
        tool = own(url=app.url, filler={"after_s": 5, "say": "Ask for a moment.", "sound": "tone"})
        async with bench(tmp_path, script(call()), agent=agent(tool)) as (service, server), RawPeer() as phone:
            await phone.invite("127.0.0.1", service.sip_port)
            await service.until(COMPLETED, 2)
            await phone.bye()
    assert len(creates(server.sessions[0])) == 2 and sounds(phone.wire.packets) == []


async def test_on_hold_there_is_music_until_the_model_goes_on(tmp_path: Path) -> None:
    items = script({"audio_ms": 300}, call("hold", seconds=2))
    async with bench(tmp_path, items, agent=agent("hold")) as (service, server), RawPeer() as phone:
        await phone.invite("127.0.0.1", service.sip_port)
        await service.until(COMPLETED, 2)
        await asyncio.sleep(0.6)
        await phone.bye()
        await service.until(ENDED("caller_hung_up"), 1)
    session = server.sessions[0]
    assert [*results(session)[0]] == ["status"] and "Go on." in creates(session)[1]["response"]["instructions"]
    spoken = words(phone.wire.packets)
    numbers = [locate(packet.payload)[0].number for packet in spoken]
    music = [packet.t_ns for packet in sounds(phone.wire.packets)]
    last_word = spoken[numbers.index(2) - 1].t_ns
    assert last_word < music[0] < music[-1] < spoken[numbers.index(2)].t_ns
    assert sum(len(place.payload) for place in spoken) == (300 + 200) * 8, "not a byte of speech is lost to music"


async def test_a_transfer_takes_the_caller_off_hold(tmp_path: Path) -> None:
    again = {"on": "response_create", "nth": 2, "do": [{"response": {"items": [call("transfer", "b", target="desk")]}}]}
    first = {"on": "response_create", "nth": 1, "do": [{"response": {"items": [call("hold", seconds=1)]}}]}
    rules = json.dumps({"vad": False, "rules": [first, again]})
    told = agent("hold", "transfer", transfer={"targets": {"desk": "sip:desk@127.0.0.1:9"}})
    async with bench(tmp_path, rules, agent=told) as (service, _), RawPeer() as phone:
        await phone.invite("127.0.0.1", service.sip_port)
        refer = await phone.got("REFER")
        await service.until(OUTCOME("transferred"), 1)
    music = [packet.t_ns for packet in sounds(phone.wire.packets)]
    assert music and music[-1] < refer.t_ns


async def test_keys_that_are_refused_later_are_said_to_be(tmp_path: Path) -> None:
    items = script(call("send_digits", digits="12"))
    async with bench(tmp_path, items, agent=agent("send_digits")) as (service, server), RawPeer() as phone:
        phone.refuses = {"INFO": "415 Unsupported Media Type"}
        await phone.invite("127.0.0.1", service.sip_port, sdp=phone.sdp().replace(" 101\r\n", "\r\n", 1))
        await service.until(COMPLETED, 3)
        await phone.bye()
    session = server.sessions[0]
    assert results(session) == [{"status": "sent"}]
    said = [
        event["response"]["instructions"] for event in creates(session) if "instructions" in event.get("response", {})
    ]
    assert len([text for text in said if "not taken" in text]) == 1


async def test_an_mcp_server_is_told_to_the_provider_as_it_is(tmp_path: Path) -> None:
    shop = {
        "type": "mcp",
        "server_label": "shop",
        "server_url": "https://mcp.example/sse",
        "authorization": "token-12345",
    }
    async with bench(tmp_path, script({"audio_ms": 100}), agent=agent(shop)) as (service, server), RawPeer() as phone:
        await phone.invite("127.0.0.1", service.sip_port)
        await service.until(COMPLETED, 1)
        await phone.bye()
        log = service.said()
    (update,) = (event for _, event in server.sessions[0].received if event["type"] == "session.update")
    assert update["session"]["tools"] == [shop | {"require_approval": "never"}]
    assert "token-12345" not in log


async def test_over_tls_with_an_authority_of_ones_own(tmp_path: Path) -> None:
    authority = Authority.make(tmp_path / "ca")
    issued = authority.issue("application")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(issued.certificate, issued.key)
    async with Application(context=context) as app:
        trusted = {"SSL_CERT_FILE": str(authority.certificate)}
        for environ, outcome in ((trusted, "ok"), ({}, "unreachable")):
            told = agent(own(url=app.url, retries=0))
            folder = tmp_path / outcome
            async with bench(folder, script(call()), agent=told, environ=environ) as (service, _), RawPeer() as phone:
                await phone.invite("127.0.0.1", service.sip_port)
                await service.until(USED(outcome), 1)
                await phone.bye()
    assert len(app.got) == 1


async def test_a_restart_waits_for_what_outlives_its_call(tmp_path: Path) -> None:
    async with Application(answers=[slow({})]) as app:
        told = agent(own(url=app.url, after_call=True))
        async with (
            bench(tmp_path, script(call()), agent=told, limits={"drain_s": 0}) as (service, _),
            RawPeer() as phone,
        ):
            await phone.invite("127.0.0.1", service.sip_port)
            await app.came()
            await asyncio.to_thread(service.stop)
            assert service.events("service.stopped") and app.broken_off == 0
            assert service.events("tool.answered")[0]["outcome"] == "ok"


@pytest.mark.parametrize(
    ("tools", "provider", "expected"),
    [
        ([own(parameters={"type": "array"})], "", "agents.test.tools.0.parameters: must be of `type: object`"),
        ([own(parameters={"type": "objekt"})], "", "agents.test.tools.0.parameters: type: 'objekt' is not valid"),
        ([own(), own(secret=SECRET)], "", "two tools have the name 'lookup'"),
        ([own("a b")], "", "agents.test.tools.0.name: 'a b': use 1 to 64 of"),
        ([own(secret="hush")], "", "agents.test.tools.0.webhook: secret: use 16 characters or more"),
        ([own(secret=["hush"])], "", "agents.test.tools.0.webhook.secret: input should be"),
        ([own(url="https://u:hush@x/")], "", "agents.test.tools.0.webhook: url: no user and password in it"),
        ([own(timout_s=3)], "", "agents.test.tools.0.webhook.timout_s: unknown key; did you mean `timeout_s`?"),
        (["fly"], "", "agents.test.tools.0: 'fly': there is no built-in tool 'fly'"),
        (
            [{"type": "mcp", "server_label": "s", "server_url": "https://x/", "require_approval": "always"}],
            "",
            "'never'",
        ),
        (
            [{"type": "mcp", "server_label": "s", "server_url": "https://x/"}],
            "builtin",
            "builtin takes no tools of `type:",
        ),
    ],
)
async def test_a_tool_that_cannot_work_stops_the_start(
    tmp_path: Path, tools: list[Any], provider: str, expected: str
) -> None:
    told = {"provider": provider or "ws://127.0.0.1:9/", "tools": tools}
    with pytest.raises(NotReady) as caught:
        await Service.started(tmp_path, told)
    assert expected in str(caught.value) and "hush" not in str(caught.value) and SECRET not in str(caught.value)


async def test_each_use_has_one_delivery_over_all_its_tries(tmp_path: Path) -> None:
    async with Application(answers=[text_answer("Busy", 503), json_answer({"n": 2})]) as app:
        told = agent(own(url=app.url, idempotent=True, retries=2))
        items = script(call(call_id="a"), call(call_id="b"))
        async with bench(tmp_path, items, agent=told) as (service, _), RawPeer() as phone:
            await phone.invite("127.0.0.1", service.sip_port)
            await service.until(USED("ok"), 2)
            await phone.bye()
    deliveries = [(got.json["call_id"], got.headers[DELIVERY]) for got in app.got]
    assert len(deliveries) == 3 and len(set(deliveries)) == 2
