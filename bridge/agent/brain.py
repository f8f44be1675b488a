"""What to say: a few rules, no model. Everything is decided by the last words and the offered tools."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import cycle
from typing import Any

GREETING = "Hello, this is the built-in agent. Ask me for the time, the date, a joke or a story."
HELP = "I can tell you the time and the date. Ask for a joke or a story, or say repeat after me. To end, say goodbye."
NOT_UNDERSTOOD = "Sorry, I did not understand. Ask me for the time, the date, or a joke."
SILENCE = "Are you still there? Ask me for the time, the date, or a joke."
GOODBYE = "Goodbye. Thank you for calling."

JOKES = (
    "A packet walks into a bar and says: one drink, please. The barman says: did you say one drink? The packet says: "
    "yes, one drink. The barman says: I heard you the first time, but I always ask again. That is how it is in my bar. "
    "If nobody answers, we simply pour it twice.",
    "Two telephones got married last week. The wedding was rather quiet, and the speeches kept breaking up, but "
    "everybody agreed that the reception was excellent. They have moved in together, and by now each of them "
    "is waiting for the other one to hang up first.",
    "I asked my jitter buffer to tell me a joke. It thought for sixty milliseconds, left out the middle part, put the "
    "end before the beginning, filled the gap with a little noise, and then assured me that nobody would notice.",
)
STORY = (
    "Once upon a time there was a small telephone in a big house. Every morning it waited on its table and listened to "
    "the clock. One day it rang, and nobody was at home. It rang again, and still nobody came. So the telephone took "
    "a deep breath, lifted its own receiver and said: hello, this is the house, how can I help you? The caller was so "
    "surprised that she forgot what she wanted to ask. They talked about the weather, about the garden, and about the "
    "cat who slept on the stairs. When the people came home in the evening, there was a note on the table. It said: "
    "one call, all is well, please buy milk. And since that day the telephone answers whenever nobody is there."
)
_DIGITS = {
    "0": "zero",
    "1": "one",
    "2": "two",
    "3": "three",
    "4": "four",
    "5": "five",
    "6": "six",
    "7": "seven",
    "8": "eight",
    "9": "nine",
    "*": "star",
    "#": "pound",
}
_PRESSED = re.compile(r"pressed\s+(?:the\s+)?(?:keys?\s+|digits?\s+)?['\"]?([0-9A-D*#]+(?:[ ,]+[0-9A-D*#]\b)*)")
_EXACTLY = re.compile(r"say exactly:?\s*(.+)", re.IGNORECASE | re.DOTALL)
_REPEAT = re.compile(r"\b(?:repeat after me|repeat|say)\b[:,]?\s+(.+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Prompt:
    """What one answer is built from."""

    # The caller's or the system's last text; None: nothing was said; "": not understood.
    words: str | None = None
    # Instructions of this response alone.
    instructions: str | None = None
    tools: tuple[dict[str, Any], ...] = ()
    # Result of a tool that has not been spoken about yet.
    tool_output: str | None = None
    # True when the caller kept silent for the idle time.
    silent: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """A text to say, and a function to call after it: (name, arguments as JSON)."""

    text: str
    call: tuple[str, str] | None = None


@dataclass(slots=True)
class Brain:
    """The rules, and which joke comes next. One for each session."""

    clock: Callable[[], datetime] = datetime.now
    _jokes: Iterator[str] = field(default_factory=lambda: cycle(JOKES))

    def answer(self, prompt: Prompt) -> Answer:
        """Never fails: what it has no rule for is answered by `NOT_UNDERSTOOD`."""
        exactly = _EXACTLY.search(prompt.instructions or "")
        if exactly:
            return Answer(exactly.group(1).strip().strip("\"'“”"))
        if prompt.silent:
            return Answer(SILENCE)
        if prompt.tool_output is not None:
            return Answer(_spoken_output(prompt.tool_output))
        if prompt.words is None:
            return Answer(GREETING)
        return self._reply(prompt.words, prompt.tools)

    def _reply(self, words: str, tools: tuple[dict[str, Any], ...]) -> Answer:
        pressed = _PRESSED.search(words)
        if pressed:
            keys = [key for key in pressed.group(1) if key not in " ,"]
            return Answer("You pressed " + " ".join(_DIGITS.get(key, key) for key in keys) + ".")
        repeat = _REPEAT.search(words)
        if repeat:
            return Answer(repeat.group(1).strip())
        for pattern, reply in self._rules():
            if re.search(pattern, words, re.IGNORECASE):
                return _with_tool(reply, tools)
        return Answer(NOT_UNDERSTOOD)

    def _rules(self) -> tuple[tuple[str, Callable[[], Answer]], ...]:
        return (
            (r"\b(good\s?bye|bye|hang up|that is all)\b", lambda: Answer(GOODBYE, ("hang_up", "{}"))),
            (
                r"\b(transfer|operator|somebody|connect me)\b",
                lambda: Answer("One moment, please.", ("transfer", "{}")),
            ),
            (r"\bjoke\b", lambda: Answer(next(self._jokes))),
            (r"\bstory\b", lambda: Answer(STORY)),
            (r"\b(date|day|today)\b", lambda: Answer(spoken_date(self.clock()))),
            (r"\btime\b", lambda: Answer(spoken_time(self.clock()))),
            (r"\b(help|what can you do|who are you)\b", lambda: Answer(HELP)),
            (r"\bthank(s| you)\b", lambda: Answer("You are welcome.")),
            (r"\b(hello|hi|good morning|good evening|greet)\b", lambda: Answer(GREETING)),
        )


def spoken_time(now: datetime) -> str:
    """Such as "It is 9 41 p m.", as a voice reads it well."""
    hour = now.hour % 12 or 12
    minute = "o'clock" if now.minute == 0 else f"oh {now.minute}" if now.minute < 10 else str(now.minute)
    half = "in the morning" if now.hour < 12 else "in the afternoon" if now.hour < 18 else "in the evening"
    return f"It is {hour} {minute} {half}."


def spoken_date(now: datetime) -> str:
    return f"Today is {now:%A}, {now:%B} {now.day}, {now.year}."


def _spoken_output(output: str) -> str:
    """The text of a tool's result: a JSON object is read member by member."""
    try:
        result = json.loads(output)
    except ValueError:
        result = output
    if isinstance(result, dict):
        return "Here is the result. " + " ".join(f"{key}: {value}." for key, value in result.items())
    return f"Here is the result. {result}"


