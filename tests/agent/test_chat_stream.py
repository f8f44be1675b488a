"""What models stream, good and bad."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.agent.chat_stream import MAX_ANSWER_CHARS, MAX_ARGUMENTS, MAX_CALLS, MAX_LINE, ChatStream
from bridge.agent.fault import Fault
from bridge.agent.pieces import Called


def chunk(reason: str | None = None, **delta: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


def call(index: Any = 0, call_id: Any = None, name: Any = None, arguments: Any = "") -> dict[str, Any]:
    entry: dict[str, Any] = {"function": {"arguments": arguments}}
    entry |= {"index": index} if index is not None else {}
    entry |= {"id": call_id} if call_id is not None else {}
    entry["function"] |= {"name": name} if name is not None else {}
    return entry


def read(*chunks: bytes) -> tuple[str, ChatStream]:
    stream = ChatStream()
    text = "".join(stream.feed(each) for each in chunks)
    return text + stream.finish(), stream


def test_text_and_the_reason_of_the_end() -> None:
    text, stream = read(chunk(role="assistant"), chunk(content="Hel"), chunk(content="lo"), chunk("length"))
    assert (text, stream.reason, stream.done) == ("Hello", "length", False)
    assert read(chunk(content="Hi"), b"data: [DONE]\n\n")[1].done


def test_the_size_of_the_pieces_changes_nothing() -> None:
    data = b": hi\r\n\r\nevent: x\r\n" + chunk(content="Grüße, ") + chunk(content="wie geht's?") + chunk("stop")
    assert {read(*(data[i : i + n] for i in range(0, len(data), n)))[0] for n in (1, 2, 3, 7, 1000)} == {
        "Grüße, wie geht's?"
    }


def test_calls_are_put_together_from_their_pieces() -> None:
    _, stream = read(
        chunk(tool_calls=[call(0, "a", "one", '{"x"')]),
        chunk(tool_calls=[call(0, None, None, ": 1}"), call(1, "b", "two")]),
        chunk("tool_calls"),
    )
    assert stream.calls() == [Called("one", '{"x": 1}', "a"), Called("two", "{}", "b")]


def test_calls_of_servers_that_do_not_count() -> None:
    _, stream = read(
        chunk(tool_calls=[call(0, "a", "one", {"x": 1})]),
        chunk(tool_calls=[call(0, "b", "two", "{}")]),
        chunk(tool_calls=[call(None, None, "three", "{}")]),
        chunk("stop"),
    )
    assert stream.calls() == [Called("one", '{"x":1}', "a"), Called("two", "{}{}", "b")]


@pytest.mark.parametrize(
    "data",
    [b"", chunk(content="a"), b"data: {}\n\n", b'{"choices": []}\n', b"<html></html>", chunk("") + chunk(content="b")],
)
def test_a_stream_that_stops_before_its_end_is_a_fault(data: bytes) -> None:
    stream = ChatStream()
    stream.feed(data)
    with pytest.raises(Fault) as fault:
        stream.finish()
    assert fault.value.code == "server_error"


def test_an_error_in_the_stream_comes_after_the_words_before_it() -> None:
    stream = ChatStream()
    told = b'data: {"error": {"code": "rate_limit_exceeded"}}\n'
    assert stream.feed(chunk(content="Hello") + told + chunk(content="never")) == "Hello"
    assert stream.done
    with pytest.raises(Fault) as fault:
        stream.finish()
    assert fault.value.code == "rate_limit_exceeded"


def test_nonsense_between_is_counted() -> None:
    text, stream = read(b"data: {\n", b"data: 7\n", b'data: {"choices": 3}\n', chunk(content="ok"), chunk("stop"))
    assert (text, stream.malformed, stream.events) == ("ok", 3, 2)


def test_a_chunk_of_usage_alone_is_no_nonsense() -> None:
    _, stream = read(chunk("stop"), b'data: {"choices": [], "usage": {"total_tokens": 7}}\n', b"data: [DONE]\n")
    assert stream.malformed == 0


def test_an_answer_without_end_is_cut() -> None:
    text, stream = read(*[chunk(content="x" * 1000)] * 20)
    assert (len(text), stream.reason, stream.done) == (MAX_ANSWER_CHARS, "length", True)


@pytest.mark.parametrize(
    "data",
    [
        b"x" * (MAX_LINE + 1),
        b"\n" * 1000 + b"data: " + b"y" * MAX_LINE,
        b"".join(chunk(tool_calls=[call(0, "a", "b", "z" * 1000)]) for _ in range(MAX_ARGUMENTS // 1000 + 1)),
    ],
)
def test_lines_and_calls_without_end_are_faults(data: bytes) -> None:
    stream = ChatStream()
    stream.feed(data)
    assert stream.done
    with pytest.raises(Fault):
        stream.finish()


def test_comments_without_end_are_a_fault() -> None:
    stream = ChatStream()
    for _ in range(17):
        stream.feed(b": \n" * (1 << 20))
    assert stream.done


def test_calls_without_number_are_few() -> None:
    _, stream = read(*[chunk(tool_calls=[call(n, f"id{n}", "f", "{}")]) for n in range(100)], chunk("stop"))
    assert len(stream.calls()) == MAX_CALLS


@pytest.mark.parametrize(
    ("pieces", "said"),
    [
        (["<think>", "hm, a < b", "</think>", "\n\nYes."], "Yes."),
        (["\n<thi", "nk>x</th", "ink> Yes."], "Yes."),
        (["<think>never ends"], ""),
        (["<thin", "g> is"], "<thing> is"),
        (["<th"], "<th"),
        (["Yes <think>no</think>"], "Yes <think>no</think>"),
        (["  ", "Yes"], "  Yes"),
    ],
)
def test_what_a_model_thinks_is_not_said(pieces: list[str], said: str) -> None:
    assert read(*(chunk(content=piece) for piece in pieces), chunk("stop"))[0] == said


def test_an_answer_that_was_not_streamed() -> None:
    message = {"content": "Hi", "tool_calls": [call(None, "a", "f", "{}")]}
    stream = ChatStream()
    assert stream.whole(json.dumps({"choices": [{"message": message, "finish_reason": "stop"}]}).encode()) == "Hi"
    assert stream.calls() == [Called("f", "{}", "a")]
    for bad in (b"", b"[]", b"{}", b'{"choices": [3]}', b'{"error": "x"}'):
        with pytest.raises(Fault):
            ChatStream().whole(bad)


_ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 3) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["choices", "delta", "content", "tool_calls", "index", "id", "function", "name", "arguments", "error"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.lists(_ANY.map(lambda each: b"data: " + json.dumps(each).encode() + b"\n") | st.binary(max_size=40)))
def test_no_stream_breaks_it(parts: list[bytes]) -> None:
    stream = ChatStream()
    for part in parts:
        assert isinstance(stream.feed(part), str)
    with contextlib.suppress(Fault):
        stream.finish()
    for made in stream.calls():
        assert isinstance(made.arguments, str)


@given(_ANY, _ANY)
def test_no_delta_breaks_it(content: Any, calls: Any) -> None:
    read(chunk(content=content, tool_calls=calls), chunk("stop"))
