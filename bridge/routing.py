"""From what an INVITE says to the agent that answers it, with the reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from bridge.config import Config, Route
from bridge.config.pattern import Pattern
from bridge.records import Origin
from bridge.sip.gate import Admitted
from bridge.sip.headers import Headers
from bridge.sip.identity import Identity, Party
from bridge.sip.message import Request

MAX_HEADER = 512
"""Characters of a header that reach instructions, metadata and record."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What routes are asked about: one call."""

    identity: Identity
    trunk: str = ""
    headers: Headers = field(default_factory=Headers)


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition of a route, held against one call: what is asked for, what came, whether it fits."""

    name: str
    wanted: str
    seen: str
    fits: bool

    def __str__(self) -> str:
        return f"{self.name} {self.wanted} {'fits' if self.fits else 'does not fit'} {self.seen!r}"


@dataclass(frozen=True, slots=True)
class Judged:
    """One route, held against one call. `number` counts from 1."""

    number: int
    agent: str
    conditions: tuple[Condition, ...]

    @property
    def fits(self) -> bool:
        """Whether all conditions do; a route without any takes every call."""
        return all(condition.fits for condition in self.conditions)


@dataclass(frozen=True, slots=True)
class Choice:
    """The agent that takes a call, the number of the route (None: there are no routes), and why in words."""

    agent: str
    rule: int | None
    why: str


_Test = Callable[[Asked], Condition]


class Router:
    """All routes of a configuration, compiled once."""

    def __init__(self, config: Config) -> None:
        self._first = next(iter(config.agents))
        self._routes = [(number, route.agent, _tests(route)) for number, route in enumerate(config.routes, 1)]

    def choose(self, identity: Identity, trunk: str, headers: Headers) -> Choice | None:
        """The first route that fits. None: no route does, the caller gets a 404.

        Without any route the first agent takes every call.
        """
        if not self._routes:
            return Choice(self._first, None, "there are no routes: the first agent answers")
        asked = Asked(identity, trunk, headers)
        for number, agent, tests in self._routes:
            if all(test(asked).fits for test in tests):
                why = ", ".join(str(test(asked)) for test in tests) or "it has no conditions"
                return Choice(agent, number, why)
        return None

    def explain(self, identity: Identity, trunk: str, headers: Headers) -> list[Judged]:
        """Every route with each of its conditions, for people."""
        asked = Asked(identity, trunk, headers)
        return [Judged(number, agent, tuple(test(asked) for test in tests)) for number, agent, tests in self._routes]


def origin_of(identity: Identity, admitted: Admitted, choice: Choice, request: Request, names: Sequence[str]) -> Origin:
    """What session and record get to know of a call; `names` are the headers that the trunk takes over."""
    shown = identity.shown_caller
    return Origin(
        trunk=admitted.trunk,
        user=admitted.user,
        route=choice.rule,
        caller=shown.user,
        caller_name=shown.name,
        called=identity.called,
        diverted_from=identity.shown_diverted_from,
        headers=_taken(request, names),
    )


def _taken(request: Request, names: Sequence[str]) -> Mapping[str, str]:
    values = ((name, request.header(name)) for name in names)
    return {name: " ".join(value.split())[:MAX_HEADER] for name, value in values if value}


def _tests(route: Route) -> list[_Test]:
    tests = [
        _on_party("to", route.to, lambda identity: identity.dialled),
        _on_party("from", route.from_, lambda identity: identity.calling),
        _on_party("to_header", route.to_header, lambda identity: identity.addressee),
        _on_party("diverted_from", route.diverted_from, _diverting),
        _on_trunk(route.trunk),
        *(_on_header(name, text) for name, text in route.header.items()),
    ]
    return [test for test in tests if test is not None]


def _diverting(identity: Identity) -> Party:
    return identity.diversions[0].party if identity.diversions else Party()


def _on_party(name: str, text: str | None, party: Callable[[Identity], Party]) -> _Test | None:
    if text is None:
        return None
    pattern, whole = Pattern.parse(text), "@" in text

    def test(asked: Asked) -> Condition:
        found = party(asked.identity)
        seen = found.address if whole else found.user
        return Condition(name, text, seen, pattern.fits(seen))

    return test


def _on_trunk(name: str | None) -> _Test | None:
    if name is None:
        return None
    return lambda asked: Condition("trunk", name, asked.trunk, asked.trunk == name)


def _on_header(name: str, text: str) -> _Test:
    pattern = Pattern.parse(text)

    def test(asked: Asked) -> Condition:
        values = [line.value for line in asked.headers.lines(name)]
        fitting = [value for value in values if pattern.fits(value)]
        return Condition(f"header {name}", text, (fitting or values or [""])[0], bool(fitting))

    return test
