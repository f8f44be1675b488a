"""Framing: any split of a stream gives the same messages, and any bytes end as frames or one error."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.sip.errors import SipError
from bridge.sip.framing import MAX_BODY, MAX_HEAD, Framer, FramingError, KeepAlive
from bridge.sip.message import parse

from .stack import invite, request

OPTIONS = request("OPTIONS").encode()
INVITE = invite().encode()


def message(length: str = "Content-Length: 0", body: bytes = b"", end: bytes = b"\r\n") -> bytes:
    """A message that is small, with its Content-Length line as given."""
    lines = ["OPTIONS sip:b@h SIP/2.0", "Call-ID: c", *([length] if length else []), "", ""]
    return end.join(line.encode() for line in lines) + body


def whole(pieces: Iterable[bytes], framer: Framer | None = None) -> tuple[list[bytes], int, FramingError | None]:
    """Messages, number of pings and the error that pieces of a stream end in."""
    framer = framer or Framer()
    messages: list[bytes] = []
    pings = 0
    try:
        for piece in pieces:
            for frame in framer.feed(piece):
                if isinstance(frame, KeepAlive):
                    assert frame.pings > 0
                    pings += frame.pings
                else:
                    messages.append(frame)
    except FramingError as error:
        return messages, pings, error
    return messages, pings, None


def pieces(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    ends = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[start:end] for start, end in pairwise(ends)]


def seen(data: bytes) -> tuple[list[bytes], int, object, object]:
    messages, pings, error = whole([data])
    return messages, pings, error and (error.status, error.phrase, error.reason), error and error.head


MESSAGES = {
    "plain": message(),
    "with a body": message("Content-Length: 4", b"\r\n\r\n"),
    "compact": message("l:3", b"abc"),
    "odd spacing": message("cONTENT-lENGTH \t:\t  003 ", b"abc"),
    "folded": message("Content-Length:\r\n\t 2\r\n ", b"ab"),
    "bare line feeds": message("Content-Length: 2", b"\n\n", end=b"\n"),
    "last of several headers": message("Subject: l:9\r\nX: a\r\n Content-Length: 7\r\nContent-Length: 1", b"x"),
    "a first line like a header": b"l: 9\r\nl: 1\r\n\r\nx",
    "a call": INVITE,
}


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_ends_where_its_content_length_says(name: str) -> None:
    data = MESSAGES[name]
    assert whole([data + OPTIONS]) == ([data, OPTIONS], 0, None)
    assert whole(data[at : at + 1] for at in range(len(data))) == ([data], 0, None)


@given(
    st.lists(st.sampled_from([*MESSAGES.values(), b"\r\n", b"\r\n\r\n", b"\n", b"\r"]), max_size=8),
    st.lists(st.integers(0, 10_000), max_size=20),
)
def test_any_split_of_any_sequence_gives_the_same(sequence: list[bytes], cuts: list[int]) -> None:
    data = b"".join(sequence)
    messages, pings, error = whole(pieces(data, cuts))
    assert (messages, error) == ([item for item in sequence if item.strip(b"\r\n")], None)
    assert pings == whole([data])[1]


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=40),
            st.sampled_from([b"\r\n", b"\n", b"\r", b"l:", b"3", b"A", b"\r\nContent-Length: 1\r\n\r\n", b" ", b":"]),
        ),
        max_size=20,
    ),
    st.lists(st.integers(0, 1000), max_size=20),
)
def test_any_bytes_end_as_frames_or_one_error_however_they_are_split(parts: list[bytes], cuts: list[int]) -> None:
    data = b"".join(parts)
    messages, pings, error = whole(pieces(data, cuts))
    word = error and (error.status, error.phrase, error.reason)
    assert (messages, pings, word, error and error.head) == seen(data)
    for frame in messages:
        try:
            parse(frame)
        except SipError:
            continue


@given(st.integers(1, 60), st.lists(st.integers(0, 400), max_size=10))
def test_limits_do_not_depend_on_the_split(limit: int, cuts: list[int]) -> None:
    data = message("Content-Length: 20", b"b" * 20)
    head = len(data) - 20
    for max_head, max_body in ((limit, 20), (100, limit)):
        messages, _, error = whole(pieces(data, cuts), Framer(max_head, max_body))
        if max_head < head:
            assert error is not None and (error.status, error.head) == (513, data[:max_head])
        elif max_body < 20:
            assert error is not None and (error.status, error.head) == (413, data[:head])
        else:
            assert (messages, error) == ([data], None)


FAULTS = {
    "Missing Content-Length": message(""),
    "Repeated Content-Length": message("Content-Length: 1\r\nl: 1", b"x"),
    "Malformed Content-Length": message("Content-Length: -1"),
    "Request Entity Too Large": message(f"Content-Length: {MAX_BODY + 1}"),
}
STATUS = {"Request Entity Too Large": 413}


@pytest.mark.parametrize("phrase", FAULTS)
def test_a_message_without_an_end_is_an_error_that_carries_its_head(phrase: str) -> None:
    messages, _, error = whole([OPTIONS + FAULTS[phrase] + OPTIONS])
    assert messages == [OPTIONS]
    assert error is not None
    assert (error.status, error.phrase) == (STATUS.get(phrase, 400), phrase)
    assert FAULTS[phrase].startswith(error.head) and error.head.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("value", ["", "x", "1 2", "0x10", "1,1", "+1", "9" * 21, "\u0663"])
def test_odd_lengths_are_refused(value: str) -> None:
    _, _, error = whole([message(f"Content-Length: {value}")])
    assert error is not None and error.status == 400


def test_nothing_comes_after_the_error() -> None:
    framer = Framer()
    for _ in range(2):
        messages, pings, error = whole([message(""), OPTIONS, b"\r\n\r\n"], framer)
        assert (messages, pings) == ([], 0)
        assert error is not None
    assert not framer.partial
    assert len(framer._buffer) == 0


def test_a_head_that_never_ends_is_an_error_with_what_came() -> None:
    framer = Framer()
    for number in range(MAX_HEAD // 1000):
        assert whole([b"x" * 1000], framer) == ([], 0, None), number
    _, _, error = whole([b"x" * 1000], framer)
    assert error is not None
    assert (error.status, error.phrase, error.head) == (513, "Message Too Large", b"x" * MAX_HEAD)


def test_a_head_of_exactly_the_limit_is_taken() -> None:
    data = message("Content-Length: 0\r\nX: " + "x" * 1000)
    assert whole([data], Framer(max_head=len(data))) == ([data], 0, None)
    assert whole([data], Framer(max_head=len(data) - 1))[2] is not None


def test_the_head_of_an_error_is_enough_to_answer() -> None:
    data = request("OPTIONS", extra=f"X: {'x' * MAX_HEAD}\r\n").encode()
    _, _, error = whole([data])
    assert error is not None
    with pytest.raises(SipError) as caught:
        parse(error.head)
    assert caught.value.request is not None
    assert caught.value.request.response(error.status, error.phrase).call_id == "c1"


@pytest.mark.parametrize(
    ("data", "pings"),
    [
        (b"\r\n\r\n", 1),
        (b"\r\n", 0),
        (b"\r\n\r\n\r\n", 1),
        (b"\r\n" * 200, 100),
        (b"\r\n" + OPTIONS + b"\r\n", 0),
        (b"\r\n\r\n" + OPTIONS + b"\r\n\r\n", 2),
        (b"\n\n", 0),
        (b"\r\r\n\r\n", 1),
    ],
)
def test_double_empty_lines_between_messages_are_pings(data: bytes, pings: int) -> None:
    assert whole([data])[1] == pings
    assert whole(data[at : at + 1] for at in range(len(data)))[1] == pings


def test_it_says_whether_a_message_has_begun() -> None:
    framer = Framer()
    for data, partial in (
        (b"", False),
        (b"\r\n", False),
        (OPTIONS[:1], True),
        (OPTIONS[1:], False),
        (INVITE[:-1], True),
    ):
        list(framer.feed(data))
        assert framer.partial is partial, data


def test_frames_may_be_taken_one_by_one_with_more_bytes_in_between() -> None:
    framer = Framer()
    frames = framer.feed(OPTIONS + INVITE + OPTIONS[:9])
    assert next(frames) == OPTIONS
    assert list(framer.feed(OPTIONS[9:])) == [INVITE, OPTIONS]


@pytest.mark.parametrize("line", ["Content-Length: 9", "l :9", "CONTENT-LENGTH:\r\n 9", "Content-Length\t: 9\t"])
@pytest.mark.parametrize("end", ["\r\n", "\n"])
def test_the_parser_reads_the_same_body(line: str, end: str) -> None:
    text = request("OPTIONS").replace("Content-Length: 0", line).replace("\r\n", end)
    (frame,), _, _ = whole([text.encode() + b"\n\nl: 55\n\n" + OPTIONS[:5]])
    assert parse(frame).body == b"\n\nl: 55\n\n"


def cost(size: int) -> float:
    """Processor seconds for a head of `size` bytes fed byte by byte."""
    framer = Framer(max_head=10 * size)
    data = [b"x"] * size
    began = time.process_time()
    for piece in data:
        list(framer.feed(piece))
    return time.process_time() - began


def test_feeding_byte_by_byte_is_linear() -> None:
    small, large = min(cost(4_000) for _ in range(3)), min(cost(64_000) for _ in range(3))
    assert large < 16 * small * 3
