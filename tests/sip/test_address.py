"""From, To, Contact and Route values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.sip.address import Address
from bridge.sip.errors import SipError


@pytest.mark.parametrize(
    ("text", "display", "uri", "tag"),
    [
        ("<sip:a@h>", "", "sip:a@h", None),
        ("<sip:a@h>;tag=1", "", "sip:a@h", "1"),
        ("sip:a@h;tag=1", "", "sip:a@h", "1"),
        ("Alice <sip:a@h;x=y>;tag=1", "Alice", "sip:a@h;x=y", "1"),
        ('"Al \\"x\\" <ice>" <sip:a@h> ; tag = 1;y', 'Al "x" <ice>', "sip:a@h", "1"),
        ("Bell, Alexander <sip:a@h>;TAG=1", "Bell, Alexander", "sip:a@h", "1"),
        ("<tel:+1>;tag=1", "", "tel:+1", "1"),
    ],
)
def test_forms(text: str, display: str, uri: str, tag: str | None) -> None:
    address = Address.parse(text)
    assert (address.display, address.uri.text, address.tag) == (display, uri, tag)


@pytest.mark.parametrize("text", ["", "<>", "<sip:a@h", 'x" <sip:a@h>', "<sip:a@h> tag=1", "a@h", "<sip:a@h>;t=<"])
def test_malformed_addresses(text: str) -> None:
    with pytest.raises(SipError):
        Address.parse(text)


@given(st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=20))
def test_a_display_name_survives(name: str) -> None:
    address = Address(name, Address.parse("<sip:a@h>").uri, (("tag", "1"), ("flag", None)))
    assert Address.parse(str(address)) == address


@given(st.text(max_size=60))
def test_any_text_gives_an_address_or_a_sip_error(text: str) -> None:
    for candidate in (text, f"<sip:a@h>;{text}", f'"{text}" <sip:a@h>'):
        try:
            Address.parse(candidate)
        except SipError as error:
            assert error.status == 400
