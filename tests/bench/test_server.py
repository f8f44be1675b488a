import base64
import contextlib
import json
import os
import random
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

from tests.bench import realtime_traffic, up_frames
from tests.bench.realtime_traffic import Encoding, Traffic
from tests.bench.server import LOOK_US, Server
from tests.bench.server_figures import SAMPLES, Figures, Samples, audio_bytes
from tests.bench.server_session import Course
from tests.bench.websocket_frames import Append, Frame, FrameReader, NotWebSocket, unmasked
from tests.phones.certificates import Authority
from tests.realtime_events import problems

BRIEF = Course(Traffic(say_ms=60, delta_ms=20, pause_ms=40))
# A second of audio at its own pace, interrupted soon.
INTERRUPTED = Course(Traffic(say_ms=1000, delta_ms=20), speed=1, barge_in_s=0.05)
BEFORE_RESPONSE = [
    "response.created",
    "response.output_item.added",
    "conversation.item.added",
    "response.content_part.added",
]
CLOSING = [
    "response.output_audio.done",
    "response.output_audio_transcript.done",
    "response.content_part.done",
    "conversation.item.done",
    "response.output_item.done",
    "response.done",
    "rate_limits.updated",
]
CALLERS_TURN = [
    "input_audio_buffer.speech_started",
    "input_audio_buffer.speech_stopped",
    "input_audio_buffer.committed",
    "conversation.item.added",
    "conversation.item.done",
]


class Client:
    """A client of the published library, which judges every event."""

    def __init__(self, socket: ClientConnection, figures: Figures) -> None:
        self.socket = socket
        self.figures = figures

    def send(self, kind: str, **fields: Any) -> None:
        self.socket.send(json.dumps({"type": kind, **fields}))

    def next(self) -> dict[str, Any]:
        event: dict[str, Any] = json.loads(self.socket.recv(timeout=5))
        assert problems(event, "server") == []
        return event

    def until(self, kind: str) -> list[dict[str, Any]]:
        """All events up to one of that type."""
        events = [self.next()]
        while events[-1]["type"] != kind:
            events.append(self.next())
        return events

    def begin(self, encoding: Encoding = Encoding.PCMU) -> dict[str, Any]:
        """Configure the session and ask for a response; gives `session.updated`."""
        assert self.next()["type"] == "session.created"
        form = realtime_traffic.format_object(encoding)
        audio = {"input": {"format": form}, "output": {"format": form}}
        self.send("session.update", session={"type": "realtime", "audio": audio})
        updated = self.next()
        self.send("response.create")
        return updated

    def speak(self, audio: bytes) -> None:
        """Append, and wait until that was read: a read that ends with something else has no time to tell."""
        appends = sum(self.figures.sizes.values())
        self.socket.send(append(audio), text=True)
        deadline = time.monotonic() + 5
        while sum(self.figures.sizes.values()) == appends and time.monotonic() < deadline:
            time.sleep(0.001)
        self.settled()

    def settled(self) -> None:
        """All that was sent before has been taken."""
        assert self.socket.ping().wait(5)


@contextlib.contextmanager
def serving(
    course: Course = BRIEF, *, sample: int = 1, tls: ssl.SSLContext | None = None, look_us: int = LOOK_US
) -> Iterator[Server]:
    server = Server(course, Figures(), sample=sample, tls=tls, look_us=look_us)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join()


@contextlib.contextmanager
def calling(server: Server, tls: ssl.SSLContext | None = None) -> Iterator[Client]:
    scheme = "ws" if tls is None else "wss"
    url = f"{scheme}://127.0.0.1:{server.port}/v1/realtime"
    with connect(url, ssl=tls, compression=None, proxy=None) as socket:
        yield Client(socket, server.figures)


def up_frame(call: int, frame: int, t_ns: int | None = None) -> bytes:
    """20 ms of the caller's audio."""
    sent = time.time_ns() if t_ns is None else t_ns
    return up_frames.HEAD.pack(up_frames.MAGIC, call, frame, 0, sent) + bytes(range(136))


def append(audio: bytes) -> bytes:
    """As the bridge writes it."""
    return b'{"type":"input_audio_buffer.append","audio":"' + base64.b64encode(audio) + b'"}'


def masked(payload: bytes, opcode: int = 1, *, final: bool = True) -> bytes:
    """A client's frame."""
    mask, size = os.urandom(4), len(payload)
    first = opcode | (0x80 if final else 0)
    length = (
        bytes((size,)) if size < 126 else b"\x7e" + size.to_bytes(2) if size < 65_536 else b"\x7f" + size.to_bytes(8)
    )
    return (
        bytes((first, length[0] | 0x80))
        + length[1:]
        + mask
        + bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
    )


