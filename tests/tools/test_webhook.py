"""Webhooks against a real HTTP server that is slow, drops, fails, redirects, floods, talks nonsense, never answers."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.config.tools import Webhook
from bridge.tools.reply import Reply
from bridge.tools.request import DELIVERY, Request
from bridge.tools.signature import HEADER, signature
from bridge.tools.webhook import MOST_REDIRECTS, Webhooks
from tests.phones.certificates import Authority
from tests.phones.processes import free_port
from tests.tools.application import (
    Answer,
    Application,
    Raw,
    dropping,
    endless,
    json_answer,
    never,
    stalling,
    text_answer,
)

SECRET = "sixteen characters or more"
REQUEST = Request.of("book", "call_1", {"persons": 4}, {"id": "c", "agent": "front"})
FINE = json_answer({"status": "fine"})


@pytest.fixture
async def webhooks() -> AsyncIterator[Webhooks]:
    """No pause between tries."""
    made = Webhooks(pause_s=0, clock=lambda: 1_800_000_000.9)
    yield made
    await made.close(0)


def webhook(url: str, **keys: object) -> Webhook:
    return Webhook.model_validate({"url": url, "timeout_s": 5, "retries": 2} | keys)


async def asked(webhooks: Webhooks, app: Application, *answers: Answer, **keys: object) -> Reply:
    if answers:
        app.answers = list(answers)
    return await webhooks.ask(webhook(app.url, **keys), REQUEST)


async def test_the_request_is_signed_and_says_what_it_is(webhooks: Webhooks) -> None:
    async with Application() as app:
        reply = await asked(webhooks, app, secret=SECRET, headers={"Authorization": "Bearer x"})
    assert (reply.outcome, reply.output, reply.status) == ("ok", {"status": "fine"}, 200)
    (got,) = app.got
    assert got.path == "/tools" and got.body == REQUEST.body
    assert got.headers[HEADER] == signature(SECRET, got.body, 1_800_000_000)
    assert got.headers[DELIVERY] == REQUEST.delivery and got.headers["Authorization"] == "Bearer x"
    assert got.headers["Content-Type"] == "application/json" and got.headers["User-Agent"].startswith("sipbridge/")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
async def test_the_method_is_the_configured_one(webhooks: Webhooks, method: str) -> None:
    seen = []

    async def answer(request: object) -> object:
        seen.append(request.method)  # type: ignore[attr-defined]
        return await FINE(request)  # type: ignore[arg-type]

    async with Application(answers=[answer]) as app:  # type: ignore[list-item]
        await asked(webhooks, app, method=method)
    assert seen == [method]


# What is tried again


@pytest.mark.parametrize("idempotent", [False, True])
@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (text_answer("Bad gateway", 502), "http_error"),
        (text_answer("Busy", 503), "http_error"),
        (text_answer("Slow", 504), "http_error"),
        (dropping, "broken"),
        (never, "timeout"),
        (stalling, "timeout"),
    ],
)
async def test_what_may_have_been_done_is_repeated_only_if_that_does_no_harm(
    webhooks: Webhooks, answer: Answer, outcome: str, idempotent: bool
) -> None:
    timeout_s = 0.2 if outcome == "timeout" else 5
    async with Application() as app:
        reply = await asked(webhooks, app, answer, FINE, idempotent=idempotent, timeout_s=timeout_s)
    assert (reply.outcome, len(app.got)) == (("ok", 2) if idempotent else (outcome, 1))
    assert len({got.headers[DELIVERY] for got in app.got}) == 1
    assert idempotent or set(reply.output) == {"error"}


@pytest.mark.parametrize("status", [400, 401, 404, 409, 422, 429, 500, 501])
async def test_a_refusal_is_final(webhooks: Webhooks, status: int) -> None:
    async with Application() as app:
        reply = await asked(webhooks, app, text_answer("internal: db7 is down", status), FINE, idempotent=True)
    assert len(app.got) == 1 and reply.outcome == "http_error" and reply.status == status
    assert str(status) in reply.output["error"] and "db7" not in str(reply.output)


async def test_no_more_tries_than_configured(webhooks: Webhooks) -> None:
    async with Application(answers=[text_answer("Busy", 503)]) as app:
        for retries in (0, 1, 3):
            app.got.clear()
            await asked(webhooks, app, idempotent=True, retries=retries)
            assert len(app.got) == 1 + retries


async def test_where_nobody_is_nothing_was_done_and_it_is_tried_again() -> None:
    port = free_port(socket.SOCK_STREAM)
    webhooks = Webhooks(pause_s=0.2)
    asking = asyncio.create_task(webhooks.ask(webhook(f"http://127.0.0.1:{port}/", retries=5), REQUEST))
    await asyncio.sleep(0)
    server = None
    try:
        await asyncio.sleep(0.01)
        server = await asyncio.start_server(_greet, "127.0.0.1", port)
        assert (await asking).output == {"result": "hello"}
    finally:
        await webhooks.close(0)
        if server is not None:
            server.close()
            await server.wait_closed()


async def _greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(65536)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize("url", ["http://127.0.0.1:{}/", "http://nobody.invalid/"])
async def test_who_cannot_be_reached_is_said_to_be_without_his_address(webhooks: Webhooks, url: str) -> None:
    where = url.format(free_port(socket.SOCK_STREAM))
    reply = await webhooks.ask(webhook(where, retries=0), REQUEST)
    assert reply.outcome == "unreachable" and reply.fault.startswith("ClientConnector")
    assert reply.output == {"error": "the service cannot be reached: nothing was done"}


async def test_a_quiet_connection_that_the_server_dropped_is_not_used_again(webhooks: Webhooks) -> None:
    """Each of these closes after its answer though it promised to stay."""
    async with Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") as url:
        for _ in range(3):
            reply = await webhooks.ask(webhook(url, retries=0), REQUEST)
            assert reply.output == {"result": "ok"}
            await asyncio.sleep(0.02)


# What is not followed


async def test_a_redirection_to_the_same_server_is_followed_with_the_same_request(webhooks: Webhooks) -> None:
    async with Application() as app:
        reply = await asked(webhooks, app, text_answer("", 308, Location="/tools/?a=1"), FINE, secret=SECRET)
    assert reply.output == {"status": "fine"} and [got.path for got in app.got] == ["/tools", "/tools/?a=1"]
    assert app.got[0].body == app.got[1].body and app.got[1].headers[HEADER]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirection_elsewhere_is_not(webhooks: Webhooks, status: int) -> None:
    async with Application() as other, Application() as app:
        reply = await asked(webhooks, app, text_answer("", status, Location=other.url), FINE, secret=SECRET)
    assert other.got == [] and len(app.got) == 1
    assert reply.outcome == "redirected" and reply.output == {"error": "the service has failed"}


@pytest.mark.parametrize("where", ["", "//", "http://[::1", "http://user:pw@127.0.0.1:{}/", "ftp://127.0.0.1:{}/", "?"])
async def test_strange_redirections_lead_nowhere_or_in_circles_that_end(webhooks: Webhooks, where: str) -> None:
    async with Application() as app:
        reply = await asked(webhooks, app, text_answer("", 307, Location=where.format(app.port)), retries=0)
    assert reply.outcome == "redirected" and 1 <= len(app.got) <= 1 + MOST_REDIRECTS


async def test_cookies_of_one_call_are_no_cookies_of_the_next(webhooks: Webhooks) -> None:
    async with Application(answers=[text_answer("ok", Set_Cookie="session=ada")]) as app:
        by_name = webhook(app.url.replace("127.0.0.1", "localhost"))  # addresses get no cookies anyway
        for _ in range(2):
            await webhooks.ask(by_name, REQUEST)
    assert "Cookie" not in app.got[1].headers


async def test_the_environment_names_no_proxy(webhooks: Webhooks, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signed request goes where the configuration says."""
    async with Application() as proxy, Application() as app:
        monkeypatch.setenv("http_proxy", proxy.url)
        assert (await asked(webhooks, app)).outcome == "ok"
    assert proxy.got == []


