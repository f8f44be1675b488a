"""What becomes of a caller whose agent cannot be had, or is lost for good."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, model_validator

from .pattern import Pattern
from .section import File, Section

_URI = ("sip:", "sips:", "tel:")
_NUMBER = re.compile(r"[A-Za-z0-9+*#_.\-]{1,64}\Z")


def _sentence(text: str) -> str:
    if not any(character.isalnum() for character in text):
        raise ValueError("there is nothing to say in it")
    return text


Sentence = Annotated[str, Field(max_length=1000), AfterValidator(_sentence)]
"""Words for the built-in voice, spoken at the start: without variables."""


class PlanB(Section):
    """An announcement, then somebody else or a polite end."""

    say: Sentence | None = None
    """What the caller is told, in the built-in voice."""
    file: File | None = None
    """The same as a WAV file of any rate."""
    transfer: str | None = None
    """To whom the caller goes then: a name of `transfer.targets`, or what they allow. Default: the call ends."""
    goodbye: Sentence | None = None
    """What the caller is told when nobody answers there; default: three soft notes."""
    goodbye_file: File | None = None
    """The same as a WAV file."""
    answer: bool = True
    """Whether a call is answered for this when its session cannot be opened; else the caller gets 503."""

    @model_validator(mode="after")
    def _of_two_one(self) -> PlanB:
        for words, file in (("say", "file"), ("goodbye", "goodbye_file")):
            if getattr(self, words) is not None and getattr(self, file) is not None:
                raise ValueError(f"{words} and {file} are the same announcement: keep one")
        if self.say is None and self.file is None and self.transfer is None:
            raise ValueError("needs something to do: `say`, `file` or `transfer`")
        if self.transfer is None and (self.goodbye is not None or self.goodbye_file is not None):
            raise ValueError("goodbye is for callers whom nobody answers: it needs `transfer`")
        return self

    def announcements(self) -> dict[str, str | Path]:
        """The keys that need a sound, each with its words or its file."""
        named = {key: getattr(self, key) for key in ("say", "file", "goodbye", "goodbye_file")}
        return {key: value for key, value in named.items() if value is not None}


def short_plan_b(value: Any) -> Any:
    """A text alone is what the caller is told."""
    return {"say": value} if isinstance(value, str) else value


def is_reachable(wanted: str, targets: Mapping[str, str]) -> bool:
    """Whether an agent's transfer targets (name → URI, number or pattern) allow this one."""
    for name, text in targets.items():
        is_pattern = not text.startswith(_URI) and ("*" in text or "?" in text or text.startswith("/"))
        if not is_pattern and (name.casefold() == wanted.casefold() or text == wanted):
            return True
        if is_pattern and _NUMBER.match(wanted) and Pattern.parse(text).fits(wanted):
            return True
    return False


def check_target(plan_b: PlanB | None, targets: Mapping[str, str]) -> None:
    """ValueError when plan B would hand the caller to somebody who is not on the agent's list."""
    if plan_b is not None and plan_b.transfer is not None and not is_reachable(plan_b.transfer, targets):
        known = ", ".join(targets) or "none"
        raise ValueError(f"plan_b.transfer: {plan_b.transfer!r} is not in transfer.targets; there are: {known}")
