"""Transfers inside a call, ours and the peer's, and calls that take another's place (RFC 3515, 3891, 4488, 6665)."""

from __future__ import annotations

import pytest

from bridge.sip.digest import Authenticator, Credentials
from bridge.sip.message import Request, Response
from bridge.sip.replaces import Replaces
from bridge.sip.session import SessionState
from bridge.sip.transfer import PATIENCE_S, Referred
from bridge.sip.uri import Uri

from .stack import ANSWER, Stack, confirmed, invite, reply, request, tag_of

TARGET = Uri.parse("sip:200@192.0.2.1")
FRAGMENT = "message/sipfrag;version=2.0"
REFER_TO = "Refer-To: <sip:300@192.0.2.1>\r\n"


class Referring:
    """A call in which we have sent a REFER."""

    def __init__(self, replaces: Replaces | None = None) -> None:
        self.stack = Stack()
        self.call, self.tag = confirmed(self.stack)
        self.told: list[tuple[int, bool]] = []
        self.call.refer(TARGET, lambda status, final: self.told.append((status, final)), replaces)
        self.asked = self.stack.request("REFER")
        self.cseq = 10

    def taken(self, status: int = 202) -> None:
        self.stack.receive(reply(self.asked, status, tag="a"))

    def notify(
        self, line: str, state: str = "active;expires=60", *, event: str = "refer", kind: str = FRAGMENT
    ) -> Response:
        """A report of the peer; our answer."""
        self.cseq += 1
        extra = f"Event: {event}\r\nSubscription-State: {state}\r\n"
        body = f"SIP/2.0 {line}\r\n" if line else ""
        branch = f"z9hG4bKn{self.cseq}"
        text = request("NOTIFY", branch=branch, to_tag=self.tag, cseq=self.cseq, extra=extra, body=body, kind=kind)
        self.stack.receive(text)
        return self.stack.answer()


# Ours


def test_a_transfer_of_ours_from_the_refer_to_the_last_word() -> None:
    referring = Referring()
    asked = referring.asked
    assert asked.header("Refer-To") == "<sip:200@192.0.2.1>"
    assert asked.header("Referred-By") == "<sip:600@192.0.2.10>"
    assert asked.header("Contact") == "<sip:192.0.2.10:5060>"
    referring.taken(100)
    assert referring.told == []
    referring.taken()
    assert referring.notify("100 Trying").status == 200
    assert referring.notify("180 Ringing").status == 200
    assert referring.notify("200 OK", "terminated;reason=noresource").status == 200
    assert referring.told == [(100, False), (100, False), (180, False), (200, True)]
    assert referring.notify("200 OK", "terminated").status == 481
    referring.stack.advance(2 * PATIENCE_S)
    assert len(referring.told) == 4


def test_an_attended_transfer_names_the_call_to_take_over() -> None:
    referring = Referring(Replaces.at_peer("other", local_tag="l", remote_tag="r"))
    assert referring.asked.header("Refer-To") == ("<sip:200@192.0.2.1?Replaces=other%3Bto-tag%3Dr%3Bfrom-tag%3Dl>")


@pytest.mark.parametrize("status", [403, 405, 603])
def test_a_refused_transfer(status: int) -> None:
    referring = Referring()
    referring.taken(status)
    assert referring.told == [(status, True)]
    assert referring.notify("200 OK").status == 481
    assert referring.call.state is SessionState.CONFIRMED


def test_a_challenged_refer_is_known_by_the_number_of_its_second_try() -> None:
    stack = Stack()
    call, tag = confirmed(stack)
    call.authenticator = Authenticator((Credentials("us", "secret"),))
    told: list[int] = []
    call.refer(TARGET, lambda status, final: told.append(status))
    first = stack.request("REFER")
    stack.receive(reply(first, 401, tag="a", extra='WWW-Authenticate: Digest realm="r", nonce="n", qop="auth"'))
    second = stack.request("REFER")
    for number, sent in enumerate((first, second), 2):
        extra = f"Event: refer;id={sent.cseq.number}\r\nSubscription-State: active\r\n"
        body = "SIP/2.0 180 Ringing\r\n"
        text = request("NOTIFY", branch=f"z{number}", to_tag=tag, cseq=number, extra=extra, body=body, kind=FRAGMENT)
        stack.receive(text)
    assert (stack.statuses(), told) == ([481, 200], [180])