def texts(data: bytes) -> Iterator[bytes]:
    """The payloads of a server's whole frames."""
    at = 0
    while at < len(data):
        assert data[at] == 0x81
        width = {126: 2, 127: 8}.get(data[at + 1], 0)
        size = int.from_bytes(data[at + 2 : at + 2 + width]) if width else data[at + 1]
        at += 2 + width + size
        yield data[at - size : at]


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in events]


# Frames


def test_frames_come_out_whole_however_they_arrive() -> None:
    short, long = b'{"type":"response.create"}', b"x" * 70_000
    texts = [append(up_frame(1, 0, 7)), short, append(bytes(4800)), long, b"", append(b"1")]
    data = b"".join(map(masked, texts)) + masked(b"ping", 9) + masked(append(up_frame(1, 1, 8)))
    expected = [*texts, b"ping", append(up_frame(1, 1, 8))]
    for seed in range(30):
        chance, sizes, found = random.Random(seed), dict[int, int](), list[bytes]()
        reader = FrameReader(sizes, wants_appends=True)
        at = 0
        while at < len(data):
            step = chance.choice((1, 2, 7, 39, 40, 41, 300, 5000, 100_000))
            for each in reader.feed(data[at : at + step]):
                found.append(unmasked(each.masked, each.mask) if isinstance(each, Append) else each.payload)
            at += step
        assert found == expected
        assert reader.is_between
        assert sizes == {len(append(bytes(160))): 2, len(append(bytes(4800))): 1}


def test_an_append_is_whole_with_its_last_byte() -> None:
    data = masked(append(bytes(160))) + masked(b"bye", 8)
    sizes: dict[int, int] = {}
    reader = FrameReader(sizes)
    found = [(at, reader.feed(data[at : at + 1]), sum(sizes.values())) for at in range(len(data))]
    assert [at for at, _, appends in found if appends == 0] == list(range(270))
    assert [frames for _, frames, _ in found if frames] == [[Frame(8, b"bye")]]


def test_appends_are_only_counted_where_nobody_wants_them() -> None:
    sizes: dict[int, int] = {}
    frames = FrameReader(sizes).feed(masked(append(bytes(160))) * 3 + masked(b"bye", 8))
    assert frames == [Frame(8, b"bye")]
    assert sizes == {263: 3}


@pytest.mark.parametrize(
    "data",
    [b"\x81\x05hello12345", b"\xc1" + masked(b"x" * 50)[1:], b"\x81\xff" + b"\xff" * 20],
    ids=["not masked", "compressed", "endless"],
)
def test_what_no_client_may_send(data: bytes) -> None:
    with pytest.raises(NotWebSocket):
        FrameReader({}).feed(data)


@pytest.mark.parametrize("size", [8, 80, 160, 320, 480, 800, 960, 1920, 4800])
def test_audio_is_counted_by_the_size_of_the_payload(size: int) -> None:
    assert audio_bytes(len(append(bytes(size)))) == size


# Traffic


def test_a_talk_in_the_order_of_the_service() -> None:
    with serving() as server, calling(server) as client:
        updated = client.begin()
        first = client.until("rate_limits.updated")
        turn = client.until("response.created")
        second = client.until("rate_limits.updated")
    assert updated["session"]["audio"]["input"]["format"] == {"type": "audio/pcmu"}
    assert updated["session"]["audio"]["output"]["format"] == {"type": "audio/pcmu"}
    text, sound = "response.output_audio_transcript.delta", "response.output_audio.delta"
    assert kinds(first) == BEFORE_RESPONSE + [text] * 3 + [sound, text] * 3 + CLOSING
    assert kinds(turn) == [*CALLERS_TURN, "response.created"]
    transcription = "conversation.item.input_audio_transcription.completed"
    assert kinds(second) == [*BEFORE_RESPONSE[1:], transcription] + [text] * 3 + [sound, text] * 3 + CLOSING
    said = "".join(event["delta"] for event in first if event["type"] == text)
    assert next(event["transcript"] for event in first if event["type"].endswith("transcript.done")) == said
    items = {event["item_id"] for event in first + second if event["type"] == sound}
    assert items == {"item_a1", "item_a2"}
    assert turn[0]["item_id"] == turn[3]["item"]["id"] == second[1]["previous_item_id"]
    assert first[-2]["response"]["usage"]["output_tokens"] > 0


