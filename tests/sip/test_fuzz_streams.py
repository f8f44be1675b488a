"""Strangers on TCP and TLS: whatever they send ends as a call, an answer or a drop; their connections end."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.sip.tls import TlsSettings
from bridge.sip.ua import ListenAddress, UserAgent
from tests.phones.certificates import Authority

from .noise import SEEDS, noise
from .phone import HOST, PATIENCE_S, Answering, until
from .stack import request

CONNECTIONS = 60
MESSAGES = 25
"""In each connection."""


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> TlsSettings:
    """A certificate of the test's own."""
    authority = Authority.make(tmp_path_factory.mktemp("ca"))
    ours = authority.issue("here")
    return TlsSettings(certificate=ours.certificate, key=ours.key, ca=authority.certificate)


class Far:
    """Opens connections to one listener and says what it is told."""

    def __init__(self, port: int, ca: Path | None) -> None:
        self._port = port
        self._context = ssl.create_default_context(cafile=ca) if ca is not None else None

    async def say(self, pieces: Sequence[bytes]) -> bytes:
        """Everything the service says until the connection is over, which it is soon after our last word."""
        reader, writer = await asyncio.open_connection(HOST, self._port, ssl=self._context)
        heard = b""
        try:
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            if writer.can_write_eof():
                writer.write_eof()
            else:
                # TLS knows no half: hear what is said at once, then go.
                while piece := await asyncio.wait_for(reader.read(65536), 0.05):
                    heard += piece
            heard += await asyncio.wait_for(reader.read(), PATIENCE_S)
        except (ConnectionError, TimeoutError):
            pass  # It may close on us while we speak.
        finally:
            writer.transport.abort()
        return heard


@asynccontextmanager
async def listening(tls: TlsSettings, name: str) -> AsyncIterator[tuple[UserAgent, Far, list[object]]]:
    """A user agent on TCP or TLS, its stranger, and the failures that escaped."""
    escaped: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: escaped.append(context))
    application = Answering()
    service = UserAgent(listen=[ListenAddress(name, HOST, 0)], on_invite=application.invited, tls=tls)
    await service.start()
    try:
        yield service, Far(service.local[0][2], tls.ca if name == "tls" else None), escaped
        await until(lambda: not any(stream.connections for stream in service.listeners.streams))
    finally:
        await service.close()


def torn(dice: random.Random, messages: Sequence[bytes]) -> list[bytes]:
    """The messages in one stream, cut anywhere."""
    whole = b"".join(messages)
    places = sorted(dice.randrange(len(whole) + 1) for _ in range(dice.randrange(6)))
    return [whole[start:end] for start, end in zip([0, *places], [*places, len(whole)], strict=True)]


@pytest.mark.parametrize("name", ["tcp", "tls"])
async def test_noise_ends_as_drop_or_answer(tls: TlsSettings, name: str) -> None:
    dice = random.Random(21)
    async with listening(tls, name) as (service, far, escaped):
        await asyncio.gather(
            *(far.say(torn(dice, list(noise(dice, dice.randrange(1, MESSAGES))))) for _ in range(CONNECTIONS))
        )
        assert escaped == []
        assert "internal" not in service.stats.dropped
        # Some of it was SIP enough to be answered, most was not, and the next in line is served as ever.
        assert service.stats.answers and service.stats.dropped
        assert (await far.say([request("OPTIONS").encode()])).startswith(b"SIP/2.0 200 OK")


async def test_noise_in_place_of_a_handshake(tls: TlsSettings) -> None:
    dice = random.Random(22)
    async with listening(tls, "tls") as (service, _, escaped):
        plain = Far(service.local[0][2], None)
        pieces = [dice.randbytes(dice.randrange(1, 600)) for _ in range(20)]
        hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
        await asyncio.gather(*(plain.say([piece]) for piece in [*pieces, *(hello + piece for piece in pieces)]))
        assert escaped == []
        assert service.stats.received == {}
        (stream,) = service.listeners.streams
        assert sum(stream.stats.handshake_failures.values()) > 0


@settings(max_examples=25)
@given(
    st.lists(st.binary(min_size=1, max_size=300) | st.sampled_from([seed.encode() for seed in SEEDS]), max_size=8),
    st.randoms(),
)
def test_any_bytes_on_tcp_end_as_drop_or_answer(messages: list[bytes], dice: random.Random) -> None:
    async def attempt() -> None:
        async with listening(TlsSettings(), "tcp") as (service, far, escaped):
            await far.say(torn(dice, messages))
            assert escaped == []
            assert "internal" not in service.stats.dropped

    asyncio.run(attempt())