def test_a_report_may_overtake_the_202() -> None:
    referring = Referring()
    assert referring.notify("180 Ringing").status == 200
    referring.taken()
    assert referring.told == [(180, False)]  # and it does not ring backwards
    referring = Referring()
    referring.notify("200 OK", "terminated")
    referring.taken()
    assert referring.told == [(200, True)]


@pytest.mark.parametrize("line", ["100 Trying", "183 Session Progress", ""])
def test_a_subscription_that_ends_without_a_final_word_has_failed(line: str) -> None:
    referring = Referring()
    referring.taken()
    assert referring.notify(line, "terminated;reason=timeout").status == 200
    assert referring.told == [(100, False), (408, True)]


def test_a_failed_transfer_is_told_with_its_status() -> None:
    referring = Referring()
    referring.taken()
    referring.notify("486 Busy Here", "terminated;reason=noresource")
    assert referring.told[-1] == (486, True)


def test_silence_after_the_202_is_a_failure_and_each_report_begins_the_wait_anew() -> None:
    referring = Referring()
    referring.taken()
    for _ in range(3):
        referring.stack.advance(PATIENCE_S - 1)
        referring.notify("180 Ringing")
    referring.stack.advance(PATIENCE_S - 1)
    assert referring.told[-1] == (180, False)
    referring.stack.advance(1)
    assert referring.told[-1] == (408, True)


def test_a_refer_that_nobody_answers() -> None:
    referring = Referring()
    referring.stack.advance(32.0)
    assert referring.told == [(408, True)]


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"event": "presence"}, 489),
        ({"event": "refer;id=77"}, 481),
        ({"state": "active;expires=x"}, 400),
        ({"line": ""}, 400),
        ({"line": "nonsense"}, 400),
    ],
)
def test_reports_of_no_use(changes: dict[str, str], status: int) -> None:
    referring = Referring()
    referring.taken()
    answer = referring.notify(**{"line": "180 Ringing", **changes})
    assert (answer.status, referring.told) == (status, [(100, False)])
    if status == 489:
        assert answer.header("Allow-Events") == "refer"
    assert referring.notify("200 OK", "terminated").status == 200


@pytest.mark.parametrize(("event", "status"), [("refer", 481), ("presence", 489)])
def test_a_report_without_a_transfer(event: str, status: int) -> None:
    stack = Stack()
    _, tag = confirmed(stack)
    extra = f"Event: {event}\r\nSubscription-State: active\r\n"
    stack.receive(request("NOTIFY", branch="z9hG4bKn", to_tag=tag, cseq=2, extra=extra))
    assert stack.statuses() == [status]


def test_one_transfer_of_ours_at_a_time() -> None:
    referring = Referring()
    second: list[tuple[int, bool]] = []
    referring.call.refer(TARGET, lambda status, final: second.append((status, final)))
    assert second == []
    referring.stack.advance(0.0)
    assert (second, referring.stack.take()) == ([(491, True)], [])
    referring.taken(603)
    referring.call.refer(TARGET, lambda status, final: second.append((status, final)))
    again = referring.stack.request("REFER")
    referring.stack.receive(reply(again, 202, tag="a"))
    assert second[1:] == [(100, False)]


@pytest.mark.parametrize("stands", [True, False])
def test_who_does_not_want_to_wait_hears_nothing_more(stands: bool) -> None:
    stack = Stack()
    call, _ = confirmed(stack)
    if not stands:
        call.close()
        stack.take()
    call.refer(TARGET, lambda status, final: pytest.fail("told")).stop()
    for item in stack.take():
        stack.receive(reply(item, 202, tag="a"))  # type: ignore[arg-type]
    stack.advance(2 * PATIENCE_S)


def test_the_end_of_the_call_is_the_last_word() -> None:
    referring = Referring()
    referring.taken()
    referring.stack.receive(request("BYE", branch="z9hG4bKb", to_tag=referring.tag, cseq=20))
    referring.stack.advance(33.0)
    assert (referring.told, referring.stack.ended) == ([(100, False)], ["bye"])
    assert referring.stack.empty
    assert referring.stack.alarms.next_deadline is None


