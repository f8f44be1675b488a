"""Which agent takes a call."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from .pattern import Pattern
from .section import Section


def _pattern(text: str) -> str:
    Pattern.parse(text)
    return text


HIDDEN = "route {} before it takes every call: put this one in front of it, or leave it out"
"""What to do about a route that can never fit."""
PatternText = Annotated[str, AfterValidator(_pattern)]


class Route(Section):
    """An agent and the conditions that must all hold. The first route that fits wins.

    Each condition but `trunk` is a pattern: `*` and `?`, or `/regular expression/`. One with an `@` in it is held
    against user@host, any other against the user.
    """

    to: PatternText | None = None
    """Whom the Request-URI names: the dialled number."""
    from_: PatternText | None = Field(default=None, alias="from")
    """Who calls, as far as the trunk can be believed."""
    to_header: PatternText | None = None
    """Whom the To header names: what was dialled before anybody diverted the call."""
    diverted_from: PatternText | None = None
    """Who diverted the call to us."""
    trunk: str | None = None
    header: dict[str, PatternText] = Field(default={})
    """Header name → pattern for any one of its lines."""
    agent: str

    @property
    def takes_every_call(self) -> bool:
        """Whether there is no condition, or only such as fit everything."""
        texts = (self.to, self.from_, self.to_header, self.diverted_from)
        return self.trunk is None and not self.header and all(text in (None, "*") for text in texts)
