"""What the agent's server speaks and can do, where that is not what its provider's name says."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from .section import AsList, Section


def _as_answer(value: Any) -> Any:
    """YAML reads a bare `yes` and `no` as true and false."""
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else value


class Server(Section):
    """A server that is more or less compatible with OpenAI's. What is not said is as its provider's preset has it."""

    dialect: Literal["ga", "beta", "xai"] | None = None
    """The shape of what it is told: OpenAI's present one, the one before August 2025, xAI's. All are understood."""
    g711: bool | None = None
    """Whether it speaks G.711; without, the session is PCM of 24 kHz."""
    truncate: Annotated[Literal["yes", "replace", "note", "no"] | None, BeforeValidator(_as_answer)] = None
    """How it is told what was heard of an answer that was cut: `yes` by a truncate, `replace` by the heard words in the
    answer's place, `note` by a note in the conversation, `no` not at all."""
    cancel: bool | None = None
    """Whether it knows `response.cancel`."""
    transcription: bool | None = None
    """Whether it may be asked to write down what the caller says."""
    tools: bool | None = None
    """Whether it takes tools."""
    metadata: bool | None = None
    """Whether a response may carry metadata."""
    greeting: Literal["response", "message"] | None = None
    """Where the greeting's words stand: in the instructions of its response, or in a system message before it."""
    leave_out: Annotated[tuple[str, ...], AsList] = ()
    """Members of session.update that it refuses, such as `audio.input.noise_reduction`."""

    def changes(self) -> dict[str, Any]:
        """What was said, by name."""
        return self.model_dump(exclude_none=True)
