import pytest

from bridge.media.keypad import PAUSE_MS, Keypad
from bridge.media.rtp import RtpPacket, RtpWriter, parse
from tests.media.phone import EVENT, Line, Phone, until


def test_keys_are_sent_one_after_the_other_with_a_pause() -> None:
    keypad, writer, packets = Keypad(EVENT), RtpWriter(1, 0, 0xFFFFFFFF), []
    keypad.press("1#")
    for slot in range(100):
        if not keypad.busy:
            break
        packet = keypad.packet(writer, 160)
        packets.append(None if packet is None else parse(packet))
        if packet is None:
            writer.packet(b"", 0, 160)
        assert writer.timestamp == (0xFFFFFFFF + 160 * (slot + 1)) & 0xFFFFFFFF
    sent = "".join("-" if packet is None else "k" for packet in packets)
    assert sent == "k" * 7 + "-" * (PAUSE_MS // 20 + 1) + "k" * 7 + "-"
    one, two = packets[:7], packets[7 + PAUSE_MS // 20 + 1 : -1]
    for key, begun in ((one, 0), (two, 7 + PAUSE_MS // 20 + 1)):
        assert all(isinstance(packet, RtpPacket) for packet in key)
        assert {packet.timestamp for packet in key if packet} == {(0xFFFFFFFF + 160 * begun) & 0xFFFFFFFF}
        assert [packet.marker for packet in key if packet] == [True] + [False] * 6


def test_what_cannot_be_pressed_is_refused() -> None:
    with pytest.raises(ValueError, match="takes no telephone-events"):
        Keypad(None).press("1")
    keypad = Keypad(EVENT)
    with pytest.raises(ValueError, match="no telephone key"):
        keypad.press("1x")


async def test_a_key_takes_the_place_of_audio_which_waits_for_it() -> None:
    with Line() as line:
        line.stream.playout.push("a", b"\x11" * 160 * 5)
        line.tick()
        line.stream.keypad.press("5")
        line.tick(7)
        assert line.stream.playout.sent_ms("a") == 20
        line.tick(2)
        packets = line.phone.received()
    assert [packet.payload_type for packet in packets] == [0] * 2 + [EVENT] * 7 + [0] * 2
    assert packets[9].payload == b"\xff" * 160, "a breath of silence behind the last key"
    assert packets[10].marker
    assert [packet.sequence - packets[0].sequence & 0xFFFF for packet in packets] == list(range(11))
    assert packets[9].timestamp - packets[1].timestamp & 0xFFFFFFFF == 8 * 160


async def test_speech_is_not_cut_into_pieces_between_keys() -> None:
    with Line() as line:
        line.stream.playout.push("a", b"\x11" * 160 * 20)
        line.tick()
        line.stream.keypad.press("123")
        line.tick(40)
        packets = line.phone.received()
    speech = [number for number, packet in enumerate(packets) if packet.payload == b"\x11" * 160]
    keys = [number for number, packet in enumerate(packets) if packet.payload_type == EVENT]
    assert len(keys) == 21
    assert [number for number in speech if keys[0] < number < keys[-1]] == []
    assert speech[1:] == list(range(keys[-1] + 2, len(packets)))


async def test_a_stall_in_a_key_makes_no_second_key_of_it() -> None:
    with Line() as line, Line(phone=Phone(ssrc=2)) as ear:
        ear.stream.retarget(line.sock.getsockname())
        line.stream.retarget(ear.sock.getsockname())
        line.tick(2)
        line.stream.keypad.press("7")
        line.tick(2)
        line.stall(0.1)
        line.tick(10)
        await until(lambda: ear.stream.stats.packets_in >= 14)
        assert ear.digits == ["7"]
        assert ear.stream.stats.resyncs == 0
        assert ear.stream.stats.lost == 0
