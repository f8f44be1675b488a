"""Two user agents over real loopback UDP, and what bare sockets get from them."""

from __future__ import annotations

import gc
import socket
import weakref
from contextvars import ContextVar
from random import Random

import pytest

from bridge.sip.errors import SipError
from bridge.sip.invitation import Invitation
from bridge.sip.message import Request
from bridge.sip.offer_answer import accept, offer
from bridge.sip.outgoing import OutgoingCall
from bridge.sip.sdp import SessionDescription
from bridge.sip.session import SessionState
from bridge.sip.transaction import Timers
from bridge.sip.ua import ListenAddress, UserAgent

from .phone import HOST, OFFER, Answering, agent, bare, port_of, until
from .stack import request

QUICK = Timers(t1=0.005, t2=0.02, t4=0.02)


of_the_call = ContextVar("of_the_call", default="nobody's")


class Caller:
    """A call of ours and what it told."""

    def __init__(self, call: OutgoingCall) -> None:
        self.call = call
        self.ringing: list[int] = []
        self.answers: list[SessionDescription | None] = []
        self.failed: list[int] = []
        self.ended: list[str] = []
        call.on_ringing = self.ringing.append
        call.on_answered = self.answers.append
        call.on_failed = lambda failure: self.failed.append(failure.status)
        call.on_ended = self.ended.append


def dial(phone: UserAgent, to: UserAgent, **options: object) -> Caller:
    target = f"sip:600@{HOST}:{port_of(to)}"
    return Caller(phone.invite(target, sdp=OFFER, **options))  # type: ignore[arg-type]


async def test_a_call_from_end_to_end() -> None:
    application = Answering()
    async with agent(application, timers=QUICK) as service, agent(timers=QUICK) as phone:
        caller = dial(phone, service, caller='"Ann" <sip:ann@example.org>', headers=[("X-Account", "7")])
        await until(lambda: application.confirmed)
        (call,) = application.calls
        assert (call.caller.display, call.caller.uri.user, call.callee.uri.user) == ("Ann", "ann", "600")
        assert call.request.header("x-account") == "7"
        assert call.source == (HOST, port_of(phone))
        assert caller.ringing == [180]
        assert caller.answers[0] is not None
        assert accept(SessionDescription.parse(OFFER), caller.answers[0]).remote_port == 41000
        assert (service.stats.calls, phone.stats.calls) == (1, 1)
        caller.call.hang_up()
        await until(lambda: caller.ended and application.ended)
        assert (caller.ended, application.ended) == (["hung_up"], ["bye"])
        await until(lambda: service.stats.transactions == phone.stats.transactions == 0)
        assert service.stats.calls == phone.stats.calls == 0
        assert service.stats.dropped == phone.stats.dropped == {}
        assert service.stats.received == {"INVITE": 1, "PRACK": 1, "ACK": 1, "BYE": 1}
        assert service.stats.answers == {100: 1, 180: 1, 200: 3}
        assert phone.stats.sent == {"INVITE": 1, "PRACK": 1, "ACK": 1, "BYE": 1}


async def test_the_called_side_hangs_up_and_offers() -> None:
    application = Answering()
    async with agent(application) as service, agent() as phone:
        caller = dial(phone, service)
        await until(lambda: application.confirmed)
        offers: list[SessionDescription | None] = []
        ours = bytes(offer(HOST, 40002, session_id=1))

        def on_offer(description: SessionDescription | None) -> bytes:
            offers.append(description)
            return ours

        caller.call.on_offer = on_offer
        results: list[int] = []
        application.calls[0].reinvite(
            bytes(offer(HOST, 41002, session_id=3)), lambda status, answer: results.append(status)
        )
        await until(lambda: results)
        assert results == [200]
        assert offers[0] is not None and offers[0].origin.version == "1"
        application.calls[0].hang_up()
        await until(lambda: caller.ended)
        assert caller.ended == ["bye"]


async def test_nothing_of_a_call_stays_in_memory() -> None:
    application = Answering()
    async with agent(application, timers=QUICK) as service, agent(timers=QUICK) as phone:
        callers = [dial(phone, service)]
        await until(lambda: application.confirmed)
        watched = [weakref.ref(application.calls.pop()), weakref.ref(callers[0].call)]
        callers[0].call.hang_up()
        await until(lambda: application.ended and callers[0].ended)
        await until(lambda: service.stats.transactions == phone.stats.transactions == 0)
        callers.clear()
        await until(lambda: not service.core.acceptances)
        assert not service.core.sessions
        # The alarms of the longest wait, the ringing, are cancelled and hold nothing.
        gc.collect()
        assert [ref() for ref in watched] == [None, None]


async def test_a_rejected_and_a_cancelled_call() -> None:
    application = Answering()
    application.take = lambda call: call.reject(486)
    async with agent(application) as service, agent() as phone:
        caller = dial(phone, service)
        await until(lambda: caller.failed)
        application.take = Invitation.ring
        other = dial(phone, service)
        await until(lambda: other.ringing)
        other.call.cancel()
        await until(lambda: other.failed and len(application.ended) == 2)
        assert (caller.failed, other.failed, application.ended) == ([486], [487], ["rejected", "cancelled"])


