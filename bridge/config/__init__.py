"""The configuration's shape: frozen models, one per section, with ranges and defaults.

How files and the environment become these models is in `settings`. Every key can come from the environment as
`BRIDGE_<SECTION>__<KEY>`.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network

from pydantic import Field, model_validator

from .agent import (
    DEFAULT_AGENT,
    PROVIDERS,
    Agent,
    NoiseReduction,
    OwnTurns,
    SemanticVad,
    ServerVad,
    Transcription,
    Transfer,
)
from .caller import BargeIn, Digits
from .recording import Recording
from .recovery import Recovery
from .route import HIDDEN, Route
from .section import Misplaced, Section
from .service import Http, Limits, Log, Media, Transcripts
from .sip import Endpoint, Registrar, SessionTimer, Sip, Tls, User
from .spending import Price, Prices, Spend
from .template import Template
from .tools import TOOL_TAGS
from .trunk import Register, Trunk

__all__ = [
    "DEFAULT_AGENT",
    "HIDDEN",
    "PROVIDERS",
    "TOOL_TAGS",
    "Agent",
    "BargeIn",
    "Config",
    "Digits",
    "Endpoint",
    "Http",
    "Limits",
    "Log",
    "Media",
    "Misplaced",
    "NoiseReduction",
    "OwnTurns",
    "Price",
    "Prices",
    "Recording",
    "Recovery",
    "Register",
    "Registrar",
    "Route",
    "SemanticVad",
    "ServerVad",
    "SessionTimer",
    "Sip",
    "Spend",
    "Template",
    "Tls",
    "Transcription",
    "Transcripts",
    "Transfer",
    "Trunk",
    "User",
]


class Config(Section):
    """The whole configuration."""

    sip: Sip = Sip()
    trunks: dict[str, Trunk] = Field(default={})
    registrar: Registrar = Registrar()
    media: Media = Media()
    agents: dict[str, Agent] = Field(default={"default": DEFAULT_AGENT})
    routes: tuple[Route, ...] = ()
    recording: Recording = Recording()
    transcripts: Transcripts = Transcripts()
    limits: Limits = Limits()
    prices: Prices = Prices()
    http: Http = Http()
    log: Log = Log()

    def hidden_routes(self) -> Iterator[tuple[int, int]]:
        """Routes that can never fit, counted from 1, each with the one before it that takes every call."""
        catch_all = next((number for number, route in enumerate(self.routes, 1) if route.takes_every_call), None)
        if catch_all is not None:
            yield from ((number, catch_all) for number in range(catch_all + 1, len(self.routes) + 1))

    def callers(self) -> Iterator[tuple[str, str, User]]:
        """Trunk ("" for the registrar's), name and user of everybody who may call with a password."""
        for trunk, settings in self.trunks.items():
            for name, user in settings.users.items():
                yield trunk, name, user
        for name, user in self.registrar.users.items():
            yield "", name, user

    @model_validator(mode="after")
    def _routes_lead_to_agents(self) -> Config:
        if not self.agents:
            raise Misplaced(("agents",), "at least one agent must answer")
        for number, route in enumerate(self.routes):
            if route.agent not in self.agents:
                known = ", ".join(sorted(self.agents))
                raise Misplaced(("routes", number, "agent"), f"there is no agent {route.agent!r}; there are: {known}")
            if route.trunk is not None and route.trunk not in self.trunks:
                known = ", ".join(sorted(self.trunks)) or "none"
                raise Misplaced(("routes", number, "trunk"), f"there is no trunk {route.trunk!r}; there are: {known}")
        return self

    @model_validator(mode="after")
    def _a_network_belongs_to_one_trunk(self) -> Config:
        owners: dict[object, str] = {}
        for name, trunk in self.trunks.items():
            for number, peer in enumerate(trunk.peers):
                owner = owners.setdefault(ip_network(peer, strict=False), name)
                if owner != name:
                    words = f"{peer}: trunk {owner} has this network already: it can belong to one trunk only"
                    raise Misplaced(("trunks", name, "peers", number), words)
        return self

    @model_validator(mode="after")
    def _a_name_has_one_password(self) -> Config:
        owners: dict[str, str] = {}
        for trunk, name, _ in self.callers():
            place = ("trunks", trunk, "users", name) if trunk else ("registrar", "users", name)
            if name in owners:
                raise Misplaced(place, f"this user is there already, in {owners[name]}: a name can be used once")
            owners[name] = ".".join(place[:-1])
        return self

    @model_validator(mode="after")
    def _an_agents_limit_is_reached(self) -> Config:
        for name, agent in self.agents.items():
            if agent.limit is not None and agent.limit.minutes > self.limits.minutes:
                words = f"limits.minutes is {self.limits.minutes:g}: no call gets that far; raise it there"
                raise Misplaced(("agents", name, "limit", "minutes"), words)
        return self

    @model_validator(mode="after")
    def _what_is_limited_has_a_price(self) -> Config:
        if self.limits.spend.is_limited and not self.prices.models:
            raise Misplaced(("limits", "spend"), "nothing has a price: write prices.models.<name> for your models")
        return self

    @model_validator(mode="after")
    def _variables_come_from_somewhere(self) -> Config:
        taken = {header.lower() for trunk in self.trunks.values() for header in trunk.headers}
        for name, agent in self.agents.items():
            for key in ("instructions", "greeting"):
                text: str | None = getattr(agent, key)
                unknown = Template.parse(text).headers - taken if text else frozenset()
                if unknown:
                    words = f"no trunk takes over {min(unknown)}: name it in trunks.<name>.headers"
                    raise Misplaced(("agents", name, key), words)
        return self
