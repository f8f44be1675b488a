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

from bridge.audio._audioop import audioop
from bridge.audio.format import SAMPLE_BYTES, Format
from bridge.audio.g711 import RATE, Law, decode

HOP, LEAST_HOP = RATE // 50, RATE // 100
"""Samples judged at once, at most and at least. All samples here are of 8 kHz."""
TAPS = 128
LEAD = 24
"""Taps before the strongest one: a drifting delay goes either way."""
MAX_LAG = 5120
"""Samples. The longest delay looked for: 500 ms, and what the two clocks may be apart."""
SEARCHED, TRIED = 1024, 2560
"""Samples that a search and a trial look at."""
SPECTRUM = 4096
SEARCH_EVERY, SEARCH_OPEN, SEARCH_SELDOM = 640, 800, 2560
"""Samples between two searches: at first, while the caller speaks over a known echo, and where none was found."""
PEAK = 6.0
"""Height, over the mean, that is worth a trial."""
PROVEN = 0.6
"""Share of the energy that a trial must explain."""
PROBATION = 2
PLAIN = 0.15
"""Share left over by a trial in which nobody spoke."""
KEPT = 10_240
MAX_APART = 400
"""Samples. When the clocks do not come this near in a second one direction had a gap: they start together again."""
LIVE = 6400
"""Samples for which the agent's last sound can still come back."""
AUDIBLE = 40
"""RMS of a sound of the agent whose echo can matter."""
QUIET = 30.0
"""Power of a sample below which no line is."""
MARGIN, FLOOR_MARGIN = 4.0, 3.0
"""How far a hop without a caller may be above the average leak and the quietest noise."""
LEAST_SHARE, MOST_SHARE = 0.06, 0.5
"""Of the predicted echo, what may be left of it whatever the leak was."""
ROOM = 0.5
"""How much of an echo's power is still there a hop later, after the taps."""
OPEN_AT = 3.0
"""Evidence, in doublings of power times hops, that the caller speaks."""
HOLD = 1600
"""Samples for which the gate stays open after the last sign of the caller."""
SOFTER = (0.25, 0.5, 0.25)
"""What is done to both directions: a hiss tells little of who speaks, and drift spoils its prediction first."""
MEMORY = 3200
"""Samples after which the filter has forgotten 63 % of what it learnt."""
LOADING = 1e-3


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
        self._sent = _Line(audio_format, numpy)
        self._heard = _Line(audio_format, numpy)
        self._path = _Path(numpy)
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
        if _power(heard) < QUIET or _power(sent) < QUIET:
            return
        # Half the rate is enough to find it. Index n of the result: the echo is MAX_LAG - 2 n samples late.
        cross = numpy.conj(numpy.fft.rfft(heard.reshape(-1, 2).sum(1), SPECTRUM))
        cross *= numpy.fft.rfft(sent.reshape(-1, 2).sum(1), SPECTRUM)
        cross /= numpy.sqrt(numpy.abs(cross)) + 1e-9
        found = numpy.fft.irfft(cross, SPECTRUM)[: MAX_LAG // 2 + 1]
        found /= math.sqrt(_power(found)) + 1e-9
        if self._correlation is not None:
            found += 0.6 * self._correlation
        self._correlation = found
        seldom = SEARCH_SELDOM if self._path.taps is None else SEARCH_OPEN
        self._search_every = min(self._search_every + HOP, seldom)
        best = int(numpy.abs(found).argmax())
        if abs(found[best]) > PEAK * math.sqrt(_power(found)):
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


class _Line:
    """The last second of one direction, addressed by its clock in samples."""

    def __init__(self, audio_format: Format, numpy: Any) -> None:
        if audio_format.rate % RATE:
            raise ValueError(f"the echo guard takes multiples of {RATE} Hz, not {audio_format.rate} Hz")
        self.clock = 0
        self._numpy = numpy
        self._law = audio_format if isinstance(audio_format, Law) else None
        self._factor = audio_format.rate // RATE
        self._unit = 1 if self._law else SAMPLE_BYTES * self._factor
        self._low_pass = _low_pass(self._factor, numpy)
        self._buffer = numpy.zeros(KEPT + RATE // 2, "f4")
        self._end = KEPT
        self._restart()

    def loudness(self, audio: bytes) -> int:
        """RMS."""
        return int(audioop.rms(decode(audio, self._law) if self._law else audio, SAMPLE_BYTES))

    def samples(self, count: int) -> int:
        """How many samples so many bytes are."""
        return count // self._unit

    def skip(self, audio: bytes) -> None:
        """Let the clock go on without looking."""
        self.clock += len(audio) // self._unit
        self._skipped = True

    def set_clock(self, clock: int) -> None:
        """Go on at another time."""
        self.clock = clock
        self._skipped = True

    def write(self, audio: bytes) -> None:
        """Keep audio. After a leap of the clock all before counts as silence."""
        if self._skipped:
            self._restart()
        samples = self._at_8_khz(audio)
        buffer, count = self._buffer, len(samples)
        if self._end + count > len(buffer):
            buffer[:KEPT] = buffer[self._end - KEPT : self._end].copy()
            self._end = KEPT
        buffer[self._end : self._end + count] = samples
        self._end += count
        self.clock += count

    def read(self, start: int, end: int) -> Any:
        """Samples of [start, end) on the clock; silence where nothing is known."""
        behind = self._end - self.clock
        start, end = start + behind, end + behind
        if start >= 0 and end <= self._end:
            return self._buffer[start:end]
        out = self._numpy.zeros(end - start, "f4")
        low, high = max(start, 0), min(end, self._end)
        if low < high:
            out[low - start : high - start] = self._buffer[low:high]
        return out

    def _restart(self) -> None:
        self._buffer[:KEPT] = 0
        self._end = KEPT
        self._rest = b""
        self._before = self._numpy.zeros(len(self._low_pass) - 1, "f4")
        self._skipped = False

    def _at_8_khz(self, audio: bytes) -> Any:
        numpy = self._numpy
        audio = self._rest + audio
        whole = len(audio) - len(audio) % self._unit
        self._rest = audio[whole:]
        pcm = decode(audio, self._law) if self._law else audio[:whole]
        samples = numpy.concatenate((self._before, numpy.frombuffer(pcm, "<i2")))
        self._before = samples[len(samples) - len(self._before) :]
        if not whole:
            return samples[:0]
        return numpy.convolve(samples, self._low_pass, "valid")[:: self._factor]


class _Path:
    """The way of the echo: where its taps begin (`lag`), what they are, and what they leave unexplained."""

    probation: int
    """Audible hops that a new path must still explain: of what it was made of it explains too much."""
    _refuted: bool
    _leak: float
    _tail: float
    _explained: float
    _predicted: float
    _unsolved: int

    def __init__(self, numpy: Any) -> None:
        self.taps: Any = None  # until an echo is proven
        self.lag = 0
        self._numpy = numpy
        self._auto: Any = None
        self._cross: Any = None
        self._floor = QUIET
        self._leftover = 1.0
        self._begin()

    @property
    def is_wrong(self) -> bool:
        """Whether its predictions explain nothing of what is heard."""
        return self._refuted or (self._predicted > self._floor and self._explained < 0.3 * self._predicted)

    @property
    def is_plain(self) -> bool:
        """Whether the last trial heard an echo and nobody else."""
        return self._leftover < PLAIN

    def delay_ms(self) -> int | None:
        """Of the strongest tap; None before an echo is proven."""
        return None if self.taps is None else (self.lag + self._strongest()) * 1000 // RATE

    def loss_db(self) -> int | None:
        """Energy lost on the way; None before an echo is proven."""
        return None if self.taps is None else round(-10 * math.log10(float(self.taps @ self.taps) + 1e-9))

    def unexplained(self, heard: Any, sent: Any) -> float:
        """Power of what the predicted echo leaves of `heard`; `sent` begins `TAPS` - 1 samples earlier."""
        return _power(heard - self._numpy.convolve(sent, self.taps, "valid"))

    def compare(self, heard: Any, sent: Any) -> tuple[float, float]:
        """Power that the predicted echo leaves of `heard`, and the most that an echo alone would leave."""
        echo = self._numpy.convolve(sent, self.taps, "valid")
        power, predicted = _power(heard), _power(echo)
        left = _power(heard - echo)
        if self.probation and power > FLOOR_MARGIN * self._floor:
            self.probation -= 1
            self._refuted = left > (1 - PROVEN) * power
        self._tail = max(predicted, self._tail * ROOM ** (len(heard) / HOP))
        self._explained += 0.05 * (power - left - self._explained)
        self._predicted += 0.05 * (predicted - self._predicted)
        left = min(left, power)
        self._floor = min(self._floor * 1.01, max(left, QUIET))
        share = min(max(MARGIN * self._leak, LEAST_SHARE), MOST_SHARE)
        return left, share * self._tail + FLOOR_MARGIN * self._floor

    def learn(self, heard: Any, sent: Any, left: float) -> None:
        """Follow the echo by audio that is nothing else; `left` is what `compare` said of it."""
        if self._tail > FLOOR_MARGIN * self._floor:
            self._leak += 0.05 * (min(max(left - self._floor, 0.0) / self._tail, 1.0) - self._leak)
        keep, weight = math.exp(-len(heard) / MEMORY), 1 / (left + QUIET)
        auto, cross = self._products(heard, sent)
        self._auto = keep * self._auto + weight * auto
        self._cross = keep * self._cross + weight * cross
        self._unsolved += len(heard)
        if self._unsolved >= 5 * HOP:
            self._unsolved = 0
            self.taps = self._solve(self.taps, rounds=6)
            self._centre()

    def try_out(self, lag: int, heard: Any, sent: Any, known: float) -> bool:
        """Move to `lag` if it explains `heard` well, and leaves less than half of the power that is left now."""
        before = self.taps, self._auto, self._cross
        self._auto, self._cross = self._products(heard, sent)
        self.taps = self._solve(self._numpy.zeros(TAPS, "f4"), rounds=16)
        hops = [self.unexplained(heard[at : at + HOP], sent[at : at + HOP + TAPS - 1]) for at in range(0, TRIED, HOP)]
        left = sum(hops) / len(hops)
        if left > (1 - PROVEN) * _power(heard) or 2 * left > known:
            self.taps, self._auto, self._cross = before
            return False
        self.lag = lag
        self._leftover = left / _power(heard)
        self._floor = max(min(hops), QUIET)
        self._auto, self._cross = self._auto / (left + QUIET), self._cross / (left + QUIET)
        self._begin()
        self.probation = PROBATION if before[0] is None else 0
        self._explained = self._predicted = _power(heard) - left
        self._centre()
        return True

    def _begin(self) -> None:
        self._leak = 0.1
        self._tail = self._explained = self._predicted = 0.0
        self._unsolved = 0
        self._refuted = False
        self.probation = 0

    def _products(self, heard: Any, sent: Any) -> tuple[Any, Any]:
        """The correlations of the Wiener-Hopf equations: of what was sent with itself, and with what was heard."""
        correlate = self._numpy.correlate
        return correlate(sent, sent[TAPS - 1 :], "valid")[::-1], correlate(sent, heard, "valid")[::-1]

    def _solve(self, taps: Any, rounds: int) -> Any:
        """The taps by conjugate gradients that start at `taps`: LAPACK would start threads."""
        numpy, scale = self._numpy, 1 / (float(self._auto[0]) + 1e-9)
        auto = scale * self._auto
        matrix = numpy.concatenate((auto[:0:-1], auto))
        matrix[TAPS - 1] *= 1 + LOADING
        rest = scale * self._cross - numpy.convolve(matrix, taps, "valid")
        way, size = rest, float(rest @ rest)
        for _ in range(rounds):
            turned = numpy.convolve(matrix, way, "valid")
            step = size / (float(way @ turned) + 1e-30)
            taps = taps + step * way
            rest = rest - step * turned
            before, size = size, float(rest @ rest)
            way = rest + size / (before + 1e-30) * way
        return taps

    def _centre(self) -> None:
        """Let the strongest tap stay near `LEAD` while the delay drifts."""
        shift = self._strongest() - LEAD
        if abs(shift) > LEAD // 2:
            self.lag += shift
            self.taps, self._cross = self._moved(self.taps, shift), self._moved(self._cross, shift)

    def _strongest(self) -> int:
        return int(self._numpy.abs(self.taps).argmax())

    def _moved(self, array: Any, by: int) -> Any:
        out = self._numpy.roll(array, -by)
        out[-by if by > 0 else 0 : None if by > 0 else -by] = 0
        return out


def _power(samples: Any) -> float:
    return float(samples @ samples) / len(samples)


def _low_pass(factor: int, numpy: Any) -> Any:
    """Lets every `factor`th sample stand for all, by a windowed sinc, and lowers the highs: `SOFTER`."""
    at = numpy.arange(-8 * factor, 8 * factor + 1) if factor > 1 else numpy.zeros(1)
    taps = numpy.sinc(0.9 * at / factor) * numpy.hanning(len(at) + 2)[1:-1]
    softer = numpy.zeros(2 * factor + 1)
    softer[::factor] = SOFTER
    return numpy.convolve(taps / taps.sum(), softer).astype("f4")


def _import_numpy() -> Any:
    try:
        import numpy
    except ImportError as error:
        raise RuntimeError("the echo guard needs numpy: pip install sipbridge[echo]") from error
    return numpy
