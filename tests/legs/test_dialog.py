"""What happens inside a call: re-INVITEs from either side, keys both ways."""

from __future__ import annotations

import asyncio

import pytest

from bridge.audio.g711 import Law, silence
from bridge.legs import dialog
from bridge.media.srtp import Opener, Sealer
from bridge.records import EndReason
from bridge.sip.errors import SipError
from bridge.sip.info import DTMF, DTMF_RELAY
from bridge.sip.sdes import Crypto
from tests.legs.wooden import Bench, description
from tests.media.phone import until

SUITE = "AES_CM_128_HMAC_SHA1_80"
FRAME = bytes((9,)) * 160


class TestOfTheirs:
    @pytest.mark.parametrize(
        ("line", "ours", "flows"),
        [
            ("a=sendonly", "recvonly", False),
            ("a=inactive", "inactive", False),
            ("a=recvonly", "sendonly", True),
            ("c=IN IP4 0.0.0.0", "recvonly", False),
            ("c=IN IP4 0.0.0.0\r\na=inactive", "inactive", False),
        ],
    )
    async def test_hold_and_resume(self, line: str, ours: str, flows: bool) -> None:
        with Bench().connected() as bench:
            port = bench.phone.address[1]
            held = bench.reinvited(description(f"m=audio {port} RTP/AVP 0\r\n{line}\r\n"))
            assert held.direction_of(held.media[0]) == ours
            bench.phone.received()
            bench.tick(3)
            assert len(bench.phone.received()) == (3 if flows else 0)
            back = bench.reinvited(bench.offer())
            assert back.direction_of(back.media[0]) == "sendrecv"
            bench.tick(3)
            assert len(bench.phone.received()) == 3

    async def test_music_on_hold_is_silence_of_the_law_in_use(self) -> None:
        with Bench("8 101").connected() as bench:
            bench.reinvited(bench.offer("8 101", "sendonly"))
            bench.phone.to = ("127.0.0.1", bench.ours.media[0].port)
            bench.phone.send(FRAME, 8)
            await until(lambda: bench.audio == [silence(160, Law.PCMA)])

    async def test_a_moved_port(self) -> None:
        other = Bench()
        with Bench().connected() as bench, other:
            bench.reinvited(other.offer())
            bench.phone.received()
            bench.tick(2)
            assert (len(other.phone.received()), bench.phone.received()) == (2, [])

    async def test_a_changed_law_is_told_once_and_keeps_the_stream(self) -> None:
        with Bench("0 101").connected() as bench:
            bench.tick(1)
            ours = bench.reinvited(bench.offer("8 101"))
            assert (ours.media[0].formats, bench.laws, bench.leg.format) == (("8", "101"), ["PCMA"], Law.PCMA)
            bench.tick(1)
            packets = bench.phone.received()
            assert [packet.payload_type for packet in packets][-1] == 8
            assert len({packet.ssrc for packet in packets}) == 1

    async def test_what_flows_goes_on_while_the_offer_still_has_it(self) -> None:
        with Bench("8 0 101").connected() as bench:
            assert bench.reinvited(bench.offer("0 8 101")).media[0].formats == ("8", "101")
            assert bench.laws == []

    async def test_another_payload_type_of_events(self) -> None:
        with Bench("0 101").connected() as bench:
            assert bench.reinvited(bench.offer("0 96")).media[0].formats == ("0", "96")
            assert bench.reinvited(None).media[0].formats == ("0", "8", "9", "107", "96", "101")
            bench.phone.received()
            bench.leg.send_digits("1")
            bench.tick(1)
            assert [packet.payload_type for packet in bench.phone.received()] == [96]

    @pytest.mark.parametrize(
        ("section", "warning"),
        [
            ("m=audio 4000 RTP/AVP 18\r\n", "305"),
            ("m=audio 0 RTP/AVP 0\r\n", "304"),
            ("m=audio 4000 RTP/AVP 0\r\nc=IN IP4 127.255.255.255\r\n", "301"),
            ("m=audio 4000 RTP/SAVP 0\r\n", "302"),
        ],
    )
    async def test_what_is_refused_changes_nothing(self, section: str, warning: str) -> None:
        with Bench().connected() as bench:
            before = bench.leg.agreed
            with pytest.raises(SipError) as refused:
                bench.invitation.on_offer(description(section))
            assert dict(refused.value.headers)["Warning"].startswith(warning)
            assert bench.leg.agreed is before and bench.ended == []
            bench.phone.received()
            bench.tick(2)
            assert len(bench.phone.received()) == 2

    async def test_a_second_stream_is_declined_in_its_place_and_may_come_to_life(self) -> None:
        with Bench().connected() as bench:
            port = bench.phone.address[1]
            both = f"m=video 4002 RTP/AVP 99\r\nm=audio {port} RTP/AVP 0\r\nm=audio 4006 RTP/AVP 8\r\n"
            ours = bench.reinvited(description(both))
            assert [media.port != 0 for media in ours.media] == [False, True, False]
            swapped = both.replace(f"audio {port}", "audio 0").replace("audio 4006", f"audio {port}")
            ours = bench.reinvited(description(swapped))
            assert [media.port != 0 for media in ours.media] == [False, False, True]
            assert bench.leg.format is Law.PCMA
            again = bench.reinvited(None)
            assert [media.port != 0 for media in again.media] == [False, False, True]
            assert again.media[2].formats == ("8", "0", "9", "107", "101", "102")


