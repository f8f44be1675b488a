"""URIs: what is in them, and that nothing odd gets through or crashes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.sip.errors import SipError
from bridge.sip.uri import Uri, host_port


def test_every_part_of_a_sip_uri() -> None:
    uri = Uri.parse("SIP:al%69ce:pw@Example.COM:5070;transport=udp;lr?Subject=x&to=y%40z")
    assert (uri.scheme, uri.user, uri.password) == ("sip", "alice", "pw")
    assert (uri.host, uri.port, uri.headers) == ("example.com", 5070, "Subject=x&to=y%40z")
    assert (uri.parameter("transport"), uri.parameter("lr"), uri.parameter("x")) == ("udp", "", None)


@pytest.mark.parametrize(
    ("text", "user", "host", "hop"),
    [
        ("sip:h", None, "h", ("h", 5060)),
        ("sip:600@192.0.2.1", "600", "192.0.2.1", ("192.0.2.1", 5060)),
        ("sips:a@[2001:db8::1]:5071", "a", "2001:db8::1", ("2001:db8::1", 5071)),
        ("sip:a?b;c=d&x@h;maddr=192.0.2.9", "a?b;c=d&x", "h", ("192.0.2.9", 5060)),
        ("sip:*97#@pbx_1.local", "*97#", "pbx_1.local", ("pbx_1.local", 5060)),
        ("tel:+1-201-555-0123;phone-context=x", "+1-201-555-0123", "", ("", 5060)),
        ("urn:service:sos", None, "", ("", 5060)),
    ],
)
def test_users_hosts_and_hops(text: str, user: str | None, host: str, hop: tuple[str, int]) -> None:
    uri = Uri.parse(text)
    assert (uri.user, uri.host, uri.hop, str(uri)) == (user, host, hop, text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "600",
        "sip:",
        "sip:@h",
        "sip:a@",
        "sip:a@h:0",
        "sip:a@h:65536",
        "sip:a@h:x",
        "sip:a@[::1",
        "sip:a@[nonsense]",
        "sip:a b@h",
        "sip:<a>@h",
        'sip:"a"@h',
        "sip:a@-h",
        "sip:a@h\r\nX: y",
        "sip:a@h;=x",
    ],
)
def test_malformed_uris(text: str) -> None:
    with pytest.raises(SipError):
        Uri.parse(text)


def test_brackets_only_around_ipv6() -> None:
    assert host_port("::1", 5) == "[::1]:5"
    assert host_port("h") == "h"
    assert Uri.build("a", "::1", 5, ";lr").text == "sip:a@[::1]:5;lr"


@given(st.text(min_size=1, max_size=30))
def test_a_built_uri_gives_the_user_back(user: str) -> None:
    assert Uri.build(user, "h").user == user.encode("utf-8", "replace").decode()


@given(st.text(max_size=60))
def test_any_text_gives_a_uri_or_a_sip_error(text: str) -> None:
    for candidate in (text, f"sip:{text}", f"sip:a@h{text}", f"tel:{text}"):
        try:
            assert Uri.parse(candidate).text == candidate
        except SipError as error:
            assert error.status == 400
