import re

from tests.phones.rawphone import RawPhone
from tests.phones.registrar import Registrar, _md5
from tests.phones.scripted import ScriptedPeer, reply_to
from tests.phones.test_rawphone import answering
from tests.phones.wire import Wire


def register(port: int, *, cseq: int = 1, expires: int = 60, authorization: str = "") -> bytes:
    extra = f"Authorization: {authorization}\r\n" if authorization else ""
    return (
        f"REGISTER sip:127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bKr{cseq};rport\r\n"
        f"From: <sip:bob@127.0.0.1>;tag=a\r\nTo: <sip:bob@127.0.0.1>\r\nCall-ID: r\r\nCSeq: {cseq} REGISTER\r\n"
        f"Contact: <sip:bob@127.0.0.1:{port}>\r\nExpires: {expires}\r\n{extra}Content-Length: 0\r\n\r\n"
    ).encode()


async def test_registers_and_forgets() -> None:
    async with Registrar(("127.0.0.1", 9)) as registrar, ScriptedPeer(lambda text, source: []) as phone:
        phone.send(register(phone.port), ("127.0.0.1", registrar.port))
        await phone.has(1)
        assert phone.received[0].startswith("SIP/2.0 200") and ";tag=registrar" in phone.received[0]
        assert registrar.bindings == {"bob": f"sip:bob@127.0.0.1:{phone.port}"}
        phone.send(register(phone.port, cseq=2, expires=0), ("127.0.0.1", registrar.port))
        await phone.has(2)
        assert registrar.bindings == {}


async def test_challenges_a_user_with_a_password() -> None:
    def answer(nonce: str, password: str) -> str:
        ha1, ha2 = _md5(f"bob:phones.test:{password}"), _md5("REGISTER:sip:127.0.0.1")
        response = _md5(f"{ha1}:{nonce}:{ha2}")
        return f'Digest username="bob",realm="phones.test",nonce="{nonce}",uri="sip:127.0.0.1",response="{response}"'

    registrar = Registrar(("127.0.0.1", 9), passwords={"bob": "right"})
    async with registrar, ScriptedPeer(lambda text, source: []) as phone:
        to = ("127.0.0.1", registrar.port)
        phone.send(register(phone.port), to)
        await phone.has(1)
        nonce = re.search(r'nonce="(\w+)"', phone.received[0])
        assert phone.received[0].startswith("SIP/2.0 401") and nonce
        phone.send(register(phone.port, cseq=2, authorization=answer(nonce[1], "wrong")), to)
        await phone.has(2)
        phone.send(register(phone.port, cseq=3, authorization=answer(nonce[1], "right")), to)
        await phone.has(3)
    assert [text.split()[1] for text in phone.received] == ["401", "401", "200"]
    assert registrar.bindings


async def test_a_call_passes_through_and_stays_in_the_path() -> None:
    with Wire() as media:
        async with ScriptedPeer(lambda text, source: []) as service:
            service.reply = answering(media.port, f"<sip:agent@127.0.0.1:{service.port}>")
            async with Registrar(("127.0.0.1", service.port)) as registrar, RawPhone() as phone:
                answer = await phone.invite("127.0.0.1", registrar.port, "600")
                assert (await phone.bye()).status == 200
    assert [text.split()[0] for text in service.received] == ["INVITE", "ACK", "BYE"]
    assert {source[1] for source in service.sources} == {registrar.port}
    invite, ack, _ = service.received
    assert invite.count("\r\nVia:") == 2 and "Max-Forwards: 69" in invite
    assert f"Record-Route: <sip:127.0.0.1:{registrar.port};lr>" in invite
    assert ack.startswith(f"ACK sip:agent@127.0.0.1:{service.port} ") and "\r\nRoute:" not in ack
    assert len(answer.all("Via")) == 1
    assert [m.status for m in phone.messages[:3]] == [100, 180, 200]


async def test_the_service_reaches_the_phone_that_registered() -> None:
    peer = ScriptedPeer(lambda text, source: [reply_to(text, "200 OK")])
    async with peer as phone, RawPhone() as service, Registrar(("127.0.0.1", service.port)) as registrar:
        phone.send(register(phone.port), ("127.0.0.1", registrar.port))
        await phone.has(1)
        assert (await service.invite("127.0.0.1", registrar.port, "bob")).status == 200
    assert phone.received[1].startswith(f"INVITE sip:bob@127.0.0.1:{phone.port} ")


async def test_repeats_and_cancel_keep_their_branch() -> None:
    peer = ScriptedPeer(lambda text, source: [])
    async with peer as service, RawPhone() as phone, Registrar(("127.0.0.1", service.port)) as registrar:
        await phone.start_invite("127.0.0.1", registrar.port)
        phone.send_raw(phone._invite)
        cancel = phone._invite.replace(b"INVITE sip", b"CANCEL sip").replace(b"1 INVITE", b"1 CANCEL")
        phone.send_raw(cancel)
        await service.has(3)
    branches = [re.findall(r"branch=(\w+)", text)[0] for text in service.received]
    assert len(set(branches)) == 1