async def test_lost_datagrams_are_made_good() -> None:
    application = Answering()
    async with agent(application, timers=QUICK) as service, agent(timers=QUICK) as phone:
        chance = Random(1)
        for made in (service, phone):
            transport = made.core.transports[0]
            send = transport.send

            def lossy(data: bytes, peer: tuple[str, int], name: str = "", send=send) -> None:  # type: ignore[no-untyped-def]
                if chance.random() > 0.4:
                    send(data, peer)

            transport.send = lossy  # type: ignore[method-assign]
        caller = dial(phone, service)
        await until(lambda: application.confirmed)
        caller.call.hang_up()
        await until(lambda: caller.ended and application.ended)
        assert len(application.calls) == 1
        assert (caller.ended, application.ended) == (["hung_up"], ["bye"])
        assert service.stats.retransmissions_sent or phone.stats.retransmissions_sent


async def test_fifty_calls_at_once() -> None:
    application = Answering()
    async with agent(application) as service, agent() as phone:
        callers = [dial(phone, service) for _ in range(50)]
        await until(lambda: application.confirmed == 50)
        for caller in callers:
            caller.call.hang_up()
        await until(lambda: all(caller.ended for caller in callers) and len(application.ended) == 50)
        assert service.stats.calls == 0


async def test_options_between_agents() -> None:
    application = Answering()
    async with agent(application) as service, agent(timers=QUICK) as phone:
        results: list[int] = []
        phone.options(f"sip:{HOST}:{port_of(service)}", results.append)
        await until(lambda: results)
        application.availability = 503
        phone.options(f"sip:localhost:{port_of(service)}", results.append)
        await until(lambda: len(results) == 2)
        phone.options("sip:nowhere.invalid", results.append)
        await until(lambda: len(results) == 3)
        assert results == [200, 503, 503]


async def test_a_name_is_looked_up() -> None:
    application = Answering()
    async with agent(application) as service, agent() as phone:
        caller = Caller(phone.invite(f"sip:600@localhost:{port_of(service)}", sdp=OFFER))
        await until(lambda: caller.answers)
        assert caller.call.state is SessionState.CONFIRMED


async def test_a_proxy_takes_the_call() -> None:
    application = Answering()
    async with agent(application) as service, agent() as phone:
        caller = Caller(
            phone.invite("tel:+12015550123", sdp=OFFER, routes=[f"<sip:{HOST}:{port_of(service)};lr>"], caller="tel:+1")
        )
        await until(lambda: caller.answers)
        assert application.calls[0].request.uri.user == "+12015550123"


async def test_targets_that_cannot_be_called() -> None:
    async with agent() as phone:
        with pytest.raises(SipError):
            phone.invite("600", sdp=OFFER)
        with pytest.raises(SipError):
            phone.invite("tel:600", sdp=OFFER)
        caller = Caller(phone.invite("sip:600@[::1]", sdp=OFFER))
        await until(lambda: caller.failed)
        assert caller.failed == [503]


async def test_ipv6() -> None:
    application = Answering()
    try:
        async with agent(application, host="::1") as service, agent(host="::1") as phone:
            caller = Caller(phone.invite(f"sip:600@[::1]:{port_of(service)}", sdp=OFFER))
            await until(lambda: application.confirmed)
            assert application.calls[0].request.header("Contact") == f"<sip:[::1]:{port_of(phone)}>"
            caller.call.hang_up()
            await until(lambda: caller.ended == ["hung_up"])
    except OSError:
        pytest.skip("no IPv6 loopback")


async def test_one_agent_on_several_addresses() -> None:
    application = Answering()
    made = UserAgent(
        listen=[ListenAddress("udp", HOST, 0), ListenAddress("udp", "0.0.0.0", 0)], on_invite=application.invited
    )
    await made.start()
    try:
        assert [name for name, _, _ in made.local] == ["udp", "udp"]
        assert made.local_address_for(HOST) == HOST
        async with agent() as phone:
            caller = Caller(phone.invite(f"sip:1@{HOST}:{made.local[1][2]}", sdp=OFFER))
            await until(lambda: caller.answers)
    finally:
        await made.close()


async def test_a_busy_port_and_an_unknown_transport_stop_the_start() -> None:
    async with agent() as first:
        busy = UserAgent(
            listen=[ListenAddress("udp", HOST, 0), ListenAddress("udp", HOST, port_of(first))],
            on_invite=lambda call: None,
        )
        with pytest.raises(OSError):
            await busy.start()
        assert busy.core.transports == busy.listeners.transports == []
    with pytest.raises(OSError, match="sctp"):
        await UserAgent(listen=[ListenAddress("sctp", HOST, 0)], on_invite=lambda call: None).start()