# What comes back


async def test_of_a_body_without_end_only_the_beginning_is_read(webhooks: Webhooks) -> None:
    async with Application() as app:
        reply = await asked(webhooks, app, endless, max_result_bytes=1000, timeout_s=10)
    assert reply.output == {"result": "x" * 1000, "note": "cut: these are the first 1000 bytes"}


async def test_a_huge_body_is_cut(webhooks: Webhooks) -> None:
    async with Application() as app:
        reply = await asked(webhooks, app, text_answer("ü" * 2_000_000))
    assert reply.outcome == "ok" and len(reply.output["result"].encode()) == 10_000


async def test_a_packed_body_is_not_unpacked(webhooks: Webhooks) -> None:
    async with Application() as app:
        reply = await asked(webhooks, app, text_answer("anything", Content_Encoding="br"))
    assert reply.outcome == "unreadable" and app.got[0].headers["Accept-Encoding"] == "identity"


async def test_a_body_that_is_cut_off_is_no_result(webhooks: Webhooks) -> None:
    async with Raw(b'HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{"free": true}') as url:
        reply = await webhooks.ask(webhook(url), REQUEST)
    assert reply.outcome == "broken"


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\0\1\2",
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"HTTP/1.1 9999 x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 50,
        b"HTTP/1.1 200 OK\r\n\r\n\xff\xfe",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\nx",
    ],
)
async def test_garbage_is_an_error_in_words(webhooks: Webhooks, garbage: bytes) -> None:
    async with Raw(garbage) as url:
        reply = await webhooks.ask(webhook(url, timeout_s=2), REQUEST)
    assert reply.outcome != "ok" and set(reply.output) == {"error"} and len(str(reply.output)) < 120


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=300)
    | st.tuples(
        st.sampled_from([b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 500 \r\n", b"HTTP/1.1 307 x\r\nLocation: "]),
        st.binary(max_size=200),
    ).map(b"".join)
)
async def test_whatever_a_server_sends_is_a_reply(data: bytes) -> None:
    webhooks = Webhooks(pause_s=0)
    async with Raw(data) as url:
        reply = await webhooks.ask(webhook(url, timeout_s=2, retries=0), REQUEST)
    await webhooks.close(0)
    assert reply.outcome in {"ok", "broken", "http_error", "redirected", "unreadable", "timeout"}
    assert isinstance(reply.output, dict)


# TLS


async def test_a_certificate_that_proves_nothing_gets_no_request(webhooks: Webhooks, tmp_path: Path) -> None:
    issued = Authority.make(tmp_path).issue("service")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(issued.certificate, issued.key)
    async with Application(context=context) as app:
        reply = await asked(webhooks, app, retries=0)
    assert reply.outcome == "unreachable" and reply.fault == "ClientConnectorCertificateError" and app.got == []


# Life


async def test_seconds_are_told_once_for_each_use() -> None:
    told: list[float] = []
    webhooks = Webhooks(on_answer=told.append, pause_s=0)
    async with Application(answers=[text_answer("Busy", 503), FINE]) as app:
        await asked(webhooks, app, idempotent=True)
    await webhooks.close(0)
    assert len(app.got) == 2 and len(told) == 1 and told[0] > 0


async def test_who_gives_up_breaks_the_request_off(webhooks: Webhooks) -> None:
    async with Application(answers=[never]) as app:
        asking = asyncio.create_task(asked(webhooks, app))
        await app.came()
        asking.cancel()
        async with asyncio.timeout(5):
            while not app.broken_off:
                await asyncio.sleep(0.005)


async def unhurried(request: web.Request) -> web.StreamResponse:
    await asyncio.sleep(0.1)
    return await FINE(request)


@pytest.mark.parametrize(("answer", "grace_s", "outcome"), [(unhurried, 5, "ok"), (never, 0, "cancelled")])
async def test_what_outlives_its_call_has_a_grace_at_the_end_of_the_service(
    answer: Answer, grace_s: float, outcome: str
) -> None:
    webhooks = Webhooks()
    async with Application(answers=[answer]) as app:
        webhooks.count_late(webhooks.keep(webhooks.ask(webhook(app.url), REQUEST)))
        await app.came()
        await webhooks.close(grace_s)
        await webhooks.close(grace_s)
    assert webhooks.late == {outcome: 1}


async def test_one_connection_serves_one_request_after_another(webhooks: Webhooks) -> None:
    """The name is looked up and the handshake made once."""
    ports = set()

    async def answer(request: object) -> object:
        ports.add(request.transport.get_extra_info("peername")[1])  # type: ignore[attr-defined]
        return await FINE(request)  # type: ignore[arg-type]

    async with Application(answers=[answer]) as app:  # type: ignore[list-item]
        for _ in range(3):
            await asked(webhooks, app)
    assert len(ports) == 1
