"""Prices, spend limits and the folder of transcripts, as a file has them."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from bridge.config import Config, Prices
from bridge.settings import ConfigError, load

WHOLE = """\
limits:
  spend: {per_call: 2, per_hour: 50.5, per_caller_per_day: 5}
prices:
  currency: EUR
  models:
    gpt-realtime-2.1: {text_in: 4, audio_in: 32, audio_out: 64}
    gpt-4o-*: {minute: 0.006}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "sipbridge.yaml"
    path.write_text(text)
    return path


def test_prices_and_limits_are_read(tmp_path: Path) -> None:
    config = load(write(tmp_path, WHOLE), {})
    spend = config.limits.spend
    assert (spend.per_call, spend.per_hour, spend.per_caller_per_day) == (2, 50.5, 5)
    assert spend.is_limited
    assert config.prices.currency == "EUR"
    assert config.prices.models["gpt-realtime-2.1"].audio_out == 64
    assert config.prices.models["gpt-4o-*"].minute == 0.006


def test_nothing_is_limited_by_default() -> None:
    config = Config()
    assert not config.limits.spend.is_limited
    assert config.transcripts.folder is None


@pytest.mark.parametrize("key", ["per_call", "per_hour", "per_caller_per_day"])
def test_each_limit_needs_prices(tmp_path: Path, key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, f"limits:\n  spend: {{{key}: 2}}\n"), {})
    assert str(caught.value).endswith(
        ":2: limits.spend: nothing has a price: write prices.models.<name> for your models"
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("prices: {models: {m: {audio_inn: 1}}}", "did you mean `audio_in`?"),
        ("prices: {models: {m: {audio_in: -1}}}", "prices.models.m.audio_in: -1"),
        ("prices: {models: {m: {audio_in: .nan}}}", "finite"),
        ("prices: {models: {/(a/: {}}}", "not a regular expression"),
        ("prices: {currency: '?'}", "prices.currency"),
        ("limits: {spend: {per_call: 0}}", "greater than 0"),
        ("transcripts: {folder: /does/not/exist}", "there is no such folder"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, text), {})
    assert words in str(caught.value)


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Config.model_validate({"transcripts": {"folder": tmp_path}}).transcripts.folder == tmp_path
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(ValidationError, match="cannot write here"):
        Config.model_validate({"transcripts": {"folder": tmp_path}})


def test_prices_do_not_change_after_the_start() -> None:
    with pytest.raises(ValidationError):
        Prices().currency = "EUR"