def test_each_frame_says_which_it_is_and_each_delta_when_it_was_written() -> None:
    begun = time.time_ns()
    with serving(Course(Traffic(say_ms=100, delta_ms=40, pause_ms=0), speed=10)) as server:
        with calling(server) as client:
            client.begin()
            events = client.until("response.done") + client.until("response.done")
    heads = []
    for event in events:
        if event["type"] == "response.output_audio.delta":
            audio = base64.b64decode(event["delta"])
            for at in range(0, len(audio), 160):
                magic, number, frame, zero, t_ns = struct.unpack_from(">4sIIIQ", audio, at)
                assert (magic, zero) == (b"SBdn", 0)
                assert (begun < t_ns < time.time_ns()) if at == 0 else t_ns == 0
                heads.append((number, frame))
    assert heads == [(number, frame) for number in (1, 2) for frame in range(5)]


def test_deltas_leave_as_fast_as_told() -> None:
    with serving(Course(Traffic(say_ms=300, delta_ms=20), speed=2)) as server, calling(server) as client:
        client.begin()
        events = client.until("response.done")
    audio = [base64.b64decode(event["delta"]) for event in events if event["type"] == "response.output_audio.delta"]
    times = [up_frames.HEAD.unpack_from(each)[4] / 1e6 for each in audio]
    assert len(times) == 15
    assert 130 <= times[-1] - times[0] < 300


def test_pcm_has_its_own_size() -> None:
    with serving() as server, calling(server) as client:
        client.begin(Encoding.PCM)
        events = client.until("response.done")
    sizes = [len(base64.b64decode(each["delta"])) for each in events if each["type"] == "response.output_audio.delta"]
    assert sizes == [960] * 3


def test_the_down_noise_is_no_silence_and_not_the_same_in_all_frames() -> None:
    audio = Traffic().audio(1, Encoding.PCMU)
    bodies = {audio[at + 24 : at + 160] for at in range(0, len(audio), 160)}
    assert len(bodies) == 400
    assert all(len(set(body)) > 50 for body in bodies)


@pytest.mark.parametrize("wrong", [{"say_ms": 30}, {"delta_ms": 25}, {"delta_ms": 9000}, {"delta_ms": 0}])
def test_only_whole_frames(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="multiples of 20 ms"):
        Traffic(**wrong)


# Interruptions


