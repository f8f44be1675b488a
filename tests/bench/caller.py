"""The callers of the benchmark: N calls with real RTP from one process, measured by the kernel's stamps.

    python -m tests.bench.caller --target 127.0.0.1:5060 --calls 500 --rate 50

One loop, one round a millisecond. Prints `{"up": n, "refused": m}` when all INVITEs are settled and its report when it
has hung up (SIGTERM). SIGUSR1 begins the measuring window, SIGUSR2 ends it; with `--for-s` it does all that by itself.
With `--setups-per-s` the report is all it prints. Linux only. Times of packets are CLOCK_REALTIME ns.
"""

from __future__ import annotations

import gc
import json
import secrets
import signal
import sys
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, Self

import pylibsrtp

from tests.bench.arrivals import Arrivals
from tests.bench.caller_options import Options, options_of
from tests.bench.caller_window import Window
from tests.bench.percentiles import summary
from tests.bench.sip_calls import Call, SipCalls
from tests.bench.sip_text import PAYLOAD_TYPES, offer
from tests.bench.sockets import media_socket, own_address, udp_socket
from tests.bench.streams import Seal, Signs, Streams, Voices
from tests.bench.ticks import Ticks

ROUND_NS = 1_000_000
SOCKETS = 4
DRAIN_ROUNDS = 8
"""Each media socket is read once in so many rounds: the kernel stamps, so big batches cost nothing but its buffer."""
TOO_LATE_MS = 100.0
"""Packets that are later are left out: a phone does not burst either."""
_AT_ONCE = 5
"""INVITEs or BYEs in one round."""
_LEAVING_S = 10.0


