"""From the INVITE to the answer: only when the agent is ready, else a 503 that says why in the log."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.phones.processes import free_port
from tests.phones.rawphone import CallError, RawPhone
from tests.phones.wire import frames, silence
from tests.service.rig import Service, bench, ended

SILENT = "vad: false"


async def refused(service: Service, within: float = 15) -> tuple[int, str]:
    """The status and Retry-After of a call that must not be answered."""
    async with RawPhone() as phone:
        answer = await phone.invite("127.0.0.1", service.sip_port, within=within)
        assert not phone.wire.packets
        return answer.status, answer.header("Retry-After")


async def test_the_phone_rings_until_the_session_is_ready(tmp_path: Path) -> None:
    script = "vad: false\nrules: [{on: session_update, instead: false, do: [{stall_send_ms: 600}]}]"
    async with bench(tmp_path, script) as (service, server), RawPhone() as phone:
        await phone.invite("127.0.0.1", service.sip_port)
        statuses = [message.status for message in phone.messages]
        assert statuses[:2] == [100, 180] and statuses[-1] == 200
        updated = next(t for t, event in server.sessions[0].sent if event["type"] == "session.updated")
        answered = next(message.t_ns for message in phone.messages if message.status == 200)
        assert answered > updated
        await phone.bye()


async def test_the_handshake_is_created_then_update_then_audio(tmp_path: Path) -> None:
    async with bench(tmp_path, SILENT, agent={"greeting": "Say hello."}) as (service, server):
        async with RawPhone() as phone:
            await phone.invite("127.0.0.1", service.sip_port)
            await phone.wire.play(frames(silence(0.2)))
            await phone.bye()
        session = await ended(server.sessions[0])
        created = next(t for t, event in session.sent if event["type"] == "session.created")
        updated = next(t for t, event in session.sent if event["type"] == "session.updated")
        types = [event["type"] for _, event in session.received]
        assert types[0] == "session.update" and session.received[0][0] > created
        assert all(t > updated for t, event in session.received if event["type"] != "session.update")
        assert "response.create" in types and "input_audio_buffer.append" in types


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({"keys": {"another"}}, "invalid_api_key"),
        ({"models": {"another"}}, "invalid_model"),
    ],
)
async def test_a_session_that_is_refused_is_a_503_and_a_clear_line(
    tmp_path: Path, fault: dict[str, object], reason: str
) -> None:
    agent = {"key": "sk-hush-hush"}
    async with bench(tmp_path, SILENT, agent=agent, **fault) as (service, _):
        assert await refused(service) == (503, "5")
        (line,) = service.events("session.failed")
        assert line["reason"] == reason and line["level"] == "error" and line["advice"]
        await service.until('sipbridge_calls_total{reason="session_failed"}', 1)
        assert "hush" not in service.said(100_000)


async def test_an_update_that_is_refused_names_the_field(tmp_path: Path) -> None:
    async with bench(tmp_path, SILENT, agent={"session": {"temperature": 0.8}}) as (service, server):
        assert (await refused(service))[0] == 503
        (line,) = service.events("session.failed")
        assert line["reason"] == "unknown_parameter" and "session.temperature" in line["detail"]
        server.sessions.clear()  # its session.update was wrong on purpose


async def test_no_server_at_all_is_a_503(tmp_path: Path) -> None:
    url = f"ws://127.0.0.1:{free_port()}/v1/realtime"
    with await Service.started(tmp_path, {"provider": url}) as service:
        assert await refused(service) == (503, "5")
        (line,) = service.events("session.failed")
        assert line["reason"] == "unreachable"


async def test_a_server_that_never_answers_is_a_503_in_time(tmp_path: Path) -> None:
    script = "rules: [{on: session_update, instead: true, do: []}]"
    async with bench(tmp_path, script, limits={"session_timeout_s": 0.5}) as (service, _):
        assert await refused(service) == (503, "5")
        assert service.events("session.failed")[0]["reason"] == "timeout"


async def test_a_caller_who_gives_up_while_it_rings_leaves_nothing_behind(tmp_path: Path) -> None:
    script = "rules: [{on: session_update, instead: true, do: []}]"
    async with bench(tmp_path, script) as (service, server), RawPhone() as phone:
        await phone.start_invite("127.0.0.1", service.sip_port)
        while 180 not in [message.status for message in phone.messages] or not server.sessions:
            await asyncio.sleep(0.01)
        assert (await phone.cancel()).status == 487
        await ended(server.sessions[0])
        await service.until('sipbridge_calls_total{reason="caller_cancelled"}', 1)
        metrics = await service.metrics()
        assert metrics["sipbridge_calls_active"] == 0
        assert metrics["sipbridge_rtp_ports_free"] == 100


async def test_a_lost_session_ends_the_call_with_bye(tmp_path: Path) -> None:
    script = "vad: false\nrules: [{on: {append_ms: 200}, do: [{drop: {}}]}]"
    async with bench(tmp_path, script) as (service, _), RawPhone() as phone:
        await phone.invite("127.0.0.1", service.sip_port)
        await phone.wire.play(frames(silence(0.4)))
        await asyncio.wait_for(phone.ended.wait(), 5)
        (bye,) = [message for message in phone.messages if message.method == "BYE"]
        assert bye.header("Reason") == 'SIP;cause=503;text="session_lost"'
        await service.until('sipbridge_calls_total{reason="session_lost"}', 1)
        assert service.events("session.lost")[0]["code"] == 1006


async def test_silence_on_the_rtp_port_ends_the_call(tmp_path: Path) -> None:
    async with bench(tmp_path, SILENT, media={"rtp_timeout_s": 1}) as (service, _), RawPhone() as phone:
        await phone.invite("127.0.0.1", service.sip_port)
        await asyncio.wait_for(phone.ended.wait(), 10)
        await service.until('sipbridge_calls_total{reason="rtp_timeout"}', 1)


async def test_a_call_ends_at_its_time_limit(tmp_path: Path) -> None:
    async with bench(tmp_path, SILENT, limits={"minutes": 0.01}) as (service, _), RawPhone() as phone:
        await phone.invite("127.0.0.1", service.sip_port)
        await asyncio.wait_for(phone.ended.wait(), 10)
        await service.until('sipbridge_calls_total{reason="time_limit"}', 1)


async def test_the_agent_hangs_up_after_its_last_word_was_heard(tmp_path: Path) -> None:
    script = """
