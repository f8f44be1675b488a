"""The allow-list: whom the model may name, whom a peer may name, and what goes to the wire."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.sip.uri import Uri
from bridge.transfer.targets import Targets

BASE = Uri.parse("sip:ignored@pbx.example:5070;transport=tcp;lr")
LIST = Targets(
    {
        "Sales": "200",
        "Front Desk": "sip:front.desk@reception.example",
        "mobile": "+4917*",
        "extension": "/^7[0-4][0-9]$/",
        "Zentrale": "tel:+4930123",
        "half": "front-desk",
    }
)


@pytest.mark.parametrize(
    ("wanted", "uri"),
    [
        ("Sales", "sip:200@pbx.example:5070;transport=tcp"),
        (" sALES ", "sip:200@pbx.example:5070;transport=tcp"),
        ("200", "sip:200@pbx.example:5070;transport=tcp"),
        ("2-0 0", "sip:200@pbx.example:5070;transport=tcp"),
        ("front desk", "sip:front.desk@reception.example"),
        ("sip:front.desk@reception.example", "sip:front.desk@reception.example"),
        ("+49 (170) 12-34", "sip:+491701234@pbx.example:5070;transport=tcp"),
        ("730", "sip:730@pbx.example:5070;transport=tcp"),
        ("zentrale", "tel:+4930123"),
        ("front-desk", "sip:front-desk@pbx.example:5070;transport=tcp"),
    ],
)
def test_whom_the_model_may_name(wanted: str, uri: str) -> None:
    assert str(LIST.find(wanted, BASE)) == uri


@pytest.mark.parametrize(
    "wanted",
    [
        "",
        "mobile",  # the name of a pattern is nobody
        "+4917*"[:-1] + "\u0661",
        "+4917@evil.example",
        "+4917;maddr=evil",
        "+4917?Replaces=x",
        "+4917%40evil",
        "+4917\r\nX: y",
        "+4917:pw",
        "+4917<>",
        "750",
        "7300",
        "sip:front.desk@evil.example",
        "SIP:front.desk@reception.example;maddr=1.2.3.4",
        "+4917" + "1" * 100,
        "2\u00d700",
        "\uff12\uff10\uff10",
    ],
)
def test_whom_it_may_not(wanted: str) -> None:
    assert LIST.find(wanted, BASE) is None


ALL = Targets({"all": "*"})
HARMLESS = re.compile(r"sip:[A-Za-z0-9+*#_.\-]{1,64}@pbx\.example:5070;transport=tcp\Z")


@given(st.text(max_size=80) | st.text(alphabet='0123456789@;?:%<>" \r\n\t+*#-.sip', max_size=80))
def test_nothing_but_a_number_gets_into_a_uri_even_where_everything_is_allowed(wanted: str) -> None:
    found = ALL.find(wanted, BASE)
    assert found is None or HARMLESS.match(str(found))


@pytest.mark.parametrize(
    ("uri", "allowed"),
    [
        ("sip:front.desk@reception.example", True),
        ("sip:front.desk@RECEPTION.example:5060", True),
        ("sip:front.desk@reception.example;transport=tls", True),
        ("sip:200@pbx.example", True),
        ("sip:200@pbx.example:5070;user=phone", True),
        ("sip:200@pbx.example:6000;user=phone", False),
        ("sip:730@second.example", True),
        ("tel:+4930123", True),
        ("tel:+4930124", False),
        ("sips:200@pbx.example", False),
        ("sip:front.desk@reception.example:5061", False),
        ("sip:front.desk@reception.example;maddr=192.0.2.1", False),
        ("sip:front.desk@reception.example?Subject=x", False),
        ("sip:front.desk:pw@reception.example", False),
        ("sip:200@evil.example", False),
        ("sip:20%40@pbx.example", False),
        ("sip:300@pbx.example", False),
        ("sip:pbx.example", False),
        ("http://pbx.example/200", False),
    ],
)
def test_whom_a_peer_may_name(uri: str, allowed: bool) -> None:
    assert LIST.allows(Uri.parse(uri), BASE, Uri.parse("sip:second.example")) is allowed


def test_an_address_of_version_six() -> None:
    assert str(LIST.find("200", Uri.parse("sip:[2001:db8::1]"))) == "sip:200@[2001:db8::1]"


def test_the_names_are_told_as_they_stand() -> None:
    assert LIST.names[:2] == ("Sales", "Front Desk")
