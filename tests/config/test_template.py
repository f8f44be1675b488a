"""Variables in an agent's texts: only those that exist, and no way out of the text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.config.template import NAMES, Template


def rendered(text: str, **values: str) -> str:
    return Template.parse(text).render(values)


def test_variables_are_filled_in() -> None:
    text = "{caller_name} ({caller}) called {called} over {trunk}."
    values = {"caller_name": "Ada", "caller": "+49301", "called": "600", "trunk": "pbx"}
    assert rendered(text, **values) == "Ada (+49301) called 600 over pbx."


def test_a_header_is_found_in_any_case() -> None:
    template = Template.parse("Customer {header[x-customer]}, queue {header[X-QUEUE]}.")
    assert template.headers == {"x-customer", "x-queue"}
    assert template.render({"header[X-Customer]": "7", "header[X-Queue]": "vip"}) == "Customer 7, queue vip."


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
        template = Template.parse(text)
    except ValueError:
        return
    template.render(dict.fromkeys(NAMES, "{caller}"))


@given(st.text())
def test_a_text_with_its_braces_doubled_comes_back(text: str) -> None:
    assert rendered(text.replace("{", "{{").replace("}", "}}")) == text