def test_an_interruption_is_written_down_with_its_truncate() -> None:
    with serving(INTERRUPTED) as server, calling(server) as client:
        client.begin()
        client.socket.send(append(up_frame(17, 0)), text=True)
        before = client.until("input_audio_buffer.speech_started")
        at = time.time_ns()
        client.send("conversation.item.truncate", item_id="item_a1", content_index=0, audio_end_ms=40)
        cut = client.until("response.done")
        truncated = client.until("conversation.item.truncated")[-1]
        client.until("response.created")
        report = server.figures.report()
    assert 1 <= kinds(before).count("response.output_audio.delta") <= 4
    assert kinds(cut) == CLOSING[:-1]
    assert cut[-1]["response"]["status"] == "cancelled"
    assert cut[-1]["response"]["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
    assert cut[-1]["response"]["output"][0]["status"] == "incomplete"
    said = [each["delta"] for each in before if each["type"] == "response.output_audio_transcript.delta"]
    assert cut[1]["transcript"] == "".join(said)
    assert truncated["audio_end_ms"] == 40
    assert report["truncates"] == [(17, 1, 40, 0)]
    [(call, response, t_ns)] = report["interruptions"]
    assert (call, response) == (17, 1)
    assert 0 <= at - t_ns < 1e9


def test_one_response_at_a_time_and_a_cancel() -> None:
    with serving(Course(Traffic(say_ms=2000, delta_ms=20), speed=1)) as server, calling(server) as client:
        client.begin()
        client.until("response.output_audio.delta")
        client.send("response.create", event_id="mine")
        refused = client.until("error")[-1]["error"]
        client.send("response.cancel")
        cut = client.until("response.done")[-1]["response"]
        client.send("response.cancel")
        late = client.until("error")
        client.send("response.create")
        client.until("response.created")
        client.until("response.output_audio.delta")
        assert server.figures.events["response.create"] == 3
    assert (refused["code"], refused["event_id"]) == ("conversation_already_has_active_response", "mine")
    assert cut["status_details"]["reason"] == "client_cancelled"
    assert kinds(late) == ["rate_limits.updated", "error"]


def test_nothing_more_is_said_after_a_cancel() -> None:
    with serving(Course(Traffic(say_ms=200, delta_ms=20, pause_ms=0), speed=1)) as server, calling(server) as client:
        client.begin()
        client.until("response.output_audio.delta")
        client.send("response.cancel")
        client.until("rate_limits.updated")
        assert kinds(client.until("response.created")) == [*CALLERS_TURN, "response.created"]


# Figures


def test_the_uplink_of_a_sampled_session() -> None:
    with serving() as server, calling(server) as client:
        client.next()
        for frames in ((0,), (1, 2), (3,), (6,), (6,), (7, 9)):  # 4, 5 and 8 are lost, 6 came twice
            client.speak(b"".join(up_frame(5, frame) for frame in frames))
        report = server.figures.report()
    assert report["appends"] == report["sampled_appends"] == report["uplink_ms"]["count"] == 6
    assert report["append_audio_bytes"] == 8 * 160
    assert report["unstamped_appends"] == 0
    assert (report["broken_appends"], report["up_frames_lost"], report["up_frames_repeated"]) == (3, 3, 1)
    assert 0 < report["uplink_ms"]["p50"] <= report["uplink_ms"]["max"] < 1000


def test_the_uplink_is_the_age_of_the_newest_frame() -> None:
    with serving() as server, calling(server) as client:
        client.next()
        now = time.time_ns()
        client.speak(up_frame(5, 0, now - 90_000_000_000) + up_frame(5, 1, now - 7_000_000_000))
        assert 7000 <= server.figures.report()["uplink_ms"]["max"] < 8000


def test_of_two_appends_in_one_read_the_newer_has_the_time() -> None:
    now = time.time_ns()
    with serving() as server, socket.create_connection(("127.0.0.1", server.port)) as own:
        own.settimeout(5)
        own.sendall(b"GET / HTTP/1.1\r\nSec-WebSocket-Key: abc\r\n\r\n")
        own.recv(65_536)
        ages_s = (90, 7)
        own.sendall(b"".join(masked(append(up_frame(1, at, now - age * 10**9))) for at, age in enumerate(ages_s)))
        own.sendall(masked(b"", 9))
        while b"\x8a\x00" not in own.recv(65_536):
            pass
        report = server.figures.report()
    assert report["sampled_appends"] == 2
    assert report["uplink_ms"]["max"] < 8000


def test_one_session_in_so_many_is_sampled_and_all_calls_are_known() -> None:
    with serving(sample=2) as server, contextlib.ExitStack() as stack:
        for call in range(3):
            client = stack.enter_context(calling(server))
            client.next()
            for audio in (bytes(160), *(up_frame(call, frame) for frame in range(4))):  # not heard at once
                client.speak(audio)
            client.send("conversation.item.truncate", item_id="item_a9", content_index=0, audio_end_ms=call)
            client.settled()
        report = server.figures.report()
    assert (report["sessions"], report["appends"], report["sampled_appends"]) == (3, 15, 8)
    assert report["truncates"] == [(call, 9, call, 0) for call in range(3)]
    assert report["events"] == {"conversation.item.truncate": 3}


def test_a_window_holds_what_came_in_it() -> None:
    with serving() as server, calling(server) as client:
        client.next()
        for begin_or_end in (server.figures.begin, server.figures.end, lambda: None):
            client.socket.send(append(bytes(160)), text=True)
            client.settled()
            begin_or_end()
        client.send("conversation.item.truncate", item_id="item_a1", content_index=0, audio_end_ms=20)
        client.settled()
        report = server.figures.report()
    assert (report["appends"], report["sessions_opened"], report["sessions"]) == (1, 0, 1)
    assert len(report["truncates"]) == 1  # it may answer what was said within the window


def test_samples_stay_few_and_keep_the_largest() -> None:
    samples = Samples()
    for value in range(3 * SAMPLES):
        samples.add(value if value != 12_345 else 1e9)
    told = samples.summary()
    assert len(samples.values) < SAMPLES
    assert abs(told["count"] - 3 * SAMPLES) <= 4
    assert told["max"] == 1e9
    assert abs(told["p50"] / (1.5 * SAMPLES) - 1) < 0.01


# Sockets


def test_a_client_that_reads_late_gets_all_of_it() -> None:
    with serving(Course(Traffic(say_ms=100_000, delta_ms=1000), speed=10_000)) as server:
        with socket.socket() as own:
            own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            own.connect(("127.0.0.1", server.port))
            own.settimeout(5)
            form = {"audio": {side: {"format": {"type": "audio/pcm", "rate": 24000}} for side in ("input", "output")}}
            own.sendall(b"GET / HTTP/1.1\r\nSec-WebSocket-Key: abc\r\n\r\n")
            for event in ({"type": "session.update", "session": form}, {"type": "response.create"}):
                own.sendall(masked(json.dumps(event).encode()))
            deadline = time.monotonic() + 5
            while not server.figures.bytes_held and time.monotonic() < deadline:
                time.sleep(0.01)
            held = server.figures.bytes_held
            received = bytearray()
            while b'"type":"rate_limits.updated"' not in received:
                received += own.recv(65_536)
    assert held > 0
    events = [json.loads(text) for text in texts(bytes(received.partition(b"\r\n\r\n")[2]))]
    sizes = [len(base64.b64decode(each["delta"])) for each in events if each["type"] == "response.output_audio.delta"]
    assert sizes == [48_000] * 100
    assert server.figures.bytes_unsent == 0


@pytest.mark.parametrize(("look_us", "looks"), [(LOOK_US, True), (0, False)])
def test_it_looks_at_its_sockets_by_the_clock_or_is_woken(
    look_us: int, looks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept, wait = list[float](), time.sleep

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        wait(seconds)

    monkeypatch.setattr(time, "sleep", sleep)
    with serving(look_us=look_us) as server, calling(server) as client:
        assert client.begin()["type"] == "session.updated"
    assert set(slept) == ({look_us / 1e6} if looks else set())


def test_fragments_and_a_farewell() -> None:
    with serving() as server, socket.create_connection(("127.0.0.1", server.port)) as own:
        own.settimeout(5)
        own.sendall(b"GET /v1/realtime HTTP/1.1\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
        own.sendall(
            masked(b'{"type":"input_audio_', final=False) + masked(b'buffer.clear"}', 0) + masked(b"\x03\xe8", 8)
        )
        received = b""
        while piece := own.recv(65_536):
            received += piece
        assert server.figures.events == {"input_audio_buffer.clear": 1}
    assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in received
    assert b'"type":"input_audio_buffer.cleared"' in received
    assert received.endswith(b"\x88\x02\x03\xe8")


@pytest.mark.parametrize(
    "bad",
    [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"x" * 20_000, masked(b"{") + b"\r\n\r\n"],
    ids=["no upgrade", "endless", "no handshake"],
)
def test_a_stranger_is_left(bad: bytes) -> None:
    with serving() as server:
        with socket.create_connection(("127.0.0.1", server.port)) as own:
            own.settimeout(5)
            own.sendall(bad)
            with contextlib.suppress(ConnectionResetError):
                assert own.recv(100) == b""
        with calling(server) as client:
            client.next()
    assert server.figures.faults == 1


def test_over_tls(tmp_path: Path) -> None:
    authority = Authority.make(tmp_path)
    own = authority.issue("server")
    serves = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serves.load_cert_chain(own.certificate, own.key)
    trusts = ssl.create_default_context(cafile=str(authority.certificate))
    with serving(Course(Traffic(delta_ms=2000), speed=1000), tls=serves) as server, calling(server, trusts) as client:
        client.begin(Encoding.PCM)
        for frame in range(50):
            client.socket.send(append(up_frame(3, frame)), text=True)
        events = client.until("response.done")
        client.settled()
        report = server.figures.report()
    sizes = [len(base64.b64decode(each["delta"])) for each in events if each["type"] == "response.output_audio.delta"]
    assert sizes == [96_000] * 4
    assert (report["appends"], report["sampled_appends"], report["broken_appends"]) == (50, 50, 0)
    assert report["unstamped_appends"] == report["faults"] == 0


def test_the_program_tells_its_port_and_at_the_end_its_figures() -> None:
    command = [sys.executable, "-m", "tests.bench.server", "--say-ms", "40", "--delta-ms", "40", "--barge-in-ms", "10"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            port = json.loads(process.stdout.readline())["port"]
            with connect(f"ws://127.0.0.1:{port}", compression=None, proxy=None) as own:
                client = Client(own, Figures())
                process.send_signal(signal.SIGUSR1)
                client.begin()
                client.until("input_audio_buffer.speech_started")
                process.send_signal(signal.SIGUSR2)
        finally:
            process.send_signal(signal.SIGTERM)
        report = json.loads(process.stdout.readline())
    assert process.returncode == 0
    assert report["responses"] == report["deltas"] == len(report["interruptions"]) == 1
    assert report["cpu_user_s"] + report["cpu_system_s"] > 0
