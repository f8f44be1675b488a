"""Keeps the agent from hearing itself: what comes in and is only an echo of what was sent becomes silence.

The theory. An echo is the sent signal x, 20 to 500 ms late and filtered by a short response h (room, PSTN hybrid).
Both directions are kept for a second at 8 kHz on clocks that count samples: packet jitter moves nothing.
1. Search: the cross-correlation of the last 128 ms with all lags, its spectrum half whitened, peaks at the delay.
2. Trial: the least squares h (Wiener-Hopf, 16 ms long) at that lag must explain most of the energy of the last 320 ms.
   Speech that is no echo cannot be explained so: nothing is ever touched before an echo is proven.
3. Every 20 ms y = h * x predicts the echo and e = d - y is left of what came. Of an echo alone, e² is about a constant
   share of y² (the leak) and the line's noise. A caller leaves more: a running sum of log(e² / expected), which needs
   40 to 100 ms, opens the gate; it stays open for 200 ms after him.
4. h follows drift by least squares that forget (0.4 s), each frame weighted by 1 / e², frozen while the caller speaks.
   With the right h, d² - e² is y² on average even below a caller's voice; a path that fails this is given up.
It is a gate, not a canceller: the caller's voice passes as it came, with the echo below it.
"""

from __future__ import annotations

import math
from typing import Any

from bridge.audio.format import Format
from bridge.audio.g711 import RATE, Law
from bridge.media.echo_line import EchoLine
from bridge.media.echo_path import HOP, LEAD, LEAST_HOP, QUIET, SEARCHED, TAPS, TRIED, EchoPath, power_of

MAX_LAG = 5120
"""Samples. The longest delay looked for: 500 ms, and what the two clocks may be apart."""
SPECTRUM = 4096
"""Length of the search's transforms, at half the rate."""
SEARCH_EVERY, SEARCH_OPEN, SEARCH_SELDOM = 640, 800, 2560
"""Samples between two searches: at first, while the caller speaks over a known echo, and where none was found."""
PEAK = 6.0
"""Height, over the mean, that is worth a trial."""
MAX_APART = 400
"""Samples. When the clocks do not come this near in a second one direction had a gap: they start together again."""
LIVE = 6400
"""Samples for which the agent's last sound can still come back."""
AUDIBLE = 40
"""RMS of a sound of the agent whose echo can matter."""
OPEN_AT = 3.0
"""Evidence, in doublings of power times hops, that the caller speaks."""
HOLD = 1600
"""Samples for which the gate stays open after the last sign of the caller."""


