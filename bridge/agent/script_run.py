"""A script at work in one session: rules fire, their steps run as strands beside each other."""

import json
import random
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from bridge.agent import patterns
from bridge.agent.formats import AudioFormat
from bridge.agent.outbox import Close, Drop, Filler, Outgoing, Raw, Stall
from bridge.agent.plans import Call, Plan, Speech
from bridge.agent.refusal import Refusal
from bridge.agent.script import Rule, Script

# A loop that never waits must not hold the server: so many steps at a time.
_STEPS_AT_ONCE = 500


class Actor(Protocol):
    """What the steps act on: a session."""

    def put(self, outgoing: Outgoing) -> None: ...
    def emit_raw(self, event: dict[str, Any]) -> None: ...
    def refuse(self, refusal: Refusal) -> None: ...
    def say(self, plan: Plan) -> str | None: ...
    def cancel_active(self, reason: str, in_flight: int) -> None: ...
    def start_speech(self, audio_start_ms: int | None, in_flight: int | None, interrupt: bool) -> None: ...
    def stop_speech(self, audio_end_ms: int | None, respond: bool) -> None: ...
    def transcribe(self, item_id: str | None, text: str | None) -> None: ...
    def extra_audio(self, item_id: str | None, pattern: str, ms: int) -> None: ...
    def new_item_id(self) -> str: ...
    def last_ids(self) -> dict[str, str | None]: ...
    def note(self, text: str) -> None: ...


@dataclass(slots=True)
class _Strand:
    """Steps in progress. Waits until `due`, or until `trigger` comes."""

    steps: Iterator[float | dict[str, Any]]
    due: float
    trigger: str | None = None


