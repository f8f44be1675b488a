"""A hundred thousand spoiled messages with the clock in our hand: nothing escapes, nothing stays."""

from __future__ import annotations

import gc
import random
import secrets
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.sip.errors import SipError
from bridge.sip.invitation import Invitation
from bridge.sip.layer import Path
from bridge.sip.message import Request, parse
from bridge.sip.outgoing import OutgoingCall
from bridge.sip.via import reply_to

from .noise import INSIDE, OUTSIDE, SEEDS, STATUSES, spoiled
from .stack import ANSWER, OFFER, PEER, Stack, reply

BATCH = 5_000
LONG = 20
"""Batches in the long run."""

DIALOGS = 40
"""Call-IDs in one batch: few enough that messages meet what is already there."""


@pytest.fixture(autouse=True)
def the_same_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tags and branches come from a seed too: what was found once is found again."""
    dice = random.Random(1)
    monkeypatch.setattr(secrets, "token_hex", lambda size: dice.randbytes(size).hex())
    monkeypatch.setattr(secrets, "randbelow", dice.randrange)


class Bedlam:
    """A stack among madmen: messages true and spoiled, calls out, time that jumps."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.stack = Stack()
        self.stack.on_invite = self._take
        self.asked: dict[str, Request] = {}
        self.out: list[OutgoingCall] = []

    def batch(self, rounds: int) -> None:
        for _ in range(rounds):
            self._round()
        self._end()

    def _round(self) -> None:
        chance = self.dice.random()
        if chance < 0.01:
            self.out.append(self.stack.call())
        elif chance < 0.03 and self.out:
            self.dice.choice(self.out).hang_up()
        elif chance < 0.05 and self.stack.calls:
            self._act(self.dice.choice(self.stack.calls[-20:]))
        else:
            text = self._answer() if self.asked and chance < 0.3 else self._request()
            self.deliver(text if self.dice.random() < 0.4 else spoiled(self.dice, text))
        if self.dice.random() < 0.3:
            self.stack.advance(self.dice.random() ** 4 * 8)
        self._listen()

    def deliver(self, data: bytes) -> None:
        """As the guard of the user agent does: a SipError is an answer or a drop, anything else is a bug."""
        stack = self.stack
        try:
            stack.receive(data)
        except SipError as error:
            if error.request is not None:
                self._refuse(error.request, error)

    def _refuse(self, request: Request, error: SipError) -> None:
        stack = self.stack
        try:
            path = Path(stack.wire, reply_to(request.via, PEER))
            stack.server.refuse(request.stamped(PEER), path, error)
        except SipError:
            return

    def _request(self) -> bytes:
        dice, calls = self.dice, self.stack.calls
        inside = bool(calls) and dice.random() < 0.6
        text = dice.choice(INSIDE if inside else OUTSIDE)
        if inside and dice.random() < 0.2:
            text = INSIDE[0]  # Without its ACK no call stands.
        number, tag = f"c{dice.randrange(DIALOGS)}", "nobody"
        if calls:
            call = dice.choice(calls[-20:])
            tag, number = call.dialog.local_tag, call.id if inside else number
        text = text.replace("@TAG@", tag).replace("Call-ID: c1\r", f"Call-ID: {number}\r")
        return text.replace("z9hG4bK1\r", f"z9hG4bK{dice.randrange(200)}\r").encode()

    def _answer(self) -> bytes:
        dice = self.dice
        body = OFFER if dice.random() < 0.5 else ""
        extra = dice.choice(EXTRAS)
        status = 200 if dice.random() < 0.3 else dice.choice(STATUSES)
        return reply(dice.choice([*self.asked.values()]), status, tag=f"b{dice.randrange(4)}", extra=extra, body=body)

    def _take(self, call: Invitation) -> None:
        call.on_offer = lambda offer: self.dice.choice((ANSWER, ANSWER, 488))
        if self.dice.random() < 0.7:
            self._act(call)

    def _act(self, call: Invitation) -> None:
        chance = self.dice.random()
        if chance < 0.2:
            call.ring()
        elif chance < 0.6:
            call.answer(ANSWER)
        elif chance < 0.75:
            call.reject(self.dice.choice((302, 486, 500, 603)))
        elif chance < 0.9:
            call.reinvite(ANSWER, lambda status, answer: None)
        else:
            call.hang_up()

    def _listen(self) -> None:
        sent, self.stack.wire.sent = self.stack.wire.sent, []
        for data, _ in sent:
            if data.startswith(b"SIP/2.0"):
                continue  # It may echo what was malformed.
            message = parse(data)
            assert isinstance(message, Request)
            if message.method != "ACK":
                self.asked.setdefault(message.via.branch, message)
                if len(self.asked) > 10:
                    del self.asked[next(iter(self.asked))]

    def _end(self) -> None:
        for session in list(self.stack.core.sessions.values()):
            session.hang_up()
        # Past every timer: an unanswered call rings for three minutes, a BYE waits for 64*T1.
        self.stack.advance(600)
        assert self.stack.empty
        assert self.stack.alarms.next_deadline is None
        assert self.stack.core.sessions == {}
        self.stack.calls.clear()
        self.stack.ended.clear()
        self.stack.wire.sent.clear()
        self.asked.clear()
        self.out.clear()


EXTRAS = (
    "",
    "Record-Route: <sip:p;lr>, <sip:192.0.2.9>",
    "Require: 100rel\nRSeq: 7",
    "Session-Expires: 90;refresher=uac\nRequire: timer",
    "Min-SE: 900",
    'WWW-Authenticate: Digest realm="r", nonce="n", qop="auth,auth-int", algorithm=SHA-256',
    'Proxy-Authenticate: Digest realm="r", nonce="n"',
    "Contact: <sip:elsewhere@192.0.2.7>;q=0.5, <tel:1>",
    "Retry-After: 5",
)


def test_a_batch_leaves_nothing() -> None:
    bedlam = Bedlam(11)
    bedlam.batch(BATCH)
    stats = bedlam.stack.core.stats
    # The noise was worth its name: calls stood, were refused, ended; strangers' answers were dropped.
    assert {200, 400, 405, 481, 486, 487} <= set(stats.answers)
    assert {"INVITE", "ACK", "BYE"} <= set(stats.sent)
    assert stats.answers[200] > 100


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_hundred_thousand_leave_nothing_and_cost_nothing() -> None:
    bedlam = Bedlam(12)
    bedlam.batch(BATCH)
    used: list[int] = []
    peaks: list[int] = []
    tracemalloc.start()
    try:
        for _ in range(LONG):
            tracemalloc.reset_peak()
            bedlam.batch(BATCH)
            gc.collect()
            now, peak = tracemalloc.get_traced_memory()
            used.append(now)
            peaks.append(peak)
    finally:
        tracemalloc.stop()
    half = LONG // 2
    assert sum(used[half:]) < 1.1 * sum(used[:half]) + 100_000
    assert sum(peaks[half:]) < 1.3 * sum(peaks[:half])


@given(st.lists(st.binary(max_size=300) | st.sampled_from([seed.encode() for seed in SEEDS]), max_size=8), st.randoms())
def test_any_bytes_in_any_order_end_as_answer_or_drop(messages: list[bytes], dice: random.Random) -> None:
    bedlam = Bedlam(dice.randrange(1000))
    for data in messages:
        bedlam.deliver(data)
        bedlam._listen()
    bedlam._end()
