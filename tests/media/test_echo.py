import builtins
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.audio.format import Format, Linear, silence_of
from bridge.audio.g711 import Law, decode, encode
from bridge.media.echo import EchoGuard

SLOT = 160
SECONDS = 8
CALLER_AT = 5.0
NOISE = 12.0  # RMS: a line of -69 dBFS


def speech(seconds: float, seed: int, pitch: float = 120) -> Any:
    """Syllables at 8 kHz: gliding harmonics below moving formants, hisses between, pauses. RMS 3000 while it sounds."""
    rng = np.random.default_rng(seed)
    out = np.zeros(int(seconds * 8000))
    at = 0
    while at < len(out):
        hiss = rng.random() < 0.25
        count = int((rng.uniform(0.05, 0.1) if hiss else rng.uniform(0.12, 0.28)) * 8000)
        time = np.arange(count) / 8000
        if hiss:
            sound = np.diff(rng.normal(size=count + 1)) * 0.2
        else:
            f0 = pitch * rng.uniform(0.8, 1.3) * (1 + rng.uniform(-0.2, 0.2) * time / time[-1])
            phase = 2 * np.pi * np.cumsum(f0) / 8000
            formants = rng.uniform(250, 900), rng.uniform(900, 2200), rng.uniform(2300, 3200)
            sound = rng.normal(size=count) * 0.05
            for harmonic in range(1, int(3400 / f0.max())):
                levels = [1 / (1 + ((harmonic * pitch - formant) / 150) ** 2) for formant in formants]
                sound += (levels[0] + levels[1] / 2 + levels[2] / 4) * np.sin(harmonic * phase + rng.uniform(0, 6))
        sound *= np.sin(np.pi * np.arange(count) / count) ** 0.5 * rng.uniform(0.5, 1)
        sound = sound[: len(out) - at]
        out[at : at + len(sound)] = sound
        at += count + (int(rng.uniform(0.1, 0.35) * 8000) if rng.random() < 0.3 else int(0.02 * 8000))
    return out * 3000 / np.sqrt((out[out != 0] ** 2).mean())


def coded(pcm: Any, law: Law = Law.PCMU) -> bytes:
    return encode(np.clip(np.round(pcm), -32768, 32767).astype("<i2").tobytes(), law)


def played(code: bytes, law: Law = Law.PCMU) -> Any:
    return np.frombuffer(decode(code, law), "<i2").astype(float)


def echo_of(sent: Any, delay_ms: float, loss_db: float, *, drift_ppm: float = 0, seed: int = 7) -> Any:
    """A room of five taps within 5 ms, then the delay, then the loss."""
    rng = np.random.default_rng(seed)
    room = np.zeros(41)
    room[0] = 1
    for tap in range(4):
        room[rng.integers(1, 40)] += rng.uniform(-0.5, 0.5) * 0.8**tap
    room /= np.sqrt((room**2).sum())
    at = np.arange(len(sent))
    late = at * (1 + drift_ppm * 1e-6) - delay_ms * 8
    return np.interp(late, at, np.convolve(sent, room)[: len(sent)], left=0, right=0) * 10 ** (-loss_db / 20)


def noise(count: int, rms: float = NOISE) -> Any:
    return np.random.default_rng(99).normal(size=count) * rms


