"""Scripts: how the agent behaves, and misbehaves, when a test wants to decide. YAML; docs/agent-scripts.md.

A script is a mapping. All members are optional:

    seed: 7                # every random choice of the script follows it (default: the server's seed)
    brain: false           # true: turns without a rule are answered by ears, brain and voice
    vad: true              # false: no speech detection; turns come from the script alone
    speed: 6               # audio seconds sent per second; "max" sends at once
    answer: RESPONSE       # says this to every response.create and every turn that no rule answers
    heard: ["Hello."]      # transcripts of the caller's turns, in rotation; null: none is ever sent
    heard_ms: [50, 400]    # when they come, after the commit
    rules:
      - on: TRIGGER        # see below
        nth: 2             # only the second time (default: each time)
        times: 1           # at most so often
        instead: true      # in place of the normal behaviour (default for response_create and turn)
        do: [STEP, ...]

TRIGGER is `connect`, `session_update`, `append`, `commit`, `clear`, `item_create`, `item_retrieve`, `truncate`,
`delete`, `response_create`, `cancel`, `turn` (a committed turn is to be answered), `speech_started`,
`speech_stopped`, `committed`, `response_created`, `response_done`, the type of any client or server event,
or `{append_ms: 2000}` (so much audio was appended; with `every: true` again after each 2000 ms).

A STEP is a mapping of one member. Where a number of ms stands, `[low, high]` chooses at random:

    delay_ms: 200                              wait
    until: truncate                            wait for a trigger; {on: TRIGGER, timeout_ms: 500} goes on without
    response: RESPONSE                         start a response (does not wait for its end: until response_done)
    cancel: {}                                 the server cancels the active response; {reason: ..., in_flight: 2}
    speech_started: {}                         as if speech was heard; {audio_start_ms, in_flight: 3, interrupt: false}
    speech_stopped: {}                         end, commit and answer the turn; {audio_end_ms, respond: false}
    transcription: {text: ..., item: NAME}     of the last user item, or failed: true
    audio: {ms: 200, item: NAME, pattern: P}   one more audio delta of an item, also of one that is over
    send: {type: ..., ...}                     any event; "$item", "$item:NAME", "$response", "$response:NAME", "$user"
    send_text: "not JSON"                      a text frame
    send_binary: 400                           a binary frame of so many bytes, or of a hex string
    send_filler: 100000000                     one JSON event of so many bytes
    error: {code, message, type, param}        an error event
    stall_read_ms: 3000                        stop reading the socket
    stall_send_ms: 3000                        stop sending
    close: {code: 1011, reason: ...}           close the WebSocket
    drop: {}                                   reset the TCP connection
    repeat: {times: 200, do: [STEP, ...]}      a loop; without times: for ever
    note: text                                 a mark in the journal of the session

RESPONSE: `{items: [ITEM, ...], name, speed, first_byte_ms, skip: [event type, ...], overlap: true, status,
status_details, error: {code, message}}`; `skip` leaves these events out, `overlap` holds the done events of each
item back until all items are said, `error` makes it end as failed after its items.

ITEM: `{audio_ms: 3000, pattern: P, transcript, name, chunk_ms: [40, 400], gaps: [[after_ms, ms], ...], tail_ms}` or
`{call: function name, arguments: {...}, call_id, name}`. P is `counter` (default), `silence`, `tone:440` or
`wav:PATH`; bridge/agent/patterns.py tells how `counter` is read back. `tail_ms` adds silence after the pattern.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import yaml

from bridge.agent import checks
from bridge.agent.refusal import Refusal, wrong_value

ALIASES = {
    "connect": "session.created",
    "session_update": "session.update",
    "append": "input_audio_buffer.append",
    "commit": "input_audio_buffer.commit",
    "clear": "input_audio_buffer.clear",
    "item_create": "conversation.item.create",
    "item_retrieve": "conversation.item.retrieve",
    "truncate": "conversation.item.truncate",
    "delete": "conversation.item.delete",
    "response_create": "response.create",
    "cancel": "response.cancel",
    "turn": "turn",
    "speech_started": "input_audio_buffer.speech_started",
    "speech_stopped": "input_audio_buffer.speech_stopped",
    "committed": "input_audio_buffer.committed",
    "response_created": "response.created",
    "response_done": "response.done",
}


class ScriptError(ValueError):
    """The script says something that does not exist; the text names the place."""


def _milliseconds(value: Any, path: str) -> Any:
    if isinstance(value, list):
        if len(value) != 2:
            raise wrong_value(path, "a number or [low, high]")
        return tuple(checks.number(0, 1e9)(entry, path) for entry in value)
    return checks.number(0, 1e9)(value, path)


def _speed(value: Any, path: str) -> float:
    return float("inf") if value == "max" else checks.number(0.01, 1e6)(value, path)


def _trigger(value: Any, path: str) -> str:
    name = checks.text(value, path)
    if name not in ALIASES and "." not in name:
        raise wrong_value(path, "the type of an event or one of " + ", ".join(ALIASES))
    return ALIASES.get(name, name)


def _pattern(value: Any, path: str) -> str:
    if checks.text(value, path).partition(":")[0] not in ("counter", "silence", "tone", "wav"):
        raise wrong_value(path, "counter, silence, tone:HZ or wav:PATH")
    return str(value)


def _pairs(value: Any, path: str) -> tuple[tuple[int, int], ...]:
    pairs = checks.list_of(checks.list_of(checks.integer(0, 10**9)))(value, path)
    if any(len(pair) != 2 for pair in pairs):
        raise wrong_value(path, "a list of pairs [after_ms, ms]")
    return tuple((after, ms) for after, ms in pairs)


_SPEECH_ITEM = checks.record(
    {
        "audio_ms": _milliseconds,
        "pattern": _pattern,
        "transcript": checks.text,
        "name": checks.text,
        "chunk_ms": _milliseconds,
        "gaps": _pairs,
        "tail_ms": _milliseconds,
    }
)
_CALL_ITEM = checks.record(
    {"call": checks.text, "arguments": checks.anything, "call_id": checks.text, "name": checks.text}, ("call",)
)


def _item(value: Any, path: str) -> Any:
    return (_CALL_ITEM if "call" in checks.mapping(value, path) else _SPEECH_ITEM)(value, path)


_RESPONSE = checks.record(
    {
        "items": checks.list_of(_item),
        "name": checks.text,
        "speed": _speed,
        "first_byte_ms": _milliseconds,
        "skip": checks.list_of(checks.text),
        "overlap": checks.boolean,
        "status": checks.one_of("completed", "cancelled", "incomplete", "failed"),
        "status_details": checks.mapping,
        "error": checks.record({"code": checks.text, "message": checks.text, "type": checks.text}),
    }
)


def _until(value: Any, path: str) -> Any:
    if isinstance(value, str):
        return {"on": _trigger(value, path)}
    return checks.record({"on": _trigger, "timeout_ms": _milliseconds}, ("on",))(value, path)


def _binary(value: Any, path: str) -> bytes:
    if isinstance(value, str):
        try:
            return bytes.fromhex(value)
        except ValueError:
            raise wrong_value(path, "a number of bytes or hex digits") from None
    return bytes(checks.integer(0, 1 << 30)(value, path))


def _steps(value: Any, path: str) -> list[tuple[str, Any]]:
    return [_step(entry, f"{path}[{index}]") for index, entry in enumerate(checks.list_of(checks.mapping)(value, path))]


def _step(value: dict[str, Any], path: str) -> tuple[str, Any]:
    if len(value) != 1:
        raise wrong_value(path, "a mapping of one member")
    ((name, detail),) = value.items()
    checked = checks.record(_STEPS)({name: {} if detail is None else detail}, path)
    return name, checked[name]


_STEPS: dict[str, checks.Check] = {
    "delay_ms": _milliseconds,
    "until": _until,
    "response": _RESPONSE,
    "cancel": checks.record({"reason": checks.text, "in_flight": checks.integer(0, 1000)}),
    "speech_started": checks.record(
        {
            "audio_start_ms": checks.integer(0, 1 << 40),
            "in_flight": checks.integer(0, 1000),
            "interrupt": checks.boolean,
        }
    ),
    "speech_stopped": checks.record({"audio_end_ms": checks.integer(0, 1 << 40), "respond": checks.boolean}),
    "transcription": checks.record({"text": checks.text, "item": checks.text, "failed": checks.boolean}),
    "audio": checks.record({"ms": _milliseconds, "item": checks.text, "pattern": _pattern}, ("ms",)),
    "send": checks.mapping,
    "send_text": checks.text,
    "send_binary": _binary,
    "send_filler": checks.integer(0, 1 << 31),
    "error": checks.record(
        {"code": checks.text, "message": checks.text, "type": checks.text, "param": checks.nullable(checks.text)}
    ),
    "stall_read_ms": _milliseconds,
    "stall_send_ms": _milliseconds,
    "close": checks.record({"code": checks.integer(1000, 4999), "reason": checks.text_up_to(120)}),
    "drop": checks.mapping,
    "repeat": checks.record({"times": checks.integer(0, 1 << 31), "do": _steps}, ("do",)),
    "note": checks.text,
}


@dataclass(slots=True)
class Rule:
    """Steps that run when a trigger comes. `append_ms` is set for the trigger of that name, in ms."""

    on: str
    steps: list[tuple[str, Any]]
    append_ms: float | None = None
    every: bool = False
    nth: int | None = None
    times: int | None = None
    instead: bool = False


_RULE = checks.record(
    {
        "on": checks.anything,
        "nth": checks.integer(1, 1 << 31),
        "times": checks.integer(1, 1 << 31),
        "instead": checks.boolean,
        "do": _steps,
    },
    ("on", "do"),
)


def _rule(value: Any, path: str) -> Rule:
    given = _RULE(value, path)
    on, instead = given["on"], given.get("instead")
    if isinstance(on, dict):
        mark = checks.record({"append_ms": checks.number(1, 1e9), "every": checks.boolean}, ("append_ms",))(
            on, f"{path}.on"
        )
        rule = Rule("append_ms", given["do"], mark["append_ms"], mark.get("every", False))
    else:
        rule = Rule(_trigger(on, f"{path}.on"), given["do"])
    rule.nth, rule.times = given.get("nth"), given.get("times")
    rule.instead = rule.on in ("response.create", "turn") if instead is None else instead
    return rule


def _heard(value: Any, path: str) -> list[str]:
    return [] if value is None else checks.list_of(checks.text)(value, path)


_SCRIPT = checks.record(
    {
        "seed": checks.integer(0, 1 << 62),
        "brain": checks.boolean,
        "vad": checks.boolean,
        "speed": _speed,
        "answer": _RESPONSE,
        "heard": _heard,
        "heard_ms": _milliseconds,
        "rules": checks.list_of(_rule),
    }
)


class _Loader(yaml.SafeLoader):
    """YAML in which only true and false are booleans: `on` is the name of a member here."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false)$"), list("tf"))


@dataclass(frozen=True, slots=True)
class Script:
    """A checked script. One script serves any number of sessions; each runs it from the beginning."""

    seed: int | None = None
    brain: bool = False
    vad: bool = True
    speed: float | None = None
    answer: dict[str, Any] | None = None
    heard: list[str] = field(default_factory=lambda: ["Hello."])
    heard_ms: Any = (50.0, 400.0)
    rules: list[Rule] = field(default_factory=list)

    @classmethod
    def parse(cls, text: str) -> Self:
        """From YAML. Raises ScriptError with the place of the fault."""
        try:
            given = yaml.load(text, _Loader)
            return cls(**_SCRIPT({} if given is None else given, "script"))
        except yaml.YAMLError as fault:
            raise ScriptError(f"not YAML: {fault}") from None
        except Refusal as fault:
            raise ScriptError(f"{fault.param}: {fault.message}") from None

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """From a file. Raises ScriptError, OSError."""
        return cls.parse(Path(path).read_text(encoding="utf-8"))