class Caller:
    """All calls of one run."""

    def __init__(self, options: Options) -> None:
        self._options = options
        host = own_address(*options.target)
        self._host = host
        self._media = [media_socket(host) for _ in range(SOCKETS)]
        self._own = udp_socket(host)
        self._sip = SipCalls(self._own, options.target, to=options.to, on_up=self._on_up, on_gone=self._on_gone)
        self._voices = self._speakers()
        self._arrivals = Arrivals(self._media)
        self._window: Window | None = None
        self._seals: dict[int, Seal] = {}
        self._socket_of: dict[int, int] = {}  # of calls that are placed and not gone
        self._leave_at: deque[tuple[float, int]] = deque()
        self._place_at = 0.0
        self._placing_late_ms: list[float] = []
        self._settled_at: float | None = None
        self._begun_at = time.monotonic()
        self._leaving: list[Call] | None = None
        self._leaving_since = 0.0
        self._orders: deque[int] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._own.close()
        for opened in self._media:
            opened.close()

    def _speakers(self) -> Voices:
        options = self._options
        payload_type = PAYLOAD_TYPES[options.law]
        if options.listen or options.setups:
            return Signs(self._media, payload_type)
        return Streams(options.calls, self._media, payload_type, sealed=options.srtp)

    def order(self, number: int, _: object = None) -> None:
        """A signal: SIGUSR1, SIGUSR2 or SIGTERM. It is obeyed in the next round."""
        self._orders.append(number)

    def run(self) -> dict[str, Any]:
        """Place the calls, hold them until told otherwise, hang up; the report."""
        tick = 0
        with Ticks(ROUND_NS) as ticks:
            self._begun_at = self._place_at = time.monotonic()
            while not self._finished():
                passed = ticks.wait()
                for number in range(tick, tick + passed):
                    self._speak(number, (time.monotonic_ns() - ticks.due_ns(number)) / 1e6)
                tick += passed
                self._listen(tick)
                self._signal(time.monotonic())
        if self._window is not None and not self._window.ended:
            self._window.end()
        return self._report()

    # One round.

    def _speak(self, tick: int, late_ms: float) -> None:
        self._voices.step(tick, late_ms > TOO_LATE_MS)
        if self._window is not None and not self._window.ended:
            self._window.late_ms.append(late_ms)

    def _listen(self, tick: int) -> None:
        turn, rest = divmod(tick % DRAIN_ROUNDS, DRAIN_ROUNDS // SOCKETS)
        if not rest:
            self._arrivals.drain(turn)

    def _signal(self, now: float) -> None:
        self._sip.turn(now)
        self._obey(now)
        if self._leaving is not None:
            for _ in range(min(_AT_ONCE, len(self._leaving))):
                self._sip.leave(self._leaving.pop(), now)
            return
        while self._leave_at and self._leave_at[0][0] <= now:
            self._hang_up(self._leave_at.popleft()[1], now)
        for _ in range(_AT_ONCE):
            if not self._wants_more(now) or now < self._place_at:
                break
            self._place(now)
        self._keep_times(now)

    def _obey(self, now: float) -> None:
        while self._orders:
            number = self._orders.popleft()
            if number == signal.SIGUSR1:
                self._begin_window()
            elif number == signal.SIGUSR2:
                self._end_window()
            elif self._leaving is None:
                self._leave(now)

    def _keep_times(self, now: float) -> None:
        """What happens without a signal: the settled line, and with `for_s` the window and the end."""
        options = self._options
        if self._window is None and options.setups:
            self._begin_window()
        if self._settled_at is None:
            if not self._sip.invited and self._has_placed_all(now):
                self._settled_at = now
                if options.setups:
                    self._leave(now)
                else:
                    print(json.dumps({"up": self._sip.tally.answered, "refused": self._failed()}), flush=True)
        elif options.for_s:
            since_s = now - self._settled_at
            if self._window is None and since_s >= options.from_s:
                self._begin_window()
            elif since_s >= options.from_s + options.for_s:
                self._leave(now)

    def _finished(self) -> bool:
        if self._leaving is None:
            return False
        return not self._sip.calls or time.monotonic() - self._leaving_since > _LEAVING_S

    # Windows.

    def _begin_window(self) -> None:
        self._window = Window(self._sip, self._voices, self._arrivals)

    def _end_window(self) -> None:
        if self._window is not None and not self._window.ended:
            for index in range(SOCKETS):
                self._arrivals.drain(index)
            self._window.end()

    def _leave(self, now: float) -> None:
        self._end_window()
        self._leaving, self._leaving_since = list(self._sip.calls.values()), now

    # Calls.

    def _has_placed_all(self, now: float) -> bool:
        if self._options.setups:
            return now >= self._begun_at + self._options.for_s
        return self._sip.tally.placed >= self._options.calls

    def _wants_more(self, now: float) -> bool:
        if self._options.hold_s and not self._options.setups:
            return len(self._socket_of) < self._options.calls
        return not self._has_placed_all(now)

    def _place(self, now: float) -> None:
        number = self._sip.tally.placed
        index = self._voices.place(number)
        self._placing_late_ms.append((now - self._place_at) * 1000)
        self._place_at = max(self._place_at, now - 0.1) + 1 / self._options.rate
        key = secrets.token_bytes(30) if self._options.srtp else None
        if key:
            self._seals[number] = _sealer(key)
        self._socket_of[number] = index
        self._sip.place(number, offer(self._host, self._media[index].port, self._options.law, key), now)

    def _hang_up(self, number: int, now: float) -> None:
        if number in self._socket_of:
            self._sip.leave(self._sip.calls[number], now)

    def _on_up(self, call: Call) -> None:
        assert call.media is not None
        self._arrivals.expect(call.number, self._socket_of[call.number], call.media[1])
        self._voices.open(call.number, call.media, self._seals.get(call.number))
        if self._options.hold_s:
            self._leave_at.append((time.monotonic() + self._options.hold_s, call.number))

    def _on_gone(self, call: Call) -> None:
        index = self._socket_of.pop(call.number, None)
        if index is None:
            return
        if not self._options.setups:  # the next one was not due before there was a place for it
            self._place_at = max(self._place_at, time.monotonic())
        self._seals.pop(call.number, None)
        self._voices.close(call.number)
        if call.media is not None:
            self._arrivals.forget(call.number, index, call.media[1])

    # What there is to tell.

    def _failed(self) -> int:
        return self._sip.tally.refused + self._sip.tally.unanswered

    def _report(self) -> dict[str, Any]:
        tally = self._sip.tally
        told: dict[str, Any] = {
            "placed": tally.placed,
            "up": tally.answered,
            "refused": self._failed(),
            "refusals": dict(tally.statuses),
            "reasons": dict(tally.reasons),
            "unanswered": tally.unanswered,
            "cancelled": tally.cancelled,
            "ended": tally.ended,
            "unended": tally.unended,
            "repeats": tally.repeats,
            "repeated_answers": tally.repeated_answers,
            "ringing_ms": summary(tally.ringing_ms),
            "setup_ms": summary(tally.answer_ms),
            "placing_late_ms": summary(self._placing_late_ms),
        }
        return told | (self._window.report(with_heard=self._options.heard) if self._window else {})


def _sealer(key: bytes) -> Seal:
    profile = pylibsrtp.Policy.SRTP_PROFILE_AES128_CM_SHA1_80
    policy = pylibsrtp.Policy(key=key, ssrc_type=pylibsrtp.Policy.SSRC_ANY_OUTBOUND, srtp_profile=profile)
    return pylibsrtp.Session(policy).protect


def main(arguments: Sequence[str] | None = None) -> int:
    """The program."""
    with Caller(options_of(arguments)) as caller:
        for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, caller.order)
        # Nothing here makes cycles, and a full collection would cost more than a round.
        gc.disable()
        print(json.dumps(caller.run()), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
