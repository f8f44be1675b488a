"""What a REGISTER of ours says, and how its answer is read."""

from __future__ import annotations

import pytest

from bridge.sip.binding import Binding, Servers
from bridge.sip.digest import Header
from bridge.sip.uri import Uri

from .trunk import CREDENTIALS, Trunk


def test_what_a_register_says() -> None:
    trunk = Trunk(contact_user="agent", headers=(("X-Site", "7"),), expires_s=120)
    request = trunk.last.request
    request.check()
    assert (request.method, str(request.uri), str(trunk.last.hop)) == ("REGISTER", "sip:example.org", "sip:pbx.example")
    assert request.header("To") == "<sip:600@example.org>"
    assert request.from_.uri == request.to.uri
    assert request.from_.tag
    assert request.headers("Contact") == ["<sip:agent@192.0.2.10:5060>"]
    assert (request.header("Expires"), request.header("X-Site")) == ("120", "7")
    assert (request.header("User-Agent"), request.header("Route")) == ("sipbridge", None)


@pytest.mark.parametrize(
    ("headers", "granted"),
    [
        ([], 300),
        ([("Expires", "120")], 120),
        ([("Contact", "<sip:600@192.0.2.10:5060>;expires=90"), ("Expires", "120")], 90),
        ([("Contact", "<sip:600@192.0.2.99>;expires=50, <sip:600@192.0.2.10>;expires=90")], 90),
        ([("Contact", "<sip:600@203.0.113.5:40000>;expires=80")], 80),
        ([("Contact", "<sip:x@203.0.113.5>;expires=70")], 70),
        ([("Contact", "<sip:x@203.0.113.5>;expires=70, <sip:600@203.0.113.5>;expires=80")], 70),
        ([("Contact", "<sip:x@192.0.2.1>;expires=70"), ("Contact", "<sip:y@192.0.2.1>;expires=80")], 70),
        ([("Contact", "<sip:600@192.0.2.10>;expires=soon"), ("Expires", "120")], 120),
        ([("Contact", '"broken'), ("Expires", "120")], 120),
        ([("Expires", "4294967295")], 300),
    ],
)
def test_what_the_registrar_granted(headers: list[Header], granted: int) -> None:
    trunk = Trunk()
    trunk.answer(200, *headers, contact=False)
    assert trunk.registration.expires_at == trunk.ground.now + granted
    assert 0.45 * granted <= trunk.next_in() <= 0.9 * granted


def test_an_absurd_retry_after_is_bounded() -> None:
    trunk = Trunk()
    trunk.answer(503, ("Retry-After", "4294967295"), contact=False)
    assert trunk.next_in() == 3600


def test_service_routes_are_remembered() -> None:
    trunk = Trunk()
    trunk.answer(200, ("Service-Route", "<sip:p1.example;lr>, <sip:p2.example;lr>"))
    assert trunk.registration.service_route == ("<sip:p1.example;lr>", "<sip:p2.example;lr>")
    for routes in ("<sip:p1.example;lr>, <", "<::>", ""):
        trunk.wake()
        trunk.answer(200, ("Service-Route", routes))
        assert not trunk.registration.service_route


def test_an_outbound_proxy_and_a_transport() -> None:
    trunk = Trunk("sip:proxy.example;lr", transport="TCP")
    assert str(trunk.last.hop) == "sip:proxy.example;lr;transport=tcp"
    assert trunk.last.request.header("Route") == "<sip:proxy.example;lr;transport=tcp>"
    assert str(Trunk("sip:pbx;transport=udp", transport="TCP").last.hop) == "sip:pbx;transport=udp"


def test_when_all_servers_are_spared_the_first_that_may_be_asked_is() -> None:
    servers = Servers(Trunk("sip:a.example", "sip:b.example").registration.binding)
    servers.begin(0.0)
    servers.spare(100.0)
    assert servers.advance()
    servers.spare(40.0)
    assert not servers.advance()
    servers.begin(50.0)
    assert str(servers.current) == "sip:b.example"
    assert not servers.advance()
    servers.spare(90.0)
    servers.begin(39.9)
    assert str(servers.current) == "sip:b.example"


def test_a_binding_that_cannot_work_is_refused_at_once() -> None:
    user = Uri.parse("sip:600@example.org")
    for bad in ((), (Uri.parse("sip:pbx"),)):
        with pytest.raises(ValueError, match="a binding needs"):
            Binding(bad, user if not bad else Uri.parse("tel:600"))
    with pytest.raises(ValueError, match="not a header"):
        Binding((user,), user, headers=(("X", "a\r\nY: b"),))
    assert "secret" not in repr(Binding((user,), user, CREDENTIALS))