def _with_tool(reply: Callable[[], Answer], tools: tuple[dict[str, Any], ...]) -> Answer:
    """The reply, its call only when the session offers that function, with the required arguments filled in."""
    answer = reply()
    if answer.call is None:
        return answer
    for tool in tools:
        if tool.get("type") == "function" and tool.get("name") == answer.call[0]:
            return Answer(answer.text, (answer.call[0], _arguments(tool.get("parameters"))))
    if answer.call[0] == "transfer":
        return Answer("I cannot transfer this call, I am all alone here.")
    return Answer(answer.text)


def _arguments(schema: Any) -> str:
    """Arguments that satisfy the required members of a simple JSON schema."""
    schema = schema if isinstance(schema, dict) else {}
    properties = schema.get("properties")
    properties = properties if isinstance(properties, dict) else {}
    required = schema.get("required")
    names = required if isinstance(required, list) else []
    return json.dumps({name: _example(properties.get(name)) for name in names if isinstance(name, str)})


def _example(schema: Any) -> Any:
    schema = schema if isinstance(schema, dict) else {}
    if isinstance(schema.get("enum"), list) and schema["enum"]:
        return schema["enum"][0]
    kinds: dict[Any, Any] = {"integer": 1, "number": 1, "boolean": True, "array": [], "object": {}}
    kind = schema.get("type")
    return kinds.get(kind, "The caller asked for it.") if isinstance(kind, str) else "The caller asked for it."