async def test_closing_ends_calls_on_both_sides() -> None:
    application = Answering()
    async with agent() as phone:
        async with agent(application) as service:
            caller = dial(phone, service)
            await until(lambda: application.confirmed)
        assert application.ended == ["closed"]
        await until(lambda: caller.ended)
        assert caller.ended == ["bye"]


async def test_answers_come_back_to_the_source_that_asked_for_it() -> None:
    async with agent() as service, bare(service) as phone:
        phone.send(request("OPTIONS").replace(";branch", ";rport;branch"))
        answer = await phone.final()
        assert f"rport={phone.port};received={HOST}" in answer.headers("Via")[0]


@pytest.mark.parametrize(
    ("change", "status", "phrase"),
    [
        (("CSeq: 1 OPTIONS", "CSeq: x OPTIONS"), 400, "Malformed CSeq"),
        (("Call-ID: c1\r\n", ""), 400, "Missing Call-ID"),
        (("Content-Length: 0", "Content-Length: 9"), 400, "Body shorter than Content-Length"),
        (("SIP/2.0\r\n", "SIP/3.0\r\n"), 505, "Version Not Supported"),
        (("Content-Length", "X: y\r\n" * 300 + "Content-Length"), 513, "Too many headers"),
    ],
)
async def test_malformed_requests_are_answered(change: tuple[str, str], status: int, phrase: str) -> None:
    async with agent() as service, bare(service) as phone:
        phone.send(request("OPTIONS").replace(";branch", ";rport;branch").replace(*change))
        answer = await phone.next_line()
        assert answer == f"SIP/2.0 {status} {phrase}"


async def test_drops_are_counted_by_reason_and_keepalives_apart() -> None:
    async with agent() as service, bare(service) as phone:
        for data in (
            b"\r\n\r\n",
            b"\r\n",
            b"hello",
            request("OPTIONS").replace("Via:", "Vie:").encode(),
            request("ACK").replace("CSeq: 1", "CSeq: x").encode(),
            request("ACK").encode(),
            b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKx\r\nFrom: <sip:a@h>;tag=1\r\n"
            b"To: <sip:b@h>;tag=2\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n\r\n",
        ):
            phone.send(data)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as quiet:
            quiet.sendto(b"", (HOST, port_of(service)))
        await until(lambda: sum(service.stats.dropped.values()) == 5 and service.stats.keepalives == 3)
        assert service.stats.dropped == {
            "not_sip": 1,
            "missing_via": 1,
            "malformed": 1,
            "stray_ack": 1,
            "stray_response": 1,
        }
        assert service.stats.answers == {}


async def test_an_application_that_fails_is_a_500_and_the_service_lives() -> None:
    application = Answering()

    def fail(call: Invitation) -> None:
        raise RuntimeError("application")

    application.take = fail
    async with agent(application) as service, agent() as phone:
        caller = dial(phone, service)
        await until(lambda: caller.failed)
        assert caller.failed == [500]
        assert service.stats.dropped == {"internal": 1}
        application.take = application.answer
        again = dial(phone, service)
        await until(lambda: again.answers)


async def test_a_big_datagram_is_read_whole() -> None:
    async with agent() as service, bare(service) as phone:
        phone.send(request("OPTIONS", extra=f"X: {'x' * 60_000}\r\n").replace(";branch", ";rport;branch"))
        assert (await phone.final()).status == 200


async def test_a_phone_that_never_acknowledges() -> None:
    application = Answering()
    async with agent(application, timers=QUICK) as service, bare(service) as phone:
        text = request("INVITE", body=OFFER.decode()).replace(";branch", ";rport;branch")
        phone.send(text.replace("sip:alice@192.0.2.1:5060", f"sip:alice@{HOST}:{phone.port}"))
        seen: list[str] = []
        while not seen or seen[-1] != "BYE":
            message = await phone.next()
            seen.append(message.method if isinstance(message, Request) else str(message.status))
        assert seen.count("200") > 3
        await until(lambda: application.ended)
        assert application.ended == ["ack_timeout"]
        await until(lambda: service.stats.transactions == 0)


async def test_the_timer_rings_in_nobodys_context() -> None:
    """A log line of a registration must not carry the Call-ID of the call that happened to set the timer."""
    seen: list[str] = []
    async with agent() as made:
        of_the_call.set("of a call")
        made.core.after(0.0, lambda: seen.append(of_the_call.get()))
        await until(lambda: seen)
    assert seen == ["nobody's"]


async def test_where_nobody_listens_is_not_said_to_be_an_address_of_ours() -> None:
    made = UserAgent(
        listen=[ListenAddress("udp", HOST, 0), ListenAddress("tcp", HOST, 0, listening=False)],
        on_invite=lambda call: None,
    )
    await made.start()
    try:
        assert [name for name, _, _ in made.local] == ["udp"]
        assert [transport.name for transport in made.core.transports] == ["UDP", "TCP"]
    finally:
        await made.close()