class EchoGuard:
    """Judges a call's incoming audio by what was sent; both in `audio_format`.

    numpy is imported here; without it RuntimeError names the extra to install. ValueError on a rate that is not a
    multiple of 8000 Hz.
    """

    def __init__(self, audio_format: Format) -> None:
        numpy = self._numpy = _import_numpy()
        self.judged = 0
        """Pieces of audio that came while an echo of the agent could be in them."""
        self._silence = bytes((audio_format.silence,)) if isinstance(audio_format, Law) else b"\0"
        self._sent = EchoLine(audio_format, numpy)
        self._heard = EchoLine(audio_format, numpy)
        self._path = EchoPath(numpy)
        self._live_until = 0  # this and the next on the clock of what was sent
        self._next_look = 0
        self._nearest = -math.inf  # that what was heard came to what was sent since the last look, in samples
        self._judged_to = 0
        self._verdict = False
        self._correlation: Any = None
        self._next_search = 0
        self._search_every = SEARCH_EVERY
        self._evidence = 0.0
        self._open_until = 0
        self._suppressed = 0
        self._passed = 0

    @property
    def suppressed_ms(self) -> int:
        """Incoming audio that became silence: echo, and the line's noise while the agent spoke."""
        return self._suppressed * 1000 // RATE

    @property
    def passed_ms(self) -> int:
        """Incoming audio that stayed as it was while the agent spoke."""
        return self._passed * 1000 // RATE

    @property
    def delay_ms(self) -> int | None:
        """From a slot to its echo, latest estimate; None while no echo is known."""
        return self._path.delay_ms()

    @property
    def echo_loss_db(self) -> int | None:
        """How much weaker the echo is than what was sent; None while no echo is known."""
        return self._path.loss_db()

    def sent(self, frame: bytes) -> None:
        """Take each slot's outgoing payload, silence too: it is the clock."""
        line = self._sent
        if frame.count(self._silence) != len(frame) and line.loudness(frame) > AUDIBLE:
            self._live_until = line.clock + LIVE
        elif line.clock >= self._live_until:
            line.skip(frame)
            return
        line.write(frame)

    def heard(self, audio: bytes) -> bytes:
        """Incoming audio: the same object, or silence of the same length where it is only an echo."""
        line = self._heard
        if self._sent.clock >= self._live_until:
            line.skip(audio)
            return audio
        self._align(len(audio))
        start = line.clock
        line.write(audio)
        self.judged += 1
        if self._is_echo(start, line.clock):
            self._suppressed += line.clock - start
            return self._silence * len(audio)
        self._passed += line.clock - start
        return audio

    def _align(self, arriving: int) -> None:
        """Jitter lets pieces come late for a while; a gap lets all be late from then on. `arriving` is in bytes."""
        sent, coming = self._sent.clock, self._heard.samples(arriving)
        self._nearest = max(self._nearest, self._heard.clock + coming - sent)
        if sent < self._next_look:
            return
        if abs(self._nearest) > MAX_APART:
            self._heard.set_clock(sent - coming)
            self._judged_to = self._open_until = self._next_search = 0
            self._correlation = None
        self._next_look = sent + RATE
        self._nearest = -math.inf

    def _is_echo(self, start: int, end: int) -> bool:
        """One hop of the caller is enough for the whole piece to pass."""
        if self._path.taps is None:
            self._verdict = False
        else:
            at = max(self._judged_to, start - LEAST_HOP)
            verdicts = [self._judge_hop(hop, min(hop + HOP, end)) for hop in range(at, end - LEAST_HOP + 1, HOP)]
            self._judged_to = min(at + HOP * len(verdicts), end)
            self._verdict = all(verdicts) if verdicts else self._verdict
        if not self._verdict and end >= self._next_search:
            self._search(end)
            self._next_search = end + self._search_every
        return self._verdict

    def _judge_hop(self, start: int, end: int) -> bool:
        """Whether there is nothing but echo and noise; then the path learns from it."""
        path = self._path
        if path.taps is None:
            return False
        heard = self._heard.read(start, end)
        sent = self._sent.read(start - path.lag - TAPS + 1, end - path.lag)
        left, expected = path.compare(heard, sent)
        if path.is_wrong:
            path.taps = None
            self._search_every = SEARCH_EVERY
        if path.taps is None or path.probation:
            return False
        surprise = math.log2(max(left, 1e-3) / expected)
        evidence = self._evidence + min(max(surprise, -1.0), 2.0) * (end - start) / HOP
        self._evidence = min(max(evidence, 0.0), OPEN_AT + 2)
        if self._evidence >= OPEN_AT or (surprise > 0 and end < self._open_until):
            self._open_until = end + HOLD
        if end < self._open_until:
            return False
        path.learn(heard, sent, left)
        return True

    def _search(self, end: int) -> None:
        """Look for an echo that the present path does not know of."""
        numpy = self._numpy
        heard = self._heard.read(end - SEARCHED, end)
        sent = self._sent.read(end - SEARCHED - MAX_LAG, end)
        if power_of(heard) < QUIET or power_of(sent) < QUIET:
            return
        # Half the rate is enough to find it. Index n of the result: the echo is MAX_LAG - 2 n samples late.
        cross = numpy.conj(numpy.fft.rfft(heard.reshape(-1, 2).sum(1), SPECTRUM))
        cross *= numpy.fft.rfft(sent.reshape(-1, 2).sum(1), SPECTRUM)
        cross /= numpy.sqrt(numpy.abs(cross)) + 1e-9
        found = numpy.fft.irfft(cross, SPECTRUM)[: MAX_LAG // 2 + 1]
        found /= math.sqrt(power_of(found)) + 1e-9
        if self._correlation is not None:
            found += 0.6 * self._correlation
        self._correlation = found
        seldom = SEARCH_SELDOM if self._path.taps is None else SEARCH_OPEN
        self._search_every = min(self._search_every + HOP, seldom)
        best = int(numpy.abs(found).argmax())
        if abs(found[best]) > PEAK * math.sqrt(power_of(found)):
            self._try(MAX_LAG - 2 * best - LEAD, end)

    def _try(self, lag: int, end: int) -> None:
        path = self._path
        heard = self._heard.read(end - TRIED, end)
        known = math.inf
        if path.taps is not None:
            known = path.unexplained(heard, self._sent.read(end - TRIED - path.lag - TAPS + 1, end - path.lag))
        if path.try_out(lag, heard, self._sent.read(end - TRIED - lag - TAPS + 1, end - lag), known):
            self._correlation = None
            self._search_every = SEARCH_EVERY
            self._evidence = 0.0
            if path.is_plain:
                self._open_until = 0


def _import_numpy() -> Any:
    try:
        import numpy
    except ImportError as error:
        raise RuntimeError("the echo guard needs numpy: pip install sipbridge[echo]") from error
    return numpy
