"""Client transactions, every move and every timer (RFC 3261 17.1, RFC 6026 7.2)."""

from __future__ import annotations

import pytest

from bridge.sip.client_transaction import Client, InviteClient
from bridge.sip.message import Request, parse
from bridge.sip.transaction import Action, Deliver, Failed, Send, State, Timers

from .stack import request

TIMERS = Timers(t1=1.0, t2=4.0, t4=5.0)


def read(text: str) -> Request:
    message = parse(text.encode())
    assert isinstance(message, Request)
    return message


INVITE = read(request("INVITE", extra="Route: <sip:p;lr>\r\n"))
BYE = read(request("BYE"))


def methods(actions: list[Action]) -> list[bytes]:
    return [action.data.split()[0] for action in actions if isinstance(action, Send)]


def run(machine: InviteClient | Client) -> list[float]:
    """Times at which the request is repeated until nothing is left to wait for."""
    times = []
    while (now := machine.next_deadline) is not None:
        if methods(machine.tick(now)):
            times.append(now)
    return times


def invite_client(reliable: bool = False) -> InviteClient:
    machine = InviteClient(INVITE, 0.0, TIMERS, reliable)
    assert methods(machine.begin()) == [b"INVITE"]
    return machine


def client(reliable: bool = False) -> Client:
    machine = Client(BYE, 0.0, TIMERS, reliable)
    assert methods(machine.begin()) == [b"BYE"]
    return machine


def test_timer_a_doubles_without_a_limit_and_timer_b_ends() -> None:
    machine = invite_client()
    assert run(machine) == [1.0, 3.0, 7.0, 15.0, 31.0, 63.0]
    assert machine.state is State.TERMINATED


def test_timer_b_tells() -> None:
    machine = invite_client(reliable=True)
    assert machine.next_deadline == 64.0
    assert machine.tick(64.0) == [Failed("timeout")]


def test_a_provisional_answer_stops_the_timers() -> None:
    machine = invite_client()
    ringing = INVITE.response(180)
    assert machine.receive(ringing, 0.5) == [Deliver(ringing)]
    assert machine.state is State.PROCEEDING
    assert machine.next_deadline is None
    assert machine.receive(ringing, 0.6) == [Deliver(ringing)]


def test_a_200_and_its_repeats_go_to_the_user_until_timer_m() -> None:
    machine = invite_client()
    ok = INVITE.response(200, tag="b")
    assert machine.receive(ok, 0.5) == [Deliver(ok)]
    assert machine.receive(ok, 30.0) == [Deliver(ok)]
    assert machine.state is State.ACCEPTED
    assert machine.receive(INVITE.response(486, tag="b"), 30.0) == []
    assert machine.receive(INVITE.response(180, tag="b"), 30.0) == []
    assert machine.next_deadline == 64.5
    assert machine.tick(64.5) == []
    assert machine.state is State.TERMINATED


def test_a_refusal_is_acknowledged_here_and_again_until_timer_d() -> None:
    machine = invite_client()
    machine.receive(INVITE.response(180), 0.1)
    busy = INVITE.response(486, tag="b")
    send, deliver = machine.receive(busy, 0.5)
    assert deliver == Deliver(busy)
    assert isinstance(send, Send)
    ack = parse(send.data)
    assert isinstance(ack, Request)
    assert (ack.method, ack.uri, ack.cseq.number, ack.cseq.method) == ("ACK", INVITE.uri, 1, "ACK")
    assert ack.headers("Via") == INVITE.headers("Via")
    assert (ack.to.tag, ack.from_, ack.header("Route")) == ("b", INVITE.from_, "<sip:p;lr>")
    assert machine.receive(busy, 1.0) == [Send(send.data, repeat=True)]
    assert machine.next_deadline == 64.5
    machine.tick(64.5)
    assert machine.state is State.TERMINATED


def test_over_a_reliable_transport_a_refusal_ends_at_once() -> None:
    machine = invite_client(reliable=True)
    assert methods(machine.receive(INVITE.response(486, tag="b"), 0.5)) == [b"ACK"]
    assert machine.state is State.TERMINATED


def test_a_transport_error_counts_while_calling_and_for_the_ack() -> None:
    assert invite_client().error(0.0) == [Failed("transport_error")]
    machine = invite_client()
    machine.receive(INVITE.response(180), 0.1)
    assert machine.error(0.2) == []
    machine.receive(INVITE.response(486, tag="b"), 0.3)
    assert machine.error(0.4) == [Failed("transport_error")]


def test_timer_e_doubles_up_to_t2_and_timer_f_ends() -> None:
    machine = client()
    times = run(machine)
    assert times[:5] == [1.0, 3.0, 7.0, 11.0, 15.0]
    assert times[-1] < 64.0
    assert machine.state is State.TERMINATED


def test_timer_f_tells_also_after_a_provisional_answer() -> None:
    machine = client()
    trying = BYE.response(100)
    assert machine.receive(trying, 0.5) == [Deliver(trying)]
    assert machine.state is State.PROCEEDING
    assert methods(machine.tick(1.0)) == [b"BYE"]
    assert machine.next_deadline == 5.0
    actions: list[Action] = []
    while (now := machine.next_deadline) is not None:
        actions = machine.tick(now)
    assert now is None and actions[-1] == Failed("timeout")


def test_the_first_final_answer_is_the_answer_until_timer_k() -> None:
    machine = client()
    ok = BYE.response(200)
    assert machine.receive(ok, 0.5) == [Deliver(ok)]
    assert machine.receive(ok, 0.6) == []
    assert machine.receive(BYE.response(481), 0.7) == []
    assert machine.receive(BYE.response(100), 0.7) == []
    assert machine.next_deadline == 5.5
    machine.tick(5.5)
    assert machine.state is State.TERMINATED


def test_non_invite_over_a_reliable_transport() -> None:
    machine = client(reliable=True)
    assert machine.next_deadline == 64.0
    machine.receive(BYE.response(481), 0.5)
    assert machine.state is State.TERMINATED


@pytest.mark.parametrize("provisional", [False, True])
def test_non_invite_transport_error(provisional: bool) -> None:
    machine = client()
    if provisional:
        machine.receive(BYE.response(100), 0.1)
    assert machine.error(0.2) == [Failed("transport_error")]
    assert machine.state is State.TERMINATED


def test_terminate_is_silent() -> None:
    machine = invite_client()
    machine.terminate()
    assert machine.next_deadline is None
    assert machine.receive(INVITE.response(200, tag="b"), 1.0) == []
