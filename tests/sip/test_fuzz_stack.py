"""A hundred thousand spoiled messages with the clock in our hand: nothing escapes, nothing stays."""

from __future__ import annotations

import gc
import random
import re
import secrets
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.sip.digest import Authenticator, Authority, Credentials
from bridge.sip.errors import SipError
from bridge.sip.invitation import Invitation
from bridge.sip.layer import Path
from bridge.sip.message import Request, parse
from bridge.sip.outgoing import OutgoingCall
from bridge.sip.registrar import Registrar
from bridge.sip.session import Session
from bridge.sip.transfer import Referred
from bridge.sip.uri import Uri
from bridge.sip.via import reply_to

from .noise import INSIDE, OUTSIDE, SEEDS, STATUSES, spoiled
from .stack import ANSWER, OFFER, PEER, Stack, reply

BATCH = 5_000
LONG = 20
"""Batches in the long run."""

CSEQ = re.compile(r"CSeq: \d+ ")
DIALOGS = 40
"""Call-IDs in one batch: few enough that messages meet what is already there."""


@pytest.fixture(autouse=True)
def the_same_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tags and branches come from a seed too: what was found once is found again."""
    dice = random.Random(1)
    monkeypatch.setattr(secrets, "token_hex", lambda size: dice.randbytes(size).hex())
    monkeypatch.setattr(secrets, "randbelow", dice.randrange)


class Everybody(Authority):
    """Lets every phone register."""

    def __init__(self) -> None:
        super().__init__("r", {"alice": "x"}, lambda: 0.0)

    def check(self, request: Request, source_host: str) -> str | SipError:
        return "alice"


Act = Callable[[Any, random.Random], object]
ANYBODY: tuple[Act, ...] = (
    lambda call, dice: call.reinvite(ANSWER, lambda status, answer: None),
    lambda call, dice: call.update(dice.choice((ANSWER, b"")), lambda status, answer: None),
    lambda call, dice: call.info("application/dtmf", b"5"),
    lambda call, dice: call.refer(Uri.parse("sip:1@h"), lambda status, final: None),
    lambda call, dice: call.hang_up() if dice.random() < 0.3 else None,
)
INVITED: tuple[Act, ...] = (
    lambda call, dice: call.ring(),
    lambda call, dice: call.progress(ANSWER),
    *(lambda call, dice: call.answer(ANSWER),) * 4,
    lambda call, dice: call.reject(dice.choice((302, 486, 500, 603))) if dice.random() < 0.5 else None,
)


class Bedlam:
    """A stack among madmen: messages true and spoiled, calls out, time that jumps."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.registrar = Registrar("r", {"alice": "x"}, lambda: self.stack.now, authority=Everybody())
        self.stack = Stack(registrar=self.registrar)
        self.stack.on_invite = self._take
        self.asked: dict[str, Request] = {}
        self.out: list[OutgoingCall] = []
        self.referred: list[Referred] = []
        self.number = 100

    def batch(self, rounds: int) -> None:
        for _ in range(rounds):
            self._round()
        self._end()

    def _round(self) -> None:
        chance = self.dice.random()
        if chance < 0.01:
            self._call()
        elif chance < 0.03 and self.out:
            self._act(self.dice.choice(self.out))
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
            stack.server.refuse_malformed(request.stamped(PEER), path, PEER, error)
        except SipError:
            return

    def _request(self) -> bytes:
        dice, calls = self.dice, self._some_calls()
        inside = bool(calls) and dice.random() < 0.6
        text = dice.choice(INSIDE if inside else OUTSIDE)
        if inside and dice.random() < 0.2:
            text = INSIDE[0]  # Without its ACK no call stands.
        elif inside and dice.random() < 0.8:
            self.number += 1
            text = CSEQ.sub(f"CSeq: {self.number} ", text)
        number, tag = f"c{dice.randrange(DIALOGS)}", "nobody"
        if calls:
            call = dice.choice(calls)
            tag, number = call.dialog.local_tag, call.id if inside else number
        text = text.replace("@TAG@", tag).replace("Call-ID: c1\r", f"Call-ID: {number}\r")
        return text.replace("z9hG4bK1\r", f"z9hG4bK{dice.randrange(200)}\r").encode()

    def _some_calls(self) -> list[Invitation]:
        """Mostly the living: the dead answer 481 to everything."""
        latest = self.stack.calls[-20:]
        living = [call for call in latest if call.state is not call.State.ENDED]
        return living if living and self.dice.random() < 0.9 else latest

    def _answer(self) -> bytes:
        dice = self.dice
        body = OFFER if dice.random() < 0.5 else ""
        extra = dice.choice(EXTRAS)
        status = 200 if dice.random() < 0.3 else dice.choice(STATUSES)
        return reply(dice.choice([*self.asked.values()]), status, tag=f"b{dice.randrange(4)}", extra=extra, body=body)

    def _call(self) -> None:
        proof = Authenticator([Credentials("a", "b")])
        call = self.stack.call(authenticator=proof, redirects=lambda uri: self.dice.random() < 0.5)
        self._attend(call)
        self.out = [*self.out[-19:], call]

    def _take(self, call: Invitation) -> None:
        self._attend(call)
        if self.dice.random() < 0.7:
            self._act(call)

    def _attend(self, call: Session) -> None:
        call.on_offer = lambda offer: self.dice.choice((ANSWER, ANSWER, 488))
        call.on_info = lambda kind, body: self.dice.choice((200, 415))
        call.on_refer = self._refer

    def _refer(self, task: Referred) -> bool:
        self.referred = [*self.referred[-9:], task]
        return self.dice.random() < 0.7

    def _act(self, call: Session) -> None:
        """Something that the owner of a call does, at a time that may be wrong for it."""
        dice = self.dice
        act = dice.choice(ANYBODY + INVITED if isinstance(call, Invitation) else ANYBODY)
        act(call, dice)
        if self.referred and dice.random() < 0.2:
            dice.choice(self.referred).progress(dice.choice((180, 200, 486)))

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
        self.registrar.expire(self.stack.now + 4000)
        assert len(self.registrar) == 0
        assert self.stack.alarms.next_deadline is None
        assert self.stack.core.sessions == {}
        self.stack.calls.clear()
        self.stack.ended.clear()
        self.stack.wire.sent.clear()
        self.asked.clear()
        self.out.clear()
        self.referred.clear()


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