class TestRefresh:
    async def test_a_peer_that_moves_in_its_answer_to_a_refresh_is_followed(self) -> None:
        other = Bench()
        with Bench().connected() as bench, other:
            bench.invitation.local_sdp = bench.invitation.sent
            bench.invitation.on_answer(other.offer("0 101"))
            bench.phone.received()
            bench.tick(2)
            assert (len(other.phone.received()), bench.phone.received(), bench.ended) == (2, [], [])


class TestDelayedOffer:
    async def test_ours_is_a_full_offer_and_the_answer_may_choose_the_other_law(self) -> None:
        with Bench("0 101").connected() as bench:
            bench.reinvited(bench.offer("0 101", "sendonly"))
            ours = bench.reinvited(None)
            assert ours.media[0].formats == ("0", "8", "9", "107", "101", "102")
            assert ours.direction_of(ours.media[0]) == "sendrecv"
            bench.invitation.on_answer(bench.offer("8 101"))
            assert (bench.leg.format, bench.laws) == (Law.PCMA, ["PCMA"])
            assert bench.leg.stream is not None and bench.leg.stream.direction == "sendrecv"

    async def test_an_answer_without_audio_is_the_end(self) -> None:
        with Bench().connected() as bench:
            bench.reinvited(None)
            bench.invitation.on_answer(bench.offer(port=0))
            assert bench.ended == ["no_common_codec"]

    async def test_an_answer_that_nobody_asked_for_is_passed_over(self) -> None:
        with Bench().connected() as bench:
            bench.invitation.on_answer(bench.offer("9"))
            assert bench.ended == []


class TestOfOurs:
    async def test_hold_lets_nothing_in_and_resume_does(self) -> None:
        results: list[int] = []
        with Bench().connected() as bench:
            bench.phone.to = ("127.0.0.1", bench.ours.media[0].port)
            bench.leg.hold(results.append)
            assert bench.ours.direction_of(bench.ours.media[0]) == "sendonly"
            assert bench.leg.stream is not None and bench.leg.stream.direction == "sendrecv"
            bench.taken(direction="recvonly")
            bench.phone.send(FRAME)
            await until(lambda: bench.leg.stats.dropped == {"direction": 1})
            bench.leg.resume(results.append)
            assert bench.ours.media[0].formats == ("0", "8", "9", "107", "101", "102")
            bench.taken()
            bench.phone.send(FRAME)
            await until(lambda: bench.audio == [FRAME])
            assert results == [200, 200]

    async def test_an_offer_of_theirs_does_not_lift_our_hold(self) -> None:
        with Bench().connected() as bench:
            bench.leg.hold()
            bench.taken(direction="recvonly")
            for offered, ours in (("sendrecv", "sendonly"), ("recvonly", "sendonly"), ("sendonly", "inactive")):
                answer = bench.reinvited(bench.offer("0 101", offered))
                assert answer.direction_of(answer.media[0]) == ours
            again = bench.reinvited(None)
            assert again.direction_of(again.media[0]) == "sendonly"

    @pytest.mark.parametrize("status", [200, 408, 488, 491, 500])
    async def test_a_hold_that_fails_changes_nothing(self, status: int) -> None:
        results: list[int] = []
        with Bench().connected() as bench:
            before = bench.leg.agreed
            bench.leg.hold(results.append)
            bench.invitation.on_result(status, None)
            assert results == [status if status >= 300 else 488]
            assert (bench.leg.agreed, bench.leg.wanted, bench.ended) == (before, "sendrecv", [])

    async def test_an_answer_without_audio_is_the_end(self) -> None:
        results: list[int] = []
        with Bench().connected() as bench:
            bench.leg.hold(results.append)
            bench.invitation.on_result(200, bench.offer(port=0))
            assert (bench.ended, results) == (["no_common_codec"], [])