vad: false
answer: {items: [{audio_ms: 900}, {call: hang_up, arguments: {reason: done}}]}
"""
    agent = {"greeting": "Begin.", "tools": ["hang_up"]}
    async with bench(tmp_path, script, agent=agent) as (service, server), RawPhone() as phone:
        await phone.invite("127.0.0.1", service.sip_port)
        await asyncio.wait_for(phone.ended.wait(), 10)
        heard = phone.wire.heard()
        assert len(heard.strip(b"\xff")) == server.sessions[0].items[0].sent_bytes
        await service.until('sipbridge_calls_total{reason="agent_hung_up"}', 1)


async def test_a_caller_who_speaks_into_the_farewell_is_not_hung_up_on(tmp_path: Path) -> None:
    script = """
vad: false
rules:
  - on: response_create
    do:
      - response: {items: [{audio_ms: 3000}, {call: hang_up, arguments: {}}], speed: max}
      - until: response_done
      - delay_ms: 300
      - speech_started: {}
      - delay_ms: 200
      - speech_stopped: {respond: false}
      - response: {items: [{audio_ms: 300}]}
"""
    agent = {"greeting": "Begin.", "tools": ["hang_up"]}
    async with bench(tmp_path, script, agent=agent) as (service, server), RawPhone() as phone:
        await phone.invite("127.0.0.1", service.sip_port)
        await service.until('sipbridge_responses_total{status="completed"}', 2)
        await phone.wire.play(frames(silence(1.2)))
        assert not phone.ended.is_set()
        results = [e["item"] for _, e in server.sessions[0].received if e["type"] == "conversation.item.create"]
        assert results[0]["type"] == "function_call_output", "the tool call was answered all the same"
        await phone.bye()


async def test_admission_refuses_with_the_same_word_in_log_and_metric(tmp_path: Path) -> None:
    async with bench(tmp_path, SILENT, limits={"calls": 1}) as (service, _), RawPhone() as first:
        await first.invite("127.0.0.1", service.sip_port)
        assert await refused(service) == (503, "10")
        assert service.events("call.refused")[0]["reason"] == "too_many_calls"
        assert (await service.metrics())['sipbridge_refusals_total{reason="too_many_calls"}'] == 1
        status, why = await service.get("/readyz")
        assert (status, why.strip()) == (503, "too_many_calls")
        await first.bye()


async def test_a_stranger_hears_nothing_at_all(tmp_path: Path) -> None:
    trunks = {"pbx": {"peers": ["10.0.0.0/8"]}}
    async with bench(tmp_path, SILENT, trunks=trunks) as (service, server), RawPhone() as phone:
        with pytest.raises(CallError):
            await phone.invite("127.0.0.1", service.sip_port, within=1)
        assert not phone.messages and not server.sessions
        seen = await service.metrics()
        assert seen['sipbridge_refusals_total{reason="not_a_peer"}'] >= 1
        assert not any(name.startswith("sipbridge_sip_responses_sent_total{") for name in seen)


async def test_a_number_without_a_route_is_not_found(tmp_path: Path) -> None:
    routes = [{"to": "7*", "agent": "test"}]
    async with bench(tmp_path, SILENT, routes=routes) as (service, _):
        assert (await refused(service))[0] == 404
        async with RawPhone() as phone:
            assert (await phone.invite("127.0.0.1", service.sip_port, "700")).status == 200
            await phone.bye()


async def test_an_offer_without_g711_is_refused(tmp_path: Path) -> None:
    async with bench(tmp_path, SILENT) as (service, _), RawPhone() as phone:
        sdp = phone.sdp().replace("RTP/AVP 0 101", "RTP/AVP 18 101").replace("0 PCMU/8000", "18 G729/8000")
        answer = await phone.invite("127.0.0.1", service.sip_port, sdp=sdp)
        assert answer.status == 488 and answer.header("Warning")
        assert (await service.metrics())["sipbridge_rtp_ports_free"] == 100


@pytest.mark.parametrize("connection", ["IN IP6 ::1", "IN IP4 255.255.255.255", "IN IP4 224.0.0.1"])
async def test_an_offer_whose_address_cannot_be_reached_is_refused(tmp_path: Path, connection: str) -> None:
    async with bench(tmp_path, SILENT) as (service, _), RawPhone() as phone:
        sdp = phone.sdp().replace("c=IN IP4 127.0.0.1", f"c={connection}")
        answer = await phone.invite("127.0.0.1", service.sip_port, sdp=sdp)
        assert answer.status == 488 and answer.header("Warning")[:3] in ("300", "301")


async def test_a_server_that_does_not_say_its_formats_is_asked_for_pcm_by_name(tmp_path: Path) -> None:
    script = """
