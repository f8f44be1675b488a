"""What a usage costs by the price list, and when that is not known."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.config import Price, Prices
from bridge.prices import PriceTable, cost_of
from bridge.realtime.events import Usage

REALTIME = {
    "text_in": 4,
    "text_cached": 0.4,
    "audio_in": 32,
    "audio_cached": 0.5,
    "image_in": 5,
    "text_out": 16,
    "audio_out": 64,
}


def table(**models: dict[str, float]) -> PriceTable:
    return PriceTable(Prices.model_validate({"models": models}))


def named(models: dict[str, dict[str, float]]) -> PriceTable:
    return PriceTable(Prices.model_validate({"models": models}))


def test_each_kind_has_its_price_per_million() -> None:
    usage = Usage("m", {"text_in": 56, "text_cached": 64, "audio_in": 40, "text_out": 14, "audio_out": 36})
    expected = (56 * 4 + 64 * 0.4 + 40 * 32 + 14 * 16 + 36 * 64) / 1e6
    assert cost_of(usage, table(m=REALTIME)) == pytest.approx(expected)


@pytest.mark.parametrize(("kind", "price"), sorted({**REALTIME, "image_cached": 5}.items()))
def test_a_million_of_a_kind_costs_its_price(kind: str, price: float) -> None:
    assert cost_of(Usage("m", {kind: 1_000_000}), table(m=REALTIME)) == pytest.approx(price)


def test_cached_tokens_without_a_price_cost_as_much_as_others() -> None:
    assert cost_of(Usage("m", {"audio_cached": 1_000_000}), table(m={"audio_in": 32})) == 32
    assert cost_of(Usage("m", {"audio_cached": 1_000_000}), table(m={"audio_in": 32, "audio_cached": 0})) == 0


def test_time_is_paid_by_the_minute() -> None:
    assert cost_of(Usage("m", seconds=90), table(m={"minute": 0.1})) == pytest.approx(0.15)
    both = table(m={"minute": 0.1, "text_in": 4})
    assert cost_of(Usage("m", {"text_in": 1_000_000}, 60), both) == pytest.approx(4.1)


@pytest.mark.parametrize(
    "usage",
    [
        Usage("other", {"text_in": 1}),
        Usage("m", {"text_in": 1, "audio_out": 1}),
        Usage("m", {"text_in": 1}, seconds=1),
        Usage("m", {"made_up": 1}),
        Usage("m", {"minute": 1}),
        Usage("m", {"model_config": 1}),
        Usage("m", {"text_cached": 1, "audio_cached": 1}),
    ],
)
def test_what_has_no_price_has_no_known_cost(usage: Usage) -> None:
    assert cost_of(usage, table(m={"text_in": 4})) is None


def test_minutes_are_no_kind_of_token() -> None:
    assert cost_of(Usage("m", {"minute": 1}), table(m={"minute": 1})) is None


def test_what_used_nothing_costs_nothing() -> None:
    assert cost_of(Usage("other"), table()) == 0
    assert cost_of(Usage("other", {"text_in": 0, "audio_in": -5}), table()) == 0


def test_a_name_counts_before_patterns_and_the_first_pattern_that_fits_counts() -> None:
    prices = named({"gpt-*": {"minute": 1}, "/mini/": {"minute": 2}, "gpt-mini": {"minute": 3}, "*": {"minute": 4}})
    seen = [prices.of(model) for model in ("gpt-mini", "gpt-mini-2", "a-mini", "other")]
    assert [price and price.minute for price in seen] == [3, 1, 2, 4]
    assert named({"gpt-*": {}}).of("other") is None


def test_a_table_is_true_when_anything_has_a_price() -> None:
    assert table(m={}) and not table()


@given(st.dictionaries(st.sampled_from(sorted(REALTIME)), st.integers(0, 10**9)), st.floats(0, 1e5))
def test_costs_add_up(tokens: dict[str, int], seconds: float) -> None:
    prices = named({"*": REALTIME | {"minute": 0.06}})
    parts = [cost_of(Usage("m", {kind: count}), prices) for kind, count in tokens.items()]
    parts.append(cost_of(Usage("m", seconds=seconds), prices))
    whole = cost_of(Usage("m", tokens, seconds), prices)
    assert whole == pytest.approx(sum(part for part in parts if part is not None))
    assert None not in parts


def test_every_kind_that_a_service_can_tell_has_a_price() -> None:
    kinds = {"text_in", "text_cached", "audio_in", "audio_cached", "image_in", "text_out", "audio_out", "minute"}
    assert set(Price.model_fields) == kinds
