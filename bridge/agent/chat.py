"""A conversation as a language model is told it: the messages and tools of a chat completion (OpenAI API, Chat)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from bridge.agent.heard import heard_text
from bridge.agent.items import Item
from bridge.agent.plans import Request

MAX_CHARS = 100_000
"""Of all messages together; the oldest are left out."""
NOT_UNDERSTOOD = "(The caller said something that could not be understood.)"
NOTHING_YET = "(The caller is on the line and has not said anything yet.)"
SILENT = "(The caller keeps silent.)"
PENDING = "There is no result yet."

Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Chat:
    """What a model is asked."""

    messages: list[Message]
    tools: list[Message]
    tool_choice: Any
    max_tokens: int | None


def chat(items: Sequence[Item], request: Request, instructions: str, *, silent: bool) -> Chat:
    """The question for one response. `silent`: the caller has said nothing for the idle time."""
    own = f"{instructions}\n\nNow: {request.instructions}" if request.instructions else instructions
    told = _merged(_messages(items))
    _forget_oldest(told)
    if silent:
        told.append({"role": "user", "content": SILENT})
    if not any(message["role"] == "user" for message in told):
        # Many models cannot answer when no user has spoken.
        told.insert(0, {"role": "user", "content": NOTHING_YET})
    tools = [_tool(tool) for tool in request.tools if tool.get("type") == "function"]
    limit = request.max_output_tokens if isinstance(request.max_output_tokens, int) else None
    if request.tool_choice == "none":
        tools = []
    return Chat([{"role": "system", "content": own[:MAX_CHARS]}, *told], tools, _choice(request.tool_choice), limit)


def _messages(items: Sequence[Item]) -> Iterable[Message]:
    results = {item.fields["call_id"]: index for index, item in enumerate(items) if _is_result(item)}
    names = {item.fields["call_id"]: item.fields["name"] for item in items if item.type == "function_call"}
    for index, item in enumerate(items):
        if item.type == "message":
            yield from _message(item)
        elif item.type == "function_call":
            yield from _call(item, items, index, results)
        elif _is_result(item) and not _is_prompt(items, index, item.fields["call_id"]):
            # Only what directly follows a call may be its result; a late one is told instead.
            name = names.get(item.fields["call_id"], "a tool")
            yield {"role": "system", "content": f"The result of {name}: {item.fields['output']}"}


def _message(item: Item) -> Iterable[Message]:
    if item.role == "assistant":
        words = heard_text(item)
        if words.strip():
            yield {"role": "assistant", "content": words.strip()}
    elif item.role == "system":
        yield {"role": "system", "content": item.words or ""}
    elif not item.unheard:
        yield {"role": "user", "content": item.words or NOT_UNDERSTOOD}


def _call(item: Item, items: Sequence[Item], index: int, results: dict[str, int]) -> Iterable[Message]:
    call_id = item.fields["call_id"]
    function = {"name": item.fields["name"], "arguments": _object(item.fields["arguments"])}
    entry = {"id": call_id, "type": "function", "function": function}
    yield {"role": "assistant", "content": None, "tool_calls": [entry]}
    found = results.get(call_id)
    prompt = found is not None and _is_prompt(items, found, call_id)
    output = items[found].fields["output"] if found is not None and prompt else PENDING
    yield {"role": "tool", "tool_call_id": call_id, "content": output}


def _is_result(item: Item) -> bool:
    return item.type == "function_call_output"


def _is_prompt(items: Sequence[Item], index: int, call_id: str) -> bool:
    """Whether nothing but calls and results stands between a result and its call."""
    for item in reversed(items[:index]):
        if item.type == "function_call" and item.fields["call_id"] == call_id:
            return True
        if item.type == "message":
            return False
    return False


def _object(arguments: str) -> str:
    """The arguments as the model wrote them; some servers fail at what is no JSON object."""
    try:
        return arguments if isinstance(json.loads(arguments), dict) else "{}"
    except ValueError:
        return "{}"


def _merged(messages: Iterable[Message]) -> list[Message]:
    """Words of one speaker in a row as one message, calls of one answer in one: many models insist on taking turns."""
    made: list[Message] = []
    results: list[Message] = []
    for message in messages:
        last = made[-1] if made else None
        if message["role"] == "tool":
            results.append(message)
        elif "tool_calls" in message and last is not None and last["role"] == "assistant":
            last["tool_calls"] = [*last.get("tool_calls", ()), *message["tool_calls"]]
        else:
            made += results
            results = []
            last = made[-1] if made else None
            plain = message["role"] in ("user", "assistant") and "tool_calls" not in message
            if plain and last is not None and last["role"] == message["role"] and "tool_calls" not in last:
                last["content"] = f"{last['content']}\n{message['content']}"
            else:
                made.append(dict(message))
    return made + results


def _forget_oldest(messages: list[Message]) -> None:
    total, count = sum(map(_weight, messages)), 0
    while count < len(messages) - 1 and (total > MAX_CHARS or messages[count]["role"] == "tool"):
        total -= _weight(messages[count])
        count += 1
    del messages[:count]


def _weight(message: Message) -> int:
    return len(message["content"] or "") + sum(len(str(call)) for call in message.get("tool_calls", ()))


def _tool(tool: dict[str, Any]) -> Message:
    schema = tool.get("parameters") or {"type": "object", "properties": {}}
    function = {"name": tool["name"], "description": tool.get("description", ""), "parameters": schema}
    return {"type": "function", "function": function}


def _choice(choice: Any) -> Any:
    if isinstance(choice, dict) and choice.get("type") == "function":
        return {"type": "function", "function": {"name": choice["name"]}}
    return choice if isinstance(choice, str) else "auto"