vad: false
rules:
  - {on: session_update, instead: true, do: [{send: {type: session.updated, session: {type: realtime}}}]}
"""
    async with bench(tmp_path, script) as (service, server), RawPhone() as phone:
        await phone.invite("127.0.0.1", service.sip_port)
        (told,) = service.events("session.format_fallback")
        assert (told["caller"], told["agent"]) == ("PCM24", "PCM24") and told["reason"]
        asked = [event["session"]["audio"] for _, event in server.sessions[0].received if "session" in event]
        assert asked[-1]["input"]["format"] == asked[-1]["output"]["format"] == {"type": "audio/pcm", "rate": 24000}
        await phone.bye()


async def test_a_key_in_the_services_own_words_is_not_logged(tmp_path: Path) -> None:
    script = """
rules:
  - {on: session_update, instead: true, do: [{error: {code: invalid_value, message: "Invalid value sk-hush-hush"}}]}
"""
    async with bench(tmp_path, script, agent={"key": "sk-hush-hush"}) as (service, _):
        assert (await refused(service))[0] == 503
        assert service.events("session.failed")[0]["detail"] == "Invalid value (hidden)"
        assert "sk-hush" not in service.said(100_000)


async def test_contact_and_description_carry_the_address_that_faces_the_caller(tmp_path: Path) -> None:
    port = free_port()
    sip = {"listen": [f"udp://0.0.0.0:{port}"]}
    async with bench(tmp_path, SILENT, sip=sip) as (service, _), RawPhone() as phone:
        service.sip_port = port
        answer = await phone.invite("127.0.0.1", port)
        assert "127.0.0.1" in answer.header("Contact")
        assert "c=IN IP4 127.0.0.1" in answer.body and "0.0.0.0" not in answer.body
        await phone.bye()


async def test_nothing_is_sent_to_a_caller_who_has_not_shown_that_he_is_there(tmp_path: Path) -> None:
    """One forged INVITE must not aim a stream at anybody, and a lost ACK is not told as lost audio."""
    async with bench(tmp_path, SILENT, media={"rtp_timeout_s": 1}) as (service, _), RawPhone() as phone:
        await phone.start_invite("127.0.0.1", service.sip_port)
        final = await phone._final("INVITE", 1, phone._invite, 5, give_way_to_provisional=True)
        assert final.status == 200
        await asyncio.sleep(1.5)
        assert not phone.wire.packets
        assert (await service.metrics())["sipbridge_calls_active"] == 1
        phone.to_header = final.header("To")
        phone._learn(final)
        phone._ack(final)
        await phone.wire.play(frames(silence(0.3)))
        assert phone.wire.packets
        await phone.bye()


async def test_a_configured_address_is_advertised(tmp_path: Path) -> None:
    port = free_port()
    sip = {"listen": [f"udp://127.0.0.1:{port}"], "advertise": "192.0.2.33"}
    async with bench(tmp_path, SILENT, sip=sip) as (_, __), RawPhone() as phone:
        await phone.start_invite("127.0.0.1", port)
        final = await phone._final("INVITE", 1, phone._invite, 5, give_way_to_provisional=True)
        assert "192.0.2.33" in final.header("Contact") and "c=IN IP4 192.0.2.33" in final.body