def test_there_is_nobody_to_refer_before_the_call_stands() -> None:
    stack = Stack()
    stack.receive(invite())
    told: list[tuple[int, bool]] = []
    stack.calls[0].refer(TARGET, lambda status, final: told.append((status, final)))
    assert told == []
    stack.advance(0.0)
    assert (told, stack.statuses()) == ([(481, True)], [100])


# The peer's


class Referee:
    """A call whose peer refers us."""

    def __init__(self, accepts: bool = True) -> None:
        self.stack = Stack()
        self.call, self.tag = confirmed(self.stack)
        self.tasks: list[Referred] = []
        self.accepts = accepts
        self.call.on_refer = self._referred
        self.cseq = 1

    def _referred(self, task: Referred) -> bool:
        self.tasks.append(task)
        return self.accepts

    def refer(self, extra: str = REFER_TO) -> list[Request | Response]:
        self.cseq += 1
        self.stack.receive(
            request("REFER", branch=f"z9hG4bKr{self.cseq}", to_tag=self.tag, cseq=self.cseq, extra=extra)
        )
        return self.stack.take()

    def notified(self) -> tuple[str | None, str | None, bytes]:
        """Event, state and body of the one report that went out."""
        notify = self.stack.request("NOTIFY")
        assert notify.header("Content-Type") == FRAGMENT
        return notify.header("Event"), notify.header("Subscription-State"), notify.body


def test_a_transfer_for_the_peer_is_reported_from_the_first_try_to_the_last_word() -> None:
    referee = Referee()
    accepted, notify = referee.refer()
    assert isinstance(accepted, Response) and isinstance(notify, Request)
    assert (accepted.status, accepted.header("Contact"), accepted.header("Refer-Sub")) == (
        202,
        "<sip:192.0.2.10:5060>",
        None,
    )
    assert (notify.header("Event"), notify.body) == ("refer;id=2", b"SIP/2.0 100 Trying\r\n")
    assert (notify.header("Subscription-State") or "").startswith("active;expires=")
    (task,) = referee.tasks
    assert task.referral.target.text == "sip:300@192.0.2.1"
    task.progress(180)
    event, state, body = referee.notified()
    assert (event, body) == ("refer;id=2", b"SIP/2.0 180 Ringing\r\n")
    assert state is not None and state.startswith("active")
    task.progress(200)
    assert referee.notified() == ("refer;id=2", "terminated;reason=noresource", b"SIP/2.0 200 OK\r\n")
    task.progress(486)
    assert referee.stack.take() == []


def test_a_declined_transfer() -> None:
    referee = Referee(accepts=False)
    (answer,) = referee.refer()
    assert isinstance(answer, Response)
    assert answer.status == 603
    assert referee.call.state is SessionState.CONFIRMED
    stack = Stack()
    _, tag = confirmed(stack)
    stack.receive(request("REFER", branch="z9hG4bKr", to_tag=tag, cseq=2, extra=REFER_TO))
    assert stack.statuses() == [603]  # nobody has said what to do with it


@pytest.mark.parametrize("extra", ["", "Refer-To: nonsense\r\n", REFER_TO * 2, "Refer-To: <sip:1@h?Replaces=x>\r\n"])
def test_a_transfer_that_cannot_be_read(extra: str) -> None:
    referee = Referee()
    (answer,) = referee.refer(extra)
    assert isinstance(answer, Response)
    assert (answer.status, referee.tasks) == (400, [])


def test_a_peer_that_wants_no_reports_gets_none() -> None:
    referee = Referee()
    (accepted,) = referee.refer(f"{REFER_TO}Refer-Sub: false\r\nRequire: norefersub\r\n")
    assert isinstance(accepted, Response)
    assert (accepted.status, accepted.header("Refer-Sub")) == (202, "false")
    referee.tasks[0].progress(200)
    assert referee.stack.take() == []


def test_two_transfers_are_told_apart() -> None:
    referee = Referee()
    for _ in range(2):
        assert len(referee.refer()) == 2
    first, second = referee.tasks
    second.progress(180)
    assert referee.notified()[0] == "refer;id=3"
    first.progress(404)
    assert referee.notified() == ("refer;id=2", "terminated;reason=noresource", b"SIP/2.0 404 Not Found\r\n")
    second.progress(200)
    assert referee.notified()[0] == "refer;id=3"


