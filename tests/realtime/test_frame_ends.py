"""Frames followed through any pieces in which a socket reads them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri
from websockets.utils import accept_key

from bridge.realtime.dialer import Address, Dialer, SessionFailed
from bridge.realtime.frame_ends import FrameEnds
from tests.realtime.test_connection import into

SIZES = st.one_of(st.integers(0, 140), st.sampled_from([125, 126, 127, 300, 65_535, 65_536]))


@st.composite
def streams(draw: st.DrawFn) -> list[Frame]:
    """What a server may send: messages, whole and in fragments, with control frames anywhere between."""
    frames = list[Frame]()
    for number in range(draw(st.integers(1, 8))):
        opcode = draw(st.sampled_from([Opcode.TEXT, Opcode.BINARY, Opcode.PING, Opcode.PONG]))
        if opcode in (Opcode.PING, Opcode.PONG):
            frames.append(Frame(opcode, bytes(draw(st.integers(0, 125)))))
            continue
        parts = draw(st.integers(1, 3))
        for part in range(parts):
            payload = bytes([number]) * draw(SIZES)
            frames.append(Frame(opcode if part == 0 else Opcode.CONT, payload, fin=part == parts - 1))
            if part < parts - 1 and draw(st.booleans()):
                frames.append(Frame(Opcode.PING, b""))
    return frames


def cut(data: bytes, cuts: Sequence[int]) -> Iterator[bytes]:
    """In pieces, at these places."""
    places = sorted({0, len(data), *(place % (len(data) + 1) for place in cuts)})
    return (data[begin:end] for begin, end in itertools.pairwise(places))


def served(frames: Sequence[Frame]) -> bytes:
    return b"".join(frame.serialize(mask=False) for frame in frames)


def whole_ones(frames: Sequence[Frame]) -> list[bytes]:
    """The messages in one frame each that need no eight bytes of length."""
    kinds = (Opcode.TEXT, Opcode.BINARY)
    return [bytes(frame.data) for frame in frames if frame.opcode in kinds and frame.fin and len(frame.data) < 65_536]


@given(streams())
def test_in_one_piece_every_whole_message_is_seen_and_nothing_else(frames: list[Frame]) -> None:
    data, ends = served(frames), FrameEnds()
    pieces = list(ends.pieces(ends.joined(data)))
    assert [data[message:end] for _, end, message in pieces if message] == whole_ones(frames)
    assert [data[begin:end] for begin, end, _ in pieces] == [frame.serialize(mask=False) for frame in frames]


@given(streams(), st.lists(st.integers(0, 1 << 20), max_size=8))
def test_however_it_is_read_nothing_is_lost_or_changes_its_place(frames: list[Frame], cuts: list[int]) -> None:
    ends, library, seen = FrameEnds(), opened(), list[bytes]()
    for data in cut(served(frames), cuts):
        data = ends.joined(data)
        for begin, end, message in ends.pieces(data):
            if message:
                seen.append(data[message:end])
            else:
                library.receive_data(data[begin:end])
                seen += messages(library)
    alone = opened()
    alone.receive_data(served(frames))
    assert b"".join(seen) == b"".join(messages(alone))
    assert library.parser_exc is None


def opened() -> ClientProtocol:
    """The library's parser behind its handshake."""
    return ClientProtocol(parse_uri("ws://localhost/"), state=State.OPEN, max_size=None)


def messages(library: ClientProtocol) -> list[bytes]:
    """The data of the frames that it has found, control frames left out."""
    events = library.events_received()
    return [bytes(event.data) for event in events if isinstance(event, Frame) and event.opcode < Opcode.CLOSE]


@pytest.mark.parametrize(
    "data",
    [b"\x81\x83abcd123", b"\xc1\x03abc", b"\x83\x03abc", b"\x88\x02\x03\xe8", b"\x89\x00", b"\x01\x03abc", b"\x80\x00"],
    ids=["masked", "extension", "opcode", "close", "ping", "fragment", "continuation"],
)
def test_what_is_not_a_plain_whole_message_is_the_librarys(data: bytes) -> None:
    ends = FrameEnds()
    assert list(ends.pieces(ends.joined(data))) == [(0, len(data), 0)]


def test_a_message_in_the_middle_of_another_is_the_librarys_to_judge() -> None:
    frames = [Frame(Opcode.TEXT, b"a", fin=False), Frame(Opcode.TEXT, b"b")]
    assert [message for _, _, message in FrameEnds().pieces(served(frames))] == [0, 0]


@contextlib.asynccontextmanager
async def answering(answer: Callable[[str], Iterable[bytes]]) -> AsyncIterator[Dialer]:
    """A server whose answer to a request comes in these pieces; a dialer for it."""
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in answer((await reader.readuntil(b"\r\n\r\n")).decode()):
            writer.write(piece)
            await asyncio.sleep(0.001)
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()
        ended.set()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server, asyncio.timeout(20):
        yield Dialer(Address(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"))
        await ended.wait()


@pytest.mark.parametrize("size", [1, 3, 50, 1000])
async def test_an_answer_to_the_handshake_in_pieces_with_the_first_messages_behind_it(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(request: str) -> Iterator[bytes]:
        key = re.findall(r"(?i)Sec-WebSocket-Key: (\S+)", request)[0]
        accept = f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept_key(key)}"
        whole = f"HTTP/1.1 101 x\r\n{accept}\r\n\r\n".encode()
        whole += served([Frame(Opcode.TEXT, b"one"), Frame(Opcode.TEXT, b"two")])
        return (whole[at : at + size] for at in range(0, len(whole), size))

    async with answering(answer) as dialer:
        near = await dialer.connect_now()
        assert [await near.recv(decode=False) for _ in range(2)] == [b"one", b"two"]
        taken = list[bytes]()
        near.on_message = into(taken)
        with monkeypatch.context() as patched:
            patched.setattr(near.protocol, "receive_data", None)  # the library shall not see it
            near.data_received(served([Frame(Opcode.TEXT, b"three")]))
        assert taken == [b"three"]
        near.transport.abort()
        await near.wait_closed()


async def test_a_refusal_is_told_whole_although_its_words_might_be_a_frame() -> None:
    body = b"\x81\x03abc\x81"
    refusal = b"HTTP/1.1 403 Forbidden\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    async with answering(lambda request: [refusal]) as dialer:
        with pytest.raises(SessionFailed, match="403"):
            await dialer.connect_now()


async def test_a_redirect_is_not_followed_with_our_key_and_says_what_to_do() -> None:
    refusal = b"HTTP/1.1 302 Found\r\nLocation: ws://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
    async with answering(lambda request: [refusal]) as dialer:
        with pytest.raises(SessionFailed, match=r"redirected: .*configure that address"):
            await dialer.connect_now()
