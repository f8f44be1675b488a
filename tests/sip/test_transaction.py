"""What the transactions share: timers from T1, T2, T4; tables without dead ends."""

from __future__ import annotations

import pytest

from bridge.sip.client_transaction import CLIENT, INVITE_CLIENT
from bridge.sip.server_transaction import INVITE_SERVER, SERVER
from bridge.sip.transaction import Moves, State, Timers, event_of


def test_every_life_is_64_t1() -> None:
    assert Timers().life == 32.0
    assert Timers(t1=0.01).life == pytest.approx(0.64)


@pytest.mark.parametrize("status", [100, 199, 200, 299, 300, 699])
def test_columns(status: int) -> None:
    assert event_of(status) == ("1xx" if status < 200 else "2xx" if status < 300 else "final")


@pytest.mark.parametrize("moves", [INVITE_SERVER, SERVER, INVITE_CLIENT, CLIENT])
def test_every_state_leads_to_the_end_and_nothing_leads_out_of_it(moves: Moves) -> None:
    reach = {State.TERMINATED}
    for _ in State:
        reach |= {state for (state, _), target in moves.items() if target in reach}
    assert {state for state, _ in moves} <= reach
    assert all(state is not State.TERMINATED for state, _ in moves)
