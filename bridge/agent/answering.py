"""The agent's side of a session: responses that wait for words, responses that are being sent, the rules between."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from bridge.agent import events
from bridge.agent.brain import Answer, Brain, Prompt
from bridge.agent.chat import chat
from bridge.agent.events import Event
from bridge.agent.formats import AudioFormat
from bridge.agent.items import Item
from bridge.agent.orders import Abandon, Reply, Speak, Work
from bridge.agent.pieces import AnswerPiece
from bridge.agent.plans import Call, Plan, Request, Speech, Stage
from bridge.agent.refusal import Refusal
from bridge.agent.responses import Response

MAX_OUT_OF_BAND = 16
# Events of one response in one go; a client that was not reading gets the rest in the next turn.
_AT_ONCE = 32


@dataclass(slots=True)
class _Waiting:
    """A response whose words are known and whose voice is not ready."""

    answer: Answer


class Answering:
    """Holds the active response of the conversation and those outside it; makes their events leave in time."""

    def __init__(
        self,
        stage: Stage,
        brain: Brain | None,
        chance: random.Random,
        emit: Callable[[Event], None],
        order: Callable[[Work], None],
        on_done: Callable[[Response], None],
        *,
        streamed: bool = False,
    ) -> None:
        """`streamed`: a pipeline answers, piece by piece; without a brain here, its own finds the words, too."""
        # The response that writes to the conversation; None between two.
        self.active: Response | None = None
        # The newest of them, also when it is done.
        self.latest: Response | None = None
        self._outside: list[Response] = []
        self._unspoken: dict[str, _Waiting] = {}
        self._stage = stage
        self._brain = brain
        self._chance = chance
        self._emit = emit
        self._order = order
        self._streamed = streamed
        self._on_done = on_done
        self._tokens = 40000

    def begin(self, request: Request, now: float, plan: Plan | None = None) -> Response:
        """Start a response: `response.created` leaves. Without a plan it waits for `think`.

        Raises Refusal when one is running already.
        """
        if request.in_conversation and self.active is not None:
            raise Refusal(
                "conversation_already_has_active_response",
                f"Response {self.active.id} is still in progress in this conversation.",
            )
        if len(self._outside) >= MAX_OUT_OF_BAND:
            raise Refusal("rate_limit_exceeded", "Too many responses at the same time.", kind="rate_limit_error")
        response = Response(request, self._stage, now)
        if request.in_conversation:
            self.active = self.latest = response
        else:
            self._outside.append(response)
        if plan is None or "response.created" not in plan.skip:
            self._emit(response.created())
        if plan is not None:
            response.play(plan, now)
        return response

    def cancel(self, response_id: str | None, reason: str = "client_cancelled", in_flight: int = 0) -> None:
        """End a response, the active one when no id is given. Raises Refusal when there is none."""
        for response in self._running():
            if response_id in (None, response.id) and (response_id or response is self.active):
                self._send(response, response.cancel(reason, in_flight))
                return
        raise Refusal("response_cancel_not_active", "Cancellation failed: no active response found")

    def advance(self, now: float) -> None:
        """Send what is due."""
        for response in self._running():
            self._send(response, response.advance(now, _AT_ONCE))

    def deadline(self) -> float | None:
        dues = [response.due for response in self._running() if response.plan is not None]
        return min(dues, default=None)

    def think(self, response: Response, silent: bool, now: float) -> None:
        """Find the words of a response and ask for the voice."""
        request = response.request
        if self._streamed:
            response.streaming = True
            self._order(self._reply(response, silent))
            return
        if self._brain is None:
            response.play(Plan(), now)
            return
        answer = self._brain.answer(self.prompt(request, silent))
        if request.modalities == ["text"]:
            response.play(_plan(answer, lambda number, form: b"", request.tool_choice), now)
            return
        self._unspoken[response.id] = _Waiting(answer)
        voice = request.voice if isinstance(request.voice, str) else "alloy"
        speed = self._stage.configuration.speed
        self._order(Speak(response.id, answer.text, request.format, voice, speed))

    def piece(self, response_id: str, piece: AnswerPiece) -> None:
        """The next piece of a response that a pipeline answers; one that comes too late is nobody's."""
        response = next((each for each in self._running() if each.id == response_id and each.streaming), None)
        if response is not None:
            self._send(response, response.stream(piece))

    def voiced(self, response_id: str, audio: bytes | None, now: float) -> None:
        """The voice is ready; None: it failed."""
        waiting = self._unspoken.pop(response_id, None)
        response = next((each for each in self._running() if each.id == response_id), None)
        if waiting is None or response is None:
            return
        if audio is None:
            self._send(response, response.fail("server_error", "The voice is not available."))
            return
        # The service's answers end in some silence, too.
        sound = audio + response.request.format.silence(self._chance.randint(200, 600))
        response.play(_plan(waiting.answer, lambda number, form: sound, response.request.tool_choice), now)

    def heard(self) -> list[Response]:
        """Responses that have not begun to think: they wait for the ears."""
        return [
            response
            for response in self._running()
            if response.plan is None and not response.streaming and response.id not in self._unspoken
        ]

    def prompt(self, request: Request, silent: bool) -> Prompt:
        """What the brain is told: the last words, or the tool's result after them."""
        tools = () if request.tool_choice == "none" else tuple(request.tools)
        words, output = _last_words(self._context(request))
        return Prompt(words, request.instructions, tools, output, silent)

    def _reply(self, response: Response, silent: bool) -> Reply:
        request, configuration = response.request, self._stage.configuration
        answer = question = None
        if self._brain is not None:
            answer = self._brain.answer(self.prompt(request, silent))
        else:
            question = chat(self._context(request), request, configuration.instructions, silent=silent)
        voice = str(request.voice["id"] if isinstance(request.voice, dict) else request.voice)
        spoken = request.modalities == ["audio"]
        return Reply(response.id, answer, question, spoken, request.format, voice, configuration.speed)

    def _context(self, request: Request) -> list[Item]:
        """The items that an answer is built from."""
        return list(self._stage.conversation) if request.input is None else self._input_items(request.input)

    def _input_items(self, given: list[dict[str, Any]]) -> list[Item]:
        items = []
        for entry in given:
            known = self._stage.conversation.get(str(entry.get("id")))
            if entry.get("type") == "item_reference" and known is not None:
                items.append(known)
            elif entry.get("type") == "message":
                parts = entry.get("content")
                texts = (
                    [str(part.get("text", "")) for part in parts if isinstance(part, dict)]
                    if isinstance(parts, list)
                    else []
                )
                items.append(Item("", "message", role=str(entry.get("role")), words=" ".join(texts)))
        return items

    def _running(self) -> list[Response]:
        return [*self._outside, self.active] if self.active is not None else list(self._outside)

    def _send(self, response: Response, made: Iterator[Event]) -> None:
        skip = frozenset() if response.plan is None else response.plan.skip
        for event in made:
            if event["type"] == "response.done":
                self._close(response)
            if event["type"] not in skip:
                self._emit(event)
        if response.done:
            self._tokens = max(0, self._tokens - 50)
            self._emit(events.rate_limits(self._tokens))
            self._on_done(response)

    def _close(self, response: Response) -> None:
        self._unspoken.pop(response.id, None)
        if response.streaming:
            self._order(Abandon(response.id))
        if response is self.active:
            self.active = None
        elif response in self._outside:
            self._outside.remove(response)


def _plan(answer: Answer, audio: Callable[[int, AudioFormat], bytes], tool_choice: Any) -> Plan:
    speech = Speech(answer.text, audio)
    if answer.call is None:
        return Plan((speech,))
    return Plan((speech, Call(*answer.call)), overlap=True)


def _last_words(items: list[Item]) -> tuple[str | None, str | None]:
    """(words, tool output): what came last, at most one of the two."""
    for item in reversed(items):
        if item.type == "function_call_output":
            return None, str(item.fields["output"])
        if item.type == "message" and item.role in ("user", "system"):
            return item.words or "", None
        if item.type == "message":
            return None, None
    return None, None
