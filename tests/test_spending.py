"""The spend guard: which limit is reached when, who may begin, and that its memory is bounded."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge import spending as module
from bridge.config import Prices, Spend
from bridge.prices import PriceTable
from bridge.realtime.events import Usage
from bridge.records import Counts, Refusal
from bridge.spending import DAY_S, HOUR_S, Books, Spending, Window


class Purse:
    """A spend guard with a clock by hand."""

    def __init__(self, **limits: float) -> None:
        self.now = 1000.0
        self.spending = Spending(Spend.model_validate(limits), lambda: self.now, secret=b"k")
        self.unpriced: list[str] = []

    def books(self, **models: dict[str, float]) -> Books:
        table = PriceTable(Prices.model_validate({"models": models}))
        return Books(table, self.spending, on_unpriced=self.unpriced.append)


# Limits


def test_without_limits_nothing_is_ever_reached() -> None:
    purse = Purse()
    assert purse.spending.add("c1", "+491", 1e9) is None
    assert purse.spending.may_begin("+491") is None
    assert not purse.spending.hour_is_spent


def test_a_call_reaches_its_own_limit_and_others_do_not() -> None:
    purse = Purse(per_call=2)
    assert purse.spending.add("c1", "+491", 1.5) is None
    assert purse.spending.add("c2", "+491", 1.5) is None
    assert purse.spending.add("c1", "+491", 0.5) == "per_call"
    assert purse.spending.may_begin("+491") is None


def test_a_call_that_is_over_leaves_nothing_behind() -> None:
    purse = Purse(per_call=2)
    purse.spending.add("c1", "+491", 1.5)
    purse.spending.left("c1")
    purse.spending.left("unknown")
    assert purse.spending.add("c1", "+491", 1.5) is None


def test_the_hour_counts_all_calls_and_closes_the_door_until_enough_has_left_it() -> None:
    purse = Purse(per_hour=10)
    assert purse.spending.add("c1", "+491", 6) is None
    purse.now += 600
    assert purse.spending.add("c2", "+492", 4) == "per_hour"
    assert purse.spending.add("c1", "+491", 0.1) == "per_hour", "calls that go on end too"
    assert purse.spending.may_begin("+493") is Refusal.SPEND_HOUR
    wait = purse.spending.retry_after_s()
    assert HOUR_S - 600 <= wait <= HOUR_S - 600 + 60
    purse.now += wait - 1
    assert purse.spending.may_begin("+493") is Refusal.SPEND_HOUR
    purse.now += 1
    assert purse.spending.may_begin("+493") is None


def test_a_caller_who_has_spent_his_day_may_not_begin_and_others_may() -> None:
    purse = Purse(per_caller_per_day=3)
    assert purse.spending.add("c1", "+491", 1) is None
    purse.now += 5 * HOUR_S
    assert purse.spending.add("c2", "+491", 2) == "per_caller_per_day"
    assert purse.spending.may_begin("+491") is Refusal.SPEND_CALLER
    assert purse.spending.may_begin("+492") is None
    purse.now += DAY_S - 5 * HOUR_S - 1
    assert purse.spending.may_begin("+491") is Refusal.SPEND_CALLER
    purse.now += HOUR_S + 1
    assert purse.spending.may_begin("+491") is None


def test_callers_who_withhold_their_number_are_one_caller() -> None:
    purse = Purse(per_caller_per_day=3)
    purse.spending.add("c1", "", 1)
    assert purse.spending.add("c2", "Anonymous", 2) == "per_caller_per_day"
    assert purse.spending.may_begin("anonymous") is Refusal.SPEND_CALLER


def test_the_own_limit_is_named_before_those_of_others() -> None:
    purse = Purse(per_call=1, per_caller_per_day=1, per_hour=1)
    assert purse.spending.add("c1", "+491", 1) == "per_call"
    assert purse.spending.add("c2", "+491", 0.1) == "per_caller_per_day"
    assert purse.spending.add("c3", "+492", 0.1) == "per_hour"
    assert purse.spending.may_begin("+491") is Refusal.SPEND_HOUR


# Memory


def test_callers_are_bounded_and_whoever_has_spent_nothing_for_longest_is_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "CALLERS", 3)
    purse = Purse(per_caller_per_day=1)
    for caller in ("+491", "+492", "+493", "+491", "+494"):
        purse.spending.add("c", caller, 1)
    begins = [purse.spending.may_begin(caller) is None for caller in ("+491", "+492", "+493", "+494")]
    assert begins == [False, True, False, False]


def test_callers_are_not_kept_when_there_is_no_limit_for_them_and_asking_keeps_nobody() -> None:
    purse = Purse(per_hour=1)
    purse.spending.add("c1", "+491", 1)
    limited = Purse(per_caller_per_day=1)
    limited.spending.may_begin("+491")
    assert not vars(purse.spending)["_callers"] and not vars(limited.spending)["_callers"]


def test_no_number_is_kept() -> None:
    purse = Purse(per_caller_per_day=1)
    purse.spending.add("c1", "+4930123456", 1)
    assert "4930123456" not in repr(vars(purse.spending))
    other = Spending(Spend(per_caller_per_day=1), lambda: 0.0)
    other.add("c1", "+4930123456", 1)
    assert list(vars(other)["_callers"]) != list(vars(purse.spending)["_callers"]), "hashes have a key of their own"


@given(st.lists(st.tuples(st.floats(0, 2000), st.floats(0.001, 5)), max_size=60), st.floats(0.01, 20))
def test_a_window_holds_what_is_young_enough_and_little_more(steps: list[tuple[float, float]], limit: float) -> None:
    window, now, spent = Window(HOUR_S, 60), 0.0, []
    for wait, amount in steps:
        now += wait
        window.add(amount, now)
        spent.append((now, amount))
    least = math.fsum(amount for at, amount in spent if at > now - HOUR_S)
    most = math.fsum(amount for at, amount in spent if at >= now - HOUR_S - 60)
    assert least - 1e-6 <= window.total <= most + 1e-6
    assert len(vars_of(window)) <= 62
    opens = window.below_at(limit, now)
    assert (opens == now) == (window.total < limit)
    window.pass_to(opens)
    assert window.total < limit or window.total == pytest.approx(limit)


def test_a_window_lets_go_of_one_part_at_a_time_and_keeps_one_sum_for_each() -> None:
    window = Window(HOUR_S, 60)
    for _ in range(1000):
        window.add(0.001, 30.0)
    window.add(2, 90.0)
    assert len(vars_of(window)) == 2
    window.pass_to(60 + HOUR_S)
    assert window.total == pytest.approx(2)
    window.pass_to(120 + HOUR_S)
    assert window.total == 0


def vars_of(window: Window) -> list[tuple[int, float]]:
    return list(window._sums)


# Accounts


def test_an_account_counts_tokens_and_cost_and_tells_the_limit() -> None:
    purse, counts = Purse(per_call=1), Counts()
    account = purse.books(m={"audio_out": 64}).account("c1", "+491", counts)
    assert account.note(Usage("m", {"audio_out": 10_000})) is None
    assert account.note(Usage("m", {"audio_out": 6_000})) == "per_call"
    assert counts.tokens == {"audio_out": 16_000}
    assert counts.cost == pytest.approx(1.024)
    assert counts.unpriced == 0


def test_a_model_without_a_price_is_counted_and_said_once() -> None:
    purse, counts = Purse(per_call=1), Counts()
    books = purse.books(m={"audio_out": 64})
    for _ in range(3):
        assert books.account("c1", "+491", counts).note(Usage("new", {"text_in": 10})) is None
    assert (counts.tokens, counts.cost, counts.unpriced) == ({"text_in": 30}, 0, 3)
    assert purse.unpriced == ["new"]


def test_names_of_models_without_a_price_are_bounded() -> None:
    purse = Purse()
    account = purse.books(m={}).account("c1", "+491", Counts())
    for number in range(1000):
        account.note(Usage(f"made-up-{number}", {"text_in": 1}))
    assert len(purse.unpriced) == module.MODELS_SAID


def test_without_any_prices_tokens_are_counted_and_nothing_is_said() -> None:
    purse, counts = Purse(), Counts()
    purse.books().account("c1", "+491", counts).note(Usage("new", {"text_in": 10}))
    assert (counts.tokens, counts.cost, counts.unpriced, purse.unpriced) == ({"text_in": 10}, 0, 0, [])


def test_what_is_told_after_a_call_counts_for_the_hour_and_keeps_no_call() -> None:
    purse = Purse(per_hour=1)
    account = purse.books(m={"audio_out": 64}).account("c1", "+491", Counts())
    account.note(Usage("m", {"audio_out": 1000}))
    account.close()
    assert account.note(Usage("m", {"audio_out": 20_000})) == "per_hour"
    assert not vars(purse.spending)["_calls"]


@pytest.mark.parametrize("other", ["0049301234567", "49301234567", "+49301234567%20", " +49301234567 "])
def test_another_spelling_is_the_same_caller(other: str) -> None:
    spending = Spending(Spend(per_caller_per_day=1), lambda: 0.0)
    spending.add("a", "+49301234567", 2)
    assert spending.may_begin(other) is Refusal.SPEND_CALLER


@pytest.mark.parametrize("word", ["anonymous", "Unknown", "RESTRICTED", "private", "withheld", "unavailable", ""])
def test_who_withholds_his_number_is_one_caller_however_that_is_said(word: str) -> None:
    spending = Spending(Spend(per_caller_per_day=1), lambda: 0.0)
    spending.add("a", word, 2)
    assert spending.may_begin("anonymous") is Refusal.SPEND_CALLER
    assert spending.may_begin("+4930") is None