def test_what_the_owner_reports_at_once_is_not_taken_back() -> None:
    referee = Referee()

    def at_once(task: Referred) -> bool:
        task.progress(180)
        return True

    referee.call.on_refer = at_once
    sent = referee.refer()
    assert [item.body for item in sent if isinstance(item, Request)] == [b"SIP/2.0 180 Ringing\r\n"]


@pytest.mark.parametrize("status", [481, 489])
def test_a_peer_that_refuses_a_report_gets_no_more(status: int) -> None:
    referee = Referee()
    _, notify = referee.refer()
    assert isinstance(notify, Request)
    referee.stack.receive(reply(notify, status, tag="a"))
    referee.tasks[0].progress(200)
    assert referee.stack.take() == []
    assert referee.call.state is SessionState.CONFIRMED


def test_reports_end_with_the_call() -> None:
    referee = Referee()
    referee.refer()
    referee.call.hang_up()
    referee.stack.request("BYE")
    referee.tasks[0].progress(200)
    assert referee.stack.take() == []
    (answer,) = referee.refer()
    assert isinstance(answer, Response)
    assert (answer.status, len(referee.tasks)) == (481, 1)


def test_a_transfer_before_the_ack_may_come_again() -> None:
    stack = Stack()
    stack.receive(invite())
    stack.calls[0].answer(ANSWER)
    tag = tag_of(stack.take()[-1])
    stack.receive(request("REFER", branch="z9hG4bKr", to_tag=tag, cseq=2, extra=REFER_TO))
    answer = stack.answer()
    assert (answer.status, answer.header("Retry-After") is not None) == (500, True)


# A call in the place of another


def replacing(stack: Stack, value: str) -> int:
    """The final answer to an INVITE with such a Replaces; 0 while it rings."""
    stack.receive(invite(call_id="new", branch="z9hG4bKnew", extra=f"Replaces: {value}\r\n"))
    finals = [item.status for item in stack.take() if isinstance(item, Response) and item.status >= 200]
    return finals[0] if finals else 0


def test_a_call_may_take_the_place_of_one_that_stands() -> None:
    stack = Stack()
    call, tag = confirmed(stack)
    assert call.replaces is None
    assert replacing(stack, f"c1;to-tag={tag};from-tag=a") == 0
    assert stack.calls[-1].replaces is call
    assert call.state is SessionState.CONFIRMED  # its owner decides


@pytest.mark.parametrize(
    ("value", "status"),
    [
        ("c1;to-tag={tag};from-tag=a;early-only", 486),
        ("c1;to-tag={tag};from-tag=z", 481),
        ("c1;to-tag=zzz;from-tag=a", 481),
        ("c2;to-tag={tag};from-tag=a", 481),
        ("c1;to-tag={tag}", 400),
    ],
)
def test_a_call_that_may_not_take_the_place_of_another(value: str, status: int) -> None:
    stack = Stack()
    _, tag = confirmed(stack)
    assert replacing(stack, value.format(tag=tag)) == status
    assert len(stack.calls) == 1


def test_a_call_that_is_hanging_up_is_not_replaced() -> None:
    stack = Stack()
    call, tag = confirmed(stack)
    call.hang_up()
    stack.take()
    assert replacing(stack, f"c1;to-tag={tag};from-tag=a") == 603


def test_a_call_that_rings_here_is_not_replaced_and_one_that_rings_there_is() -> None:
    stack = Stack()
    stack.receive(invite())
    stack.calls[0].ring()
    tag = tag_of(stack.take()[-1])
    assert replacing(stack, f"c1;to-tag={tag};from-tag=a") == 481
    stack = Stack()
    ours = stack.call()
    stack.advance(0.0)
    asked = stack.request("INVITE")
    for far in ("b", "c"):
        stack.receive(reply(asked, 180, tag=far))
    own = asked.from_.tag
    assert replacing(stack, f"{asked.call_id};to-tag={own};from-tag=c;early-only") == 0
    assert stack.calls[-1].replaces is ours
