"""Server transactions, every move and every timer (RFC 3261 17.2, RFC 6026 7.1)."""

from __future__ import annotations

import pytest

from bridge.sip.message import Request, parse
from bridge.sip.server_transaction import INVITE_SERVER, SERVER, InviteServer, Server
from bridge.sip.transaction import Action, Deliver, Failed, IllegalMove, Send, State, Timers

from .stack import request

TIMERS = Timers(t1=1.0, t2=4.0, t4=5.0)


def read(text: str) -> Request:
    message = parse(text.encode())
    assert isinstance(message, Request)
    return message


INVITE, ACK, BYE = read(request("INVITE")), read(request("ACK")), read(request("BYE"))


def sends(actions: list[Action]) -> list[bytes]:
    """The status codes that went out."""
    return [action.data.split()[1] for action in actions if isinstance(action, Send)]


def invite_server(reliable: bool = False) -> InviteServer:
    return InviteServer(INVITE, 0.0, TIMERS, reliable)


def refused(reliable: bool = False) -> InviteServer:
    machine = invite_server(reliable)
    machine.respond(INVITE.response(486), 0.0)
    return machine


def test_a_repeated_invite_gets_the_last_provisional_answer() -> None:
    machine = invite_server()
    assert machine.receive(INVITE, 0.0) == []
    machine.respond(INVITE.response(100), 0.0)
    assert sends(machine.receive(INVITE, 0.1)) == [b"100"]
    machine.respond(INVITE.response(180), 0.2)
    assert sends(machine.receive(INVITE, 0.3)) == [b"180"]
    assert machine.state is State.PROCEEDING
    assert machine.next_deadline is None


def test_a_200_stays_until_timer_l_and_hands_the_ack_over() -> None:
    machine = invite_server()
    machine.respond(INVITE.response(200), 0.0)
    assert machine.state is State.ACCEPTED
    assert sends(machine.receive(INVITE, 1.0)) == [b"200"]
    assert machine.respond(INVITE.response(200), 2.0)[0] == Send(bytes(INVITE.response(200)), repeat=True)
    assert machine.receive(ACK, 3.0) == [Deliver(ACK)]
    assert machine.receive(ACK, 3.0) == [Deliver(ACK)]
    assert machine.next_deadline == 64.0
    assert machine.tick(63.9) == []
    assert machine.state is State.ACCEPTED
    assert machine.tick(64.0) == []
    assert machine.state is State.TERMINATED


def test_no_refusal_after_a_200() -> None:
    machine = invite_server()
    machine.respond(INVITE.response(200), 0.0)
    with pytest.raises(IllegalMove):
        machine.respond(INVITE.response(486), 1.0)
    assert machine.state is State.ACCEPTED


def test_timer_g_repeats_a_refusal_up_to_t2() -> None:
    machine = refused()
    times = []
    while machine.state is State.COMPLETED:
        now = machine.next_deadline
        assert now is not None
        if sends(machine.tick(now)):
            times.append(now)
    assert times[:5] == [1.0, 3.0, 7.0, 11.0, 15.0]
    assert times[-1] < 64.0


def test_timer_h_gives_up_without_an_ack() -> None:
    machine = refused()
    machine.tick(63.0)
    assert machine.tick(64.0)[-1] == Failed("timeout")
    assert machine.state is State.TERMINATED
    assert machine.next_deadline is None


def test_the_ack_of_a_refusal_stops_everything_for_timer_i() -> None:
    machine = refused()
    assert machine.receive(ACK, 1.0) == []
    assert machine.state is State.CONFIRMED
    assert machine.receive(INVITE, 2.0) == []
    assert machine.receive(ACK, 2.0) == []
    assert machine.next_deadline == 6.0
    machine.tick(6.0)
    assert machine.state is State.TERMINATED


def test_a_repeated_invite_gets_the_refusal_again() -> None:
    assert sends(refused().receive(INVITE, 0.5)) == [b"486"]


def test_over_a_reliable_transport_there_is_no_timer_g_and_no_timer_i() -> None:
    machine = refused(reliable=True)
    assert machine.next_deadline == 64.0
    machine.receive(ACK, 1.0)
    assert machine.state is State.TERMINATED


def test_an_ack_before_any_final_answer_means_nothing() -> None:
    machine = invite_server()
    assert machine.receive(ACK, 0.0) == []
    assert machine.state is State.PROCEEDING


def test_a_transport_error_ends_all_but_an_accepted_invite() -> None:
    machine = invite_server()
    assert machine.error(0.0) == [Failed("transport_error")]
    machine = refused()
    assert machine.error(0.0) == [Failed("transport_error")]
    machine = invite_server()
    machine.respond(INVITE.response(200), 0.0)
    assert machine.error(0.0) == []
    assert machine.state is State.ACCEPTED


def test_non_invite_absorbs_answers_and_lingers_for_timer_j() -> None:
    machine = Server(BYE, 0.0, TIMERS, False)
    assert machine.receive(BYE, 0.0) == []
    machine.respond(BYE.response(100), 0.0)
    assert machine.state is State.PROCEEDING
    assert sends(machine.receive(BYE, 0.1)) == [b"100"]
    machine.respond(BYE.response(200), 0.2)
    assert machine.state is State.COMPLETED
    assert sends(machine.receive(BYE, 1.0)) == [b"200"]
    with pytest.raises(IllegalMove):
        machine.respond(BYE.response(200), 1.0)
    assert machine.next_deadline == 64.2
    machine.tick(64.2)
    assert machine.state is State.TERMINATED


def test_non_invite_over_a_reliable_transport_ends_at_once() -> None:
    machine = Server(BYE, 0.0, TIMERS, True)
    assert sends(machine.respond(BYE.response(200), 0.0)) == [b"200"]
    assert machine.state is State.TERMINATED


@pytest.mark.parametrize("status", [None, 100, 200])
def test_non_invite_transport_errors(status: int | None) -> None:
    machine = Server(BYE, 0.0, TIMERS, False)
    if status is not None:
        machine.respond(BYE.response(status), 0.0)
    assert machine.error(0.0) == [Failed("transport_error")]
    assert machine.state is State.TERMINATED
    assert machine.error(0.0) == []


def test_the_tables_hold_what_the_figures_show() -> None:
    assert {state for state, _ in INVITE_SERVER} == {
        State.PROCEEDING,
        State.ACCEPTED,
        State.COMPLETED,
        State.CONFIRMED,
    }
    assert {state for state, _ in SERVER} == {State.TRYING, State.PROCEEDING, State.COMPLETED}
