"""The address of a private agent: asked for with the key, never told to anybody."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web

from bridge.realtime.dialer import SessionFailed
from bridge.realtime.elevenlabs import signed_url
from bridge.realtime.elevenlabs.signed_url import SignedUrl
from tests.servers.elevenlabs import Settings, Talk, serving

KEY = "xi-secret"


async def nobody(talk: Talk) -> None:
    raise AssertionError("nobody calls")


@contextlib.asynccontextmanager
async def answering(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    """A service that answers as told; its base address."""
    app = web.Application()
    app.router.add_get("/{path:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def with_body(body: str, status: int = 200, **headers: str) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(text=body, status=status, headers=headers)

    return answer


async def reason_of(find: SignedUrl) -> tuple[str, str]:
    with pytest.raises(SessionFailed) as failed:
        await find()
    assert KEY not in str(failed.value)
    return failed.value.reason, failed.value.detail


async def test_each_conversation_has_an_address_of_its_own_and_the_key_goes_in_the_header() -> None:
    async with serving(nobody, Settings(private=True, key=KEY)) as server:
        find = SignedUrl("agent_1", KEY, server.base)
        first, second = await find(), await find()
        assert first.url == f"{server.url}&conversation_signature=cvtkn_1"
        assert second.url != first.url and not second.headers


async def test_a_refusal_is_told_with_the_services_words() -> None:
    async with serving(nobody, Settings(key=KEY)) as server:
        assert await reason_of(SignedUrl("agent_1", "wrong", server.base)) == (
            "http_401",
            "asked for a signed URL, answered 401 Invalid API key",
        )
        assert (await reason_of(SignedUrl("agent_2", KEY, server.base)))[0] == "http_404"


@pytest.mark.parametrize(
    ("status", "body"),
    [(500, "<html>"), (422, '{"detail":[{"msg":"x"}]}'), (403, '{"detail":{"message":5}}'), (429, "[]"), (503, "")],
)
async def test_a_refusal_without_sense_still_has_its_status(status: int, body: str) -> None:
    async with answering(with_body(body, status)) as base:
        assert await reason_of(SignedUrl("a", KEY, base)) == (
            f"http_{status}",
            f"asked for a signed URL, answered {status}",
        )


async def test_a_long_refusal_is_cut() -> None:
    async with answering(with_body('{"detail":"%s"}' % ("x" * 5000), 400)) as base:
        assert len((await reason_of(SignedUrl("a", KEY, base)))[1]) < 300


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"signed_url":5}',
        '{"signed_url":"https://api.elevenlabs.io/x"}',
        '{"signed_url":"file:///etc/passwd"}',
        '{"signed_url":"ws://[::1"}',
        '{"signed_url":"ws:///x?conversation_signature=secret"}',
        '{"signed_url":"ws://127.0.0.1/x","more":"%s"}' % ("w" * 100_000),
    ],
)
async def test_an_answer_without_a_usable_url_is_no_address(body: str) -> None:
    async with answering(with_body(body)) as base:
        assert (await reason_of(SignedUrl("a", KEY, base)))[0] == "bad_signed_url"


def test_over_https_only_an_encrypted_socket_is_taken() -> None:
    plain = b'{"signed_url":"ws://api.elevenlabs.io/x"}'
    with pytest.raises(SessionFailed):
        SignedUrl("a", KEY)._checked(plain)
    assert SignedUrl("a", KEY)._checked(plain.replace(b"ws:", b"wss:")).startswith("wss:")


async def test_the_key_does_not_follow_a_redirect() -> None:
    keys: list[str | None] = []

    async def elsewhere(request: web.Request) -> web.StreamResponse:
        keys.append(request.headers.get("xi-api-key"))
        return web.json_response({"signed_url": "ws://127.0.0.1/x"})

    async with answering(elsewhere) as other, answering(with_body("", 302, Location=other)) as base:
        assert (await reason_of(SignedUrl("a", KEY, base)))[0] == "http_302"
    assert keys == []


async def test_where_nobody_listens_it_is_unreachable() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        base = f"http://127.0.0.1:{taken.getsockname()[1]}"
        assert (await reason_of(SignedUrl("a", KEY, base)))[0] == "unreachable"


async def test_a_service_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signed_url, "TIMEOUT_S", 0.05)

    async def never(request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        return web.Response()

    async with answering(never) as base:
        assert (await reason_of(SignedUrl("a", KEY, base)))[0] == "timeout"
