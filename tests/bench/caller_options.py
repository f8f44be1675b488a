"""What the caller is told on its command line."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from tests.bench.sip_text import PAYLOAD_TYPES, Address


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says. Times in seconds."""

    target: Address
    calls: int = 1
    rate: float = 50.0
    """New calls a second."""
    law: str = "pcmu"
    srtp: bool = False
    hold_s: float = 0.0
    """So long each call lasts, then another takes its place; 0: for ever."""
    to: str = "600"
    listen: bool = False
    """Send one packet a second and no more."""
    heard: bool = False
    from_s: float = 1.0
    for_s: float = 0.0
    setups: bool = False
    """Calls come at `rate` for `for_s`, however many there are; `calls` is of no account."""


def options_of(arguments: Sequence[str] | None = None) -> Options:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.caller", description="Place many SIP calls with RTP.")
    parser.add_argument("--target", required=True, help="HOST:PORT of the service")
    parser.add_argument("--calls", type=int, default=1)
    parser.add_argument("--rate", type=float, default=50.0, help="new calls a second")
    parser.add_argument("--law", choices=sorted(PAYLOAD_TYPES), default="pcmu")
    parser.add_argument("--srtp", action="store_true")
    parser.add_argument(
        "--hold-s", type=float, default=0.0, help="each call lasts so long and is replaced; 0: for ever"
    )
    parser.add_argument("--to", default="600")
    parser.add_argument("--listen", action="store_true", help="send one packet a second and no more")
    parser.add_argument("--heard", action="store_true", help="tell of each answer what was heard of it")
    parser.add_argument(
        "--from-s", type=float, default=1.0, help="with --for-s: the window begins so long after all is up"
    )
    parser.add_argument("--for-s", type=float, default=0.0, help="measure so long, then hang up; 0: wait for signals")
    parser.add_argument(
        "--setups-per-s", type=float, default=0.0, help="measure set-ups: calls of --hold-s for --for-s"
    )
    given = parser.parse_args(arguments)
    if given.setups_per_s and not (given.for_s and given.hold_s):
        parser.error("--setups-per-s needs --for-s and --hold-s")
    host, _, port = given.target.rpartition(":")
    return Options(
        target=(host, int(port)),
        calls=given.calls,
        rate=given.setups_per_s or given.rate,
        law=given.law,
        srtp=given.srtp,
        hold_s=given.hold_s,
        to=given.to,
        listen=given.listen,
        heard=given.heard,
        from_s=given.from_s,
        for_s=given.for_s,
        setups=bool(given.setups_per_s),
    )
