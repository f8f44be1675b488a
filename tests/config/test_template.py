"""Variables in an agent's texts: only those that exist, and no way out of the text."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfoNotFoundError

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from bridge.config import template
from bridge.config.template import NAMES, Template, Timezone, moment


def rendered(text: str, **values: str) -> str:
    return Template.parse(text).render(values)


def test_variables_are_filled_in() -> None:
    text = "{caller_name} ({caller}) called {called} over {trunk}."
    values = {"caller_name": "Ada", "caller": "+49301", "called": "600", "trunk": "pbx"}
    assert rendered(text, **values) == "Ada (+49301) called 600 over pbx."


def test_a_header_is_found_in_any_case() -> None:
    parsed = Template.parse("Customer {header[x-customer]}, queue {header[X-QUEUE]}.")
    assert parsed.headers == {"x-customer", "x-queue"}
    assert parsed.render({"header[X-Customer]": "7", "header[X-Queue]": "vip"}) == "Customer 7, queue vip."


def test_what_is_not_known_of_a_call_is_empty() -> None:
    assert rendered("[{caller}{diverted_from}{header[X-A]}]") == "[]"


def test_doubled_braces_are_braces() -> None:
    assert rendered('{{"a": {{"b": "{caller}"}}}}', caller="1") == '{"a": {"b": "1"}}'
    assert rendered("{{caller}} }", caller="1") == "{caller} }"


def test_a_value_is_never_read_again() -> None:
    assert rendered("{caller_name}!", caller_name="{caller} {{x}} \\1", caller="secret") == "{caller} {{x}} \\1!"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Hello {callr}", "there is no variable {callr}: there are {caller}"),
        ("{caller.__class__}", "'{caller.__class__}': write {{"),
        ("{caller[0]}", "there is no variable {caller[0]}"),
        ("{caller!r}", "write {{"),
        ("{0}", "there is no variable {0}"),
        ("{}", "write {{"),
        ("{header}", "there is no variable {header}"),
        ("{header[]}", "write {{"),
        ('{"json": 1}', "write {{ for a brace that begins no variable"),
        ("an open {", "'{': write {{"),
        ("{\nnext", "'{': write {{"),
    ],
)
def test_anything_else_in_braces_is_a_fault(text: str, words: str) -> None:
    with pytest.raises(ValueError) as caught:
        Template.parse(text)
    assert words in str(caught.value)


@given(st.text(alphabet="{}[]caller headX-.!:\n", max_size=60))
def test_any_text_is_a_template_or_a_fault(text: str) -> None:
    try:
        parsed = Template.parse(text)
    except ValueError:
        return
    parsed.render(dict.fromkeys(NAMES, "{caller}"))


@given(st.text())
def test_a_text_with_its_braces_doubled_comes_back(text: str) -> None:
    assert rendered(text.replace("{", "{{").replace("}", "}}")) == text


# The moment of a call

NEW_YEAR = datetime(2026, 12, 31, 23, 5, 59, tzinfo=UTC)


class Zoned(BaseModel):
    timezone: Timezone


@pytest.mark.parametrize(
    ("zone", "words"),
    [
        ("UTC", "23:05 2026-12-31 Thursday"),
        ("Europe/Berlin", "00:05 2027-01-01 Friday"),
        ("America/St_Johns", "19:35 2026-12-31 Thursday"),
    ],
)
def test_a_call_begins_at_the_agents_own_time(zone: str, words: str) -> None:
    assert rendered("{time} {date} {weekday}", **moment(NEW_YEAR, zone, None)) == words


def test_without_a_time_zone_it_is_the_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    try:
        assert moment(NEW_YEAR, None, None)["time"] == "04:35"
    finally:
        monkeypatch.undo()
        time.tzset()


def test_every_day_has_its_name() -> None:
    days = [moment(NEW_YEAR + timedelta(days=number), "UTC", None)["weekday"] for number in range(8)]
    assert days[:3] == ["Thursday", "Friday", "Saturday"] and days[0] == days[7] and len(set(days)) == 7


def test_the_language_is_as_it_was_configured_and_empty_when_it_was_not() -> None:
    assert rendered("Speak {language}.", **moment(NEW_YEAR, "UTC", "Schweizerdeutsch")) == "Speak Schweizerdeutsch."
    assert rendered("[{language}]", **moment(NEW_YEAR, "UTC", None)) == "[]"


@pytest.mark.parametrize("zone", ["Europe/Berlin", "UTC", "Asia/Kolkata"])
def test_a_time_zone_is_one_of_the_list(zone: str) -> None:
    assert Zoned(timezone=zone).timezone == zone


@pytest.mark.parametrize("zone", ["Berlin", "Europe", "", "../etc/passwd", "/etc/passwd", "Europe/\0", "x" * 300])
def test_any_other_is_a_fault_that_says_how_to_write_it(zone: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Zoned(timezone=zone)
    assert "there is no such time zone: write it as Europe/Berlin or UTC" in str(caught.value)


def test_a_folder_of_the_list_is_no_zone_in_any_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some raise IsADirectoryError for `Europe`."""

    def opened(name: str) -> None:
        raise IsADirectoryError(name)

    monkeypatch.setattr(template, "ZoneInfo", opened)
    with pytest.raises(ValidationError, match="there is no such time zone"):
        Zoned(timezone="Europe")


def test_a_machine_without_time_zones_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ZoneInfoNotFoundError(name)

    monkeypatch.setattr(template, "ZoneInfo", missing)
    monkeypatch.setattr(template, "available_timezones", set)
    with pytest.raises(ValidationError, match="install its package tzdata"):
        Zoned(timezone="Europe/Berlin")