def powers(pcm: Any) -> Any:
    return (pcm[: len(pcm) // SLOT * SLOT].reshape(-1, SLOT) ** 2).mean(1)


def audible(pcm: Any, below_db: float) -> Any:
    """Slots not further than this below the loudest average."""
    each = powers(pcm)
    return each > each[each > 0].mean() * 10 ** (-below_db / 10)


@dataclass
class Call:
    guard: EchoGuard
    passed: Any
    """Per slot: the very same object came back."""


def call(sent: bytes, heard: bytes, audio_format: Format = Law.PCMU, slot: int = SLOT) -> Call:
    guard = EchoGuard(audio_format)
    passed = []
    for at in range(0, len(heard) - slot + 1, slot):
        guard.sent(sent[at : at + slot])
        piece = heard[at : at + slot]
        out = guard.heard(piece)
        assert out is piece or out == silence_of(slot // audio_format.bytes_per_ms, audio_format)
        passed.append(out is piece)
    return Call(guard, np.array(passed))


AGENT = coded(speech(SECONDS, 1))
SENT = played(AGENT)


@pytest.mark.parametrize(
    ("delay_ms", "loss_db", "drift_ppm"),
    [(20, 6, 0), (60, 10, 100), (150, 20, 0), (150, 30, -100), (300, 20, 100), (500, 20, 0), (500, 40, 0)],
)
def test_an_echo_becomes_silence(delay_ms: int, loss_db: int, drift_ppm: int) -> None:
    law = Law.PCMA if loss_db == 20 else Law.PCMU
    agent = coded(SENT, law)
    echo = echo_of(played(agent, law), delay_ms, loss_db, drift_ppm=drift_ppm)
    done = call(agent, coded(echo + noise(len(echo), NOISE if loss_db < 40 else 4), law), law)
    loud = audible(echo, 25)
    loud[: loud.argmax() + 25] = False  # the first 500 ms
    assert (~done.passed)[loud].mean() >= 0.95
    assert abs((done.guard.delay_ms or 0) - delay_ms) <= 5
    assert abs((done.guard.echo_loss_db or 0) - loss_db) <= 4
    assert done.guard.suppressed_ms + done.guard.passed_ms == 20 * done.guard.judged


def test_a_noisy_line_is_no_caller() -> None:
    """Noise 12 dB below the echo, from the first second on."""
    echo = echo_of(SENT, 180, 18)
    done = call(AGENT, coded(echo + noise(len(echo), 100)))
    assert (~done.passed)[50:].mean() >= 0.95


@pytest.mark.parametrize(
    ("delay_ms", "loss_db", "drift_ppm", "louder_db"),
    [(20, 6, 0, 0), (150, 10, 100, 0), (300, 20, 0, 0), (500, 20, -100, 0), (500, 30, 0, 0), (150, 10, 100, 6)],
)
def test_a_caller_who_speaks_over_the_echo_passes(delay_ms: int, loss_db: int, drift_ppm: int, louder_db: int) -> None:
    echo = echo_of(SENT, delay_ms, loss_db, drift_ppm=drift_ppm)
    begin, passed, suppressed = int(CALLER_AT * 8000), [], []
    for seed, pitch in ((33, 190), (35, 120), (36, 150), (37, 170), (38, 130), (39, 210)):
        caller = np.zeros(len(echo))
        caller[begin : begin + 16_000] = speech(2, seed, pitch) * 10 ** ((louder_db - loss_db) / 20)
        done = call(AGENT, coded(echo + caller + noise(len(echo), 4)))
        heard = audible(caller, 20) & (powers(caller) >= powers(echo))
        assert done.passed[heard.argmax() :].argmax() * 20 <= 160
        heard[: heard.argmax() + 8] = False  # the first 150 ms
        passed += done.passed[heard].tolist()
        before = audible(echo, 25)
        before[:50] = before[begin // SLOT :] = False
        suppressed += (~done.passed)[before].tolist()
    assert np.mean(passed) >= 0.9
    assert np.mean(suppressed) >= 0.95


@pytest.mark.parametrize("seed", [3, 4, 5])
def test_a_caller_without_an_echo_is_never_touched(seed: int) -> None:
    caller = speech(SECONDS, seed, pitch=120) * 0.5 + noise(len(SENT))
    done = call(AGENT, coded(caller))
    assert done.passed.all()
    assert (done.guard.delay_ms, done.guard.echo_loss_db, done.guard.suppressed_ms) == (None, None, 0)
    assert done.guard.judged > 300


@pytest.mark.parametrize("audio_format", [*Law, Linear(24000)])
def test_while_the_agent_is_silent_nothing_is_looked_at(audio_format: Format) -> None:
    guard = EchoGuard(audio_format)
    for level in range(50):
        guard.sent(silence_of(20, audio_format))
        piece = bytes((level,)) * (20 * audio_format.bytes_per_ms)
        assert guard.heard(piece) is piece
    assert (guard.judged, guard.suppressed_ms, guard.passed_ms) == (0, 0, 0)


def test_a_quiet_caller_after_the_agent_is_untouched_though_the_echo_is_known() -> None:
    echo = echo_of(np.concatenate((SENT[:-8000], np.zeros(8000))), 150, 15) + noise(len(SENT), 4)
    done = call(AGENT[:-8000] + bytes((0xFF,)) * 32_000, coded(np.concatenate((echo, speech(3, 8) * 0.02))))
    assert done.guard.delay_ms is not None
    assert done.passed[len(SENT) // SLOT :].all()


def test_the_next_answer_begins_with_the_echo_known() -> None:
    pause = 16_000
    sent = np.concatenate((SENT, np.zeros(pause), SENT))
    agent = coded(sent)
    echo = echo_of(played(agent), 200, 15)
    done = call(agent, coded(echo + noise(len(echo), 4)))
    again = audible(echo, 25)
    again[: (len(SENT) + pause) // SLOT] = False
    assert (~done.passed)[again].mean() >= 0.97


def test_a_delay_that_jumps_is_found_again() -> None:
    parts = [echo_of(SENT, 180, 15)[:32_000], echo_of(SENT, 260, 15)[32_000:]]
    echo = np.concatenate(parts)
    done = call(AGENT, coded(echo + noise(len(echo), 4)))
    after = audible(echo, 25)
    after[: 32_000 // SLOT + 40] = False
    assert (~done.passed)[after].mean() >= 0.95
    assert abs((done.guard.delay_ms or 0) - 260) <= 5


def test_an_echo_that_ends_leaves_the_caller_alone() -> None:
    """He has picked up the handset: a path that explains nothing is given up."""
    echo = echo_of(SENT, 150, 10)
    echo[24_000:] = 0
    caller = np.concatenate((np.zeros(28_000), speech(SECONDS, 5, pitch=180)[28_000:] * 0.1))
    done = call(AGENT, coded(echo + caller + noise(len(echo), 4)))
    heard = audible(caller, 15)
    heard[: 28_000 // SLOT + 10] = False
    assert done.passed[heard].mean() >= 0.9


@pytest.mark.parametrize("ms", [10, 30, 60])
def test_slots_of_other_lengths(ms: int) -> None:
    echo = echo_of(SENT, 180, 18)
    done = call(AGENT, coded(echo + noise(len(echo), 4)), slot=8 * ms)
    assert done.guard.suppressed_ms > 12 * done.guard.passed_ms


def stretched(pcm: Any, rate: int) -> bytes:
    at = np.arange(len(pcm) * rate // 8000) * 8000 / rate
    return bytes(np.round(np.interp(at, np.arange(len(pcm)), pcm)).astype("<i2").tobytes())


@pytest.mark.parametrize("rate", [8000, 16_000, 24_000, 48_000])
def test_linear_audio_of_any_telephone_rate(rate: int) -> None:
    audio_format = Linear(rate)
    echo = echo_of(SENT, 180, 18) + noise(len(SENT), 4)
    done = call(stretched(SENT, rate), stretched(echo, rate), audio_format, 20 * audio_format.bytes_per_ms)
    assert done.guard.suppressed_ms > 12 * done.guard.passed_ms
    assert abs((done.guard.delay_ms or 0) - 180) <= 8


@pytest.mark.parametrize("audio_format", [Law.PCMU, Linear(24_000)])
def test_pieces_of_any_length_keep_their_length(audio_format: Format) -> None:
    unit = 1 if audio_format is Law.PCMU else 6
    echo = echo_of(SENT, 180, 18) + noise(len(SENT), 4)
    sent, heard = (AGENT, coded(echo)) if unit == 1 else (stretched(SENT, 24_000), stretched(echo, 24_000))
    guard, chance, at = EchoGuard(audio_format), np.random.default_rng(3), 0
    for slot in range(SLOT * unit, len(sent), SLOT * unit):
        guard.sent(sent[slot - SLOT * unit : slot])
        while at < slot:
            piece = heard[at : min(at + int(chance.integers(1, 300)), slot)]
            out = guard.heard(piece)
            assert len(out) == len(piece)
            at += len(piece)
    assert guard.heard(b"") == b""
    assert guard.suppressed_ms > 12 * guard.passed_ms


def test_packets_that_come_in_bursts_move_nothing() -> None:
    heard = coded(echo_of(SENT, 180, 18) + noise(len(SENT), 4))
    guard, waiting, most = EchoGuard(Law.PCMU), 0, len(heard) // SLOT
    for slot in range(most):
        guard.sent(AGENT[slot * SLOT : (slot + 1) * SLOT])
        if slot % 50 >= 10:  # 200 ms of every second nothing comes
            for number in range(waiting, slot + 1):
                guard.heard(heard[number * SLOT : (number + 1) * SLOT])
            waiting = slot + 1
    assert guard.suppressed_ms > 12 * guard.passed_ms


def test_a_gap_in_what_is_heard_starts_the_clocks_together_again() -> None:
    heard = coded(echo_of(SENT, 60, 18) + noise(len(SENT), 4))
    guard, late = EchoGuard(Law.PCMU), 0
    for slot in range(len(heard) // SLOT):
        guard.sent(AGENT[slot * SLOT : (slot + 1) * SLOT])
        if not 100 <= slot < 120:  # 400 ms never came
            before = guard.passed_ms
            guard.heard(heard[slot * SLOT : (slot + 1) * SLOT])
            late += guard.passed_ms - before if slot > 220 else 0
    assert abs((guard.delay_ms or 0) - 60) <= 25
    assert late <= 100


@given(st.lists(st.tuples(st.binary(max_size=400), st.binary(max_size=400)), max_size=40))
def test_whatever_comes_keeps_its_length(slots: list[tuple[bytes, bytes]]) -> None:
    for audio_format in (Law.PCMA, Linear(16_000)):
        guard = EchoGuard(audio_format)
        for sent, heard in slots:
            guard.sent(sent[: len(sent) & ~1])
            assert len(guard.heard(heard)) == len(heard)


def test_without_numpy_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "numpy":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.delitem(sys.modules, "numpy")
    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(RuntimeError, match=r"sipbridge\[echo\]"):
        EchoGuard(Law.PCMU)


def test_a_rate_that_is_no_multiple_of_8_khz_is_refused() -> None:
    with pytest.raises(ValueError, match="22050"):
        EchoGuard(Linear(22_050))


@pytest.mark.parametrize("ms", [499, 501, 1000, 3000])
@pytest.mark.parametrize("audio_format", [Law.PCMU, Linear(16000)])
def test_a_piece_may_be_longer_than_what_is_kept(audio_format: Format, ms: int) -> None:
    guard, size = EchoGuard(audio_format), audio_format.bytes_per_ms
    luck = np.random.default_rng(5)
    for _ in range(50):
        guard.sent(luck.bytes(20 * size))
        guard.heard(luck.bytes(20 * size))
    piece = luck.bytes(ms * size)
    assert len(guard.heard(piece)) == len(piece)
    for _ in range(20):
        guard.sent(luck.bytes(20 * size))
        assert len(guard.heard(luck.bytes(20 * size))) == 20 * size