class ScriptRun:
    """Runs one script in one session. `fire` notes what happened, `pump` runs what is due."""

    def __init__(self, script: Script, actor: Actor, seed: str) -> None:
        self.chance = random.Random(f"script:{seed if script.seed is None else script.seed}")
        self._actor = actor
        self._rules = script.rules
        self._seen: dict[str, int] = {}
        self._fired = [0] * len(script.rules)
        self._marks = {id(rule): rule.append_ms for rule in script.rules if rule.append_ms is not None}
        self._strands: list[_Strand] = []
        self._new: deque[_Strand] = deque()
        self._names: dict[str, str] = {}

    def fire(self, trigger: str) -> bool:
        """A trigger came. True when a rule takes the place of the normal behaviour."""
        for strand in self._strands:
            if strand.trigger == trigger:
                strand.trigger, strand.due = None, 0.0
        seen = self._seen[trigger] = self._seen.get(trigger, 0) + 1
        instead = False
        for index, rule in enumerate(self._rules):
            if rule.on != trigger or not self._may_run(index, rule, seen):
                continue
            self._fired[index] += 1
            self._new.append(_Strand(self._walk(rule.steps), 0.0))
            instead = instead or rule.instead
        return instead

    def audio_clock(self, ms: int) -> None:
        """So much audio was appended in all."""
        if not self._marks:
            return
        for index, rule in enumerate(self._rules):
            mark = self._marks.get(id(rule))
            if mark is None or ms < mark:
                continue
            if rule.every and rule.append_ms:
                self._marks[id(rule)] = mark + rule.append_ms
            else:
                del self._marks[id(rule)]
            self._fired[index] += 1
            self._new.append(_Strand(self._walk(rule.steps), 0.0))

    def pump(self, now: float) -> None:
        """Run all steps that are due."""
        if not self._strands and not self._new:
            return
        budget = _STEPS_AT_ONCE
        while budget > 0:
            self._strands.extend(self._new)
            self._new.clear()
            ready = [strand for strand in self._strands if strand.due <= now]
            if not ready:
                return
            for strand in ready:
                budget -= 1
                self._step(strand, now)

    def deadline(self) -> float | None:
        """When `pump` is needed next; None when only a trigger can help."""
        dues = [strand.due for strand in (*self._strands, *self._new)]
        return min(dues, default=None)

    def plan(self, spec: dict[str, Any]) -> Plan:
        """A RESPONSE of the script as a plan."""
        outputs = tuple(self._output(item) for item in spec.get("items", ()))
        status, details = spec.get("status", "completed"), spec.get("status_details")
        if "error" in spec:
            fault = {"type": "server_error", "code": "server_error", "message": "The script says so."}
            status, details = "failed", {"type": "failed", "error": fault | spec["error"]}
        elif details is None and status != "completed":
            details = {"type": status, "reason": _REASONS[status]} if status in _REASONS else None
        return Plan(
            outputs,
            speed=spec.get("speed"),
            status=status,
            status_details=details,
            skip=frozenset(spec.get("skip", ())),
            overlap=spec.get("overlap", False),
            first_byte_ms=self.ms(spec.get("first_byte_ms", 0)),
        )

    def ms(self, value: Any) -> int:
        """A number of ms, or one between two."""
        return int(self.chance.uniform(*value) if isinstance(value, tuple) else value)

    def _may_run(self, index: int, rule: Rule, seen: int) -> bool:
        if rule.nth is not None and seen != rule.nth:
            return False
        return rule.times is None or self._fired[index] < rule.times

    def _step(self, strand: _Strand, now: float) -> None:
        strand.trigger = None
        wait = next(strand.steps, None)
        if wait is None:
            self._strands.remove(strand)
        elif isinstance(wait, float):
            strand.due = now + wait
        else:
            strand.trigger = wait["on"]
            strand.due = now + self.ms(wait["timeout_ms"]) / 1000 if "timeout_ms" in wait else float("inf")

    def _walk(self, steps: list[tuple[str, Any]]) -> Iterator[float | dict[str, Any]]:
        """Do the steps; give back each wait: seconds, or a trigger."""
        for name, value in steps:
            if name == "delay_ms":
                yield self.ms(value) / 1000
            elif name == "until":
                yield value
            elif name == "repeat":
                yield from self._loop(value)
            else:
                self._do(name, value)
                yield 0.0

    def _loop(self, value: dict[str, Any]) -> Iterator[float | dict[str, Any]]:
        left = value.get("times")
        while left is None or left > 0:
            left = None if left is None else left - 1
            yield from self._walk(value["do"])
            yield 0.0

    def _do(self, name: str, value: Any) -> None:
        actor = self._actor
        match name:
            case "response":
                self._names["response:" + value.get("name", "")] = actor.say(self.plan(value)) or ""
            case "cancel":
                actor.cancel_active(value.get("reason", "client_cancelled"), value.get("in_flight", 0))
            case "speech_started":
                actor.start_speech(value.get("audio_start_ms"), value.get("in_flight"), value.get("interrupt", True))
            case "speech_stopped":
                actor.stop_speech(value.get("audio_end_ms"), value.get("respond", True))
            case "transcription":
                text = None if value.get("failed") else value.get("text", "")
                actor.transcribe(self._named(value), text)
            case "audio":
                actor.extra_audio(self._named(value), value.get("pattern", "counter"), self.ms(value["ms"]))
            case "send":
                actor.emit_raw(self._filled(value))
            case "error":
                kind = value.get("type", "invalid_request_error")
                message = value.get("message", "The script says so.")
                actor.refuse(Refusal(value.get("code"), message, value.get("param"), kind))
            case "note":
                actor.note(value)
            case _:
                actor.put(self._fault(name, value))

    def _fault(self, name: str, value: Any) -> Outgoing:
        match name:
            case "send_text" | "send_binary":
                return Raw(value)
            case "send_filler":
                return Filler(value)
            case "close":
                return Close(value.get("code", 1000), value.get("reason", ""))
            case "drop":
                return Drop()
        return Stall(name == "stall_read_ms", self.ms(value) / 1000)

    def _output(self, item: dict[str, Any]) -> Speech | Call:
        item_id = self._actor.new_item_id()
        if "name" in item:
            self._names["item:" + item["name"]] = item_id
        if "call" in item:
            arguments = item.get("arguments", {})
            written = arguments if isinstance(arguments, str) else json.dumps(arguments)
            return Call(item["call"], written, item.get("call_id"), item_id)
        length, tail = self.ms(item.get("audio_ms", 1000)), self.ms(item.get("tail_ms", 0))
        pattern = item.get("pattern", "counter")

        def audio(number: int, form: AudioFormat) -> bytes:
            return patterns.make(pattern, length, number, form) + form.silence(tail)

        low, high = _both(item.get("chunk_ms", (40.0, 400.0)))
        transcript = item.get("transcript", " ".join(f"word{n}" for n in range(1, 2 + length // 400)))
        return Speech(transcript, audio, (int(low), int(high)), item.get("gaps", ()), item_id)

    def _named(self, value: dict[str, Any]) -> str | None:
        return self._names.get("item:" + value["item"]) if "item" in value else None

    def _filled(self, value: Any) -> Any:
        """The event with its placeholders replaced."""
        if isinstance(value, dict):
            return {key: self._filled(entry) for key, entry in value.items()}
        if isinstance(value, list):
            return [self._filled(entry) for entry in value]
        if isinstance(value, str) and value.startswith("$"):
            return self._names.get(value[1:]) or self._actor.last_ids().get(value[1:]) or value
        return value


def _both(value: Any) -> tuple[float, float]:
    return value if isinstance(value, tuple) else (value, value)


_REASONS = {"cancelled": "turn_detected", "incomplete": "max_output_tokens"}