class TestSrtp:
    async def test_keys_stay_with_theirs_and_change_with_theirs(self) -> None:
        first, second = Crypto.new(1, SUITE), Crypto.new(2, SUITE)
        with Bench(srtp="required") as bench:
            bench.invitation.offer = bench.offer("0", f"crypto:{first.value}", protocol="RTP/SAVP")
            bench.connected()
            [ours] = bench.ours.media[0].values("crypto")
            same = bench.reinvited(bench.offer("0", f"crypto:{first.value}", "sendonly", protocol="RTP/SAVP"))
            assert same.media[0].values("crypto") == [ours]
            other = bench.reinvited(bench.offer("0", f"crypto:{second.value}", protocol="RTP/SAVP"))
            [new] = other.media[0].values("crypto")
            mine = Crypto.parse(new)
            assert mine is not None and mine.tag == 2 and new.split()[2] != ours.split()[2]
            bench.tick(1)
            opener = Opener(SUITE, mine.key)
            assert opener.open(bench.phone.sock.recv(2048)).payload == silence(160, Law.PCMU)
            bench.phone.to = ("127.0.0.1", bench.ours.media[0].port)
            bench.phone.send_raw(Sealer(SUITE, second.key).seal(bench.phone.writer.packet(FRAME, 0, 160)))
            await until(lambda: bench.audio == [FRAME])

    async def test_our_offer_in_a_protected_call_has_the_key_in_use(self) -> None:
        with Bench(srtp="optional") as bench:
            key = Crypto.new(7, SUITE)
            bench.invitation.offer = bench.offer("0", f"crypto:{key.value}", protocol="RTP/SAVPF")
            bench.connected()
            before = bench.ours.media[0].values("crypto")
            bench.leg.hold()
            assert bench.ours.media[0].values("crypto") == before
            assert bench.ours.media[0].protocol == "RTP/SAVPF"

    async def test_a_protected_call_stays_so_where_that_is_required(self) -> None:
        with Bench(srtp="required") as bench:
            bench.invitation.offer = bench.offer("0", f"crypto:{Crypto.new(1, SUITE).value}", protocol="RTP/SAVP")
            bench.connected()
            with pytest.raises(SipError):
                bench.invitation.on_offer(bench.offer("0"))
            assert bench.leg.stream is not None and bench.leg.stream.terms.keys is not None


class TestKeys:
    async def test_keys_come_by_info(self) -> None:
        with Bench().connected() as bench:
            assert bench.invitation.on_info(DTMF_RELAY, b"Signal=5\r\nDuration=160\r\n") == 200
            assert bench.invitation.on_info(DTMF, b"#") == 200
            assert bench.invitation.on_info(DTMF_RELAY, b"Signal=16\r\n") == 200
            assert bench.invitation.on_info("text/plain", b"5") == 415
            assert bench.invitation.on_info(DTMF_RELAY, b"Signal=x") == 400
            assert bench.digits == ["5", "#"]

    async def test_a_key_told_both_ways_counts_once(self) -> None:
        with Bench().connected() as bench:
            assert bench.leg.stream is not None
            for _ in range(2):
                bench.invitation.on_info(DTMF_RELAY, b"Signal=5")
                bench.leg.press("rtp", "5")
            assert bench.digits == ["5", "5"]

    async def test_keys_go_out_in_rtp_where_the_other_side_takes_them(self) -> None:
        with Bench("0 101").connected() as bench:
            bench.phone.received()
            bench.leg.send_digits("1")
            bench.tick(2)
            assert [packet.payload_type for packet in bench.phone.received()] == [101, 101]
            assert bench.invitation.infos == []

    async def test_else_by_info_one_after_the_other(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(dialog, "INFO_GAP_S", 0.01)
        with Bench("0").connected() as bench:
            bench.leg.send_digits("1a")
            bench.leg.send_digits("#")
            assert len(bench.invitation.infos) == 1
            await until(lambda: len(bench.invitation.infos) == 3)
            assert [body.split(b"\r\n")[0] for _, body in bench.invitation.infos] == [
                b"Signal=1",
                b"Signal=A",
                b"Signal=#",
            ]
            await asyncio.sleep(0.02)
            assert bench.leg._sending is None

    async def test_keys_by_info_wait_for_the_ack(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(dialog, "INFO_GAP_S", 0.005)
        with Bench("0").connected() as bench:
            bench.invitation.awaits_ack = True
            bench.leg.send_digits("1")
            await asyncio.sleep(0.03)
            assert bench.invitation.infos == []
            bench.invitation.awaits_ack = False
            await until(lambda: len(bench.invitation.infos) == 1)
            bench.leg.close(EndReason.AGENT_HUNG_UP)

    async def test_what_waits_is_not_sent_after_the_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(dialog, "INFO_GAP_S", 0.005)
        with Bench("0").connected() as bench:
            bench.leg.send_digits("12")
            bench.leg.close(EndReason.CALLER_HUNG_UP)
            await asyncio.sleep(0.02)
            assert len(bench.invitation.infos) == 1

    async def test_what_is_no_key_is_refused_whole(self) -> None:
        with Bench("0").connected() as bench:
            with pytest.raises(ValueError, match="not keys"):
                bench.leg.send_digits("12x")
            assert bench.invitation.infos == []
