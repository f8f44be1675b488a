"""The cases of the benchmark, as data: what kind of calls, how many, and what is asked about them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, slots=True)
class Traffic:
    """What the calls of a case are like."""

    append_ms: int = 20
    """Milliseconds of audio in one event to the session."""
    law: str = "pcmu"
    pcm: bool = False
    """The server has no G.711: the session is PCM of 24 kHz, and every frame is converted both ways."""
    tls: bool = False
    """To the session."""
    srtp: bool = False
    record: bool = False
    warm: bool = False
    """A connection to the session is open already, and nobody waits for the greeting."""
    barge_in_ms: int = 0
    """So long after an answer has begun the server hears the caller; 0: never."""
    admission: bool = False
    """The service may refuse what its core cannot carry, as it does by default; else it takes all there is to see where
    the core's limit lies."""

    @property
    def in_clear(self) -> bool:
        """Whether the caller can read what the server wrote into the audio."""
        return not (self.pcm or self.srtp)

    @property
    def bytes_per_frame(self) -> int:
        """Of the session's audio, for 20 ms of the caller's."""
        return 960 if self.pcm else 160


class Ask(Enum):
    """What a case wants to know; each has its own way to measure."""

    LIMIT = "calls per core"
    LATENCY = "latency by number of calls"
    SET_UPS = "set-ups per second"
    SET_UP_TIME = "set-up time"
    BARGE_IN = "barge-in"
    MEMORY = "memory per call"
    SOAK = "soak"


@dataclass(frozen=True, slots=True)
class Case:
    """One line of `--list`."""

    name: str
    ask: Ask
    title: str
    traffic: Traffic = Traffic()
    calls: tuple[int, ...] = ()
    """The numbers of calls to measure with; of LIMIT the first of the search."""


def _limit(name: str, title: str, **traffic: object) -> Case:
    return Case(name, Ask.LIMIT, title, Traffic(**traffic), (100,))  # type: ignore[arg-type]


CASES = (
    _limit("append-20", "PCMU untouched, appends of 20 ms, no TLS"),
    _limit("append-40", "appends of 40 ms", append_ms=40),
    _limit("append-100", "appends of 100 ms", append_ms=100),
    _limit("tls", "TLS to the session, appends of 20 ms", tls=True),
    _limit("pcma", "PCMA untouched, appends of 20 ms", law="pcma"),
    _limit("pcm", "PCM of 24 kHz to the session, converted both ways", pcm=True),
    _limit("srtp", "SRTP to the caller (SDES)", srtp=True),
    _limit("recording", "every call recorded", record=True),
    Case("latency", Ask.LATENCY, "latencies and pacing by number of calls", calls=(25, 100, 200, 300, 400)),
    Case(
        "overload",
        Ask.LATENCY,
        "more calls than a core carries: those let in are well",
        Traffic(admission=True),
        (700,),
    ),
    Case("set-ups", Ask.SET_UPS, "calls set up and torn down per second and core"),
    Case("set-up-time", Ask.SET_UP_TIME, "from INVITE to 200, at 10 calls/s beside other calls", calls=(0, 100)),
    Case("barge-in", Ask.BARGE_IN, "interruptions under load", Traffic(barge_in_ms=3000), (100, 300)),
    Case("memory", Ask.MEMORY, "resident memory by number of calls, and when they are gone", calls=(100, 200, 400)),
    Case("soak", Ask.SOAK, "calls that come and go; only with --soak-minutes"),
)


def named(names: str) -> list[Case]:
    """The cases of a list with commas, in the order of the table; all without names. ValueError names strangers."""
    wanted = [name for name in names.split(",") if name]
    if strangers := set(wanted) - {case.name for case in CASES}:
        raise ValueError(f"no case {', '.join(sorted(strangers))}: --list shows them")
    return [case for case in CASES if case.name in wanted or not wanted]
