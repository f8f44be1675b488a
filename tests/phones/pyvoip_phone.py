"""pyVoIP as a phone, in a process of its own: registers, dials, says a WAV, keeps what it heard, hangs up, prints JSON.

    python tests/phones/pyvoip_phone.py 127.0.0.1:5062 600 --wav say.wav --heard heard.raw --seconds 5

The WAV is pyVoIP's own form, 8-bit unsigned mono at 8000 Hz; so is what it heard, without a header. pyVoIP registers
before anything else (a 200 without challenge is enough) and waits for a 100 or 180 before it knows its own call.
`pyvoip.PyVoip` starts this file as a child. Where the far end's timestamps leap, pyVoIP hears bytes of 0.
"""

import argparse
import json
import sys
import time
import wave
from collections.abc import Sequence
from pathlib import Path
from typing import Any

FRAME = 160


def _wait(ready: Any, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def _talk(call: Any, audio: bytes, seconds: float) -> bytes:
    """Say `audio`, listen for `seconds` or until the far end hangs up; the 8-bit samples heard."""
    from pyVoIP.VoIP import CallState

    heard = bytearray()
    if audio:
        call.write_audio(audio)
    next_read = time.monotonic()
    end = next_read + seconds
    while call.state == CallState.ANSWERED and time.monotonic() < end:
        next_read += 0.02
        time.sleep(max(0.0, next_read - time.monotonic()))
        heard += call.read_audio(FRAME, blocking=False)
    return bytes(heard)


def _call(given: argparse.Namespace, host: str, port: int) -> dict[str, Any]:
    from pyVoIP.VoIP import CallState, PhoneStatus, VoIPPhone

    audio = b""
    if given.wav:
        with wave.open(str(given.wav), "rb") as file:
            if (file.getnchannels(), file.getsampwidth(), file.getframerate()) != (1, 1, 8000):
                raise SystemExit("the WAV must be 8-bit mono at 8000 Hz")
            audio = file.readframes(file.getnframes())
    phone = VoIPPhone(
        host,
        port,
        given.user,
        given.password,
        myIP="127.0.0.1",
        sipPort=given.port,
        rtpPortLow=given.media,
        rtpPortHigh=given.media + 20,
    )
    told: dict[str, Any] = {"registered": False, "answered": False, "ended_by_far": False, "heard_bytes": 0}
    phone.start()
    try:
        told["registered"] = _wait(lambda: phone.get_status() == PhoneStatus.REGISTERED, 10)
        # Its receiver starts one second after it has registered.
        started = time.monotonic()
        call = phone.call(given.number)
        told["answered"] = _wait(lambda: call.state != CallState.DIALING, 20) and call.state == CallState.ANSWERED
        told["answer_ms"] = round((time.monotonic() - started) * 1000, 1)
        if told["answered"]:
            heard = _talk(call, audio, given.seconds)
            told["heard_bytes"] = len(heard)
            told["ended_by_far"] = call.state == CallState.ENDED
            if given.heard:
                given.heard.write_bytes(heard)
            if call.state == CallState.ANSWERED:
                call.hangup()
                time.sleep(0.3)
    finally:
        phone.stop()
    return told


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="One call by pyVoIP; prints JSON.")
    parser.add_argument("server", help="host:port of the registrar")
    parser.add_argument("number")
    parser.add_argument("--user", default="pyvoip")
    parser.add_argument("--password", default="secret")
    parser.add_argument("--port", type=int, default=5199, help="its own SIP port")
    parser.add_argument("--media", type=int, default=30500, help="its first RTP port")
    parser.add_argument("--wav", type=Path)
    parser.add_argument("--heard", type=Path)
    parser.add_argument("--seconds", type=float, default=5.0)
    given = parser.parse_args(arguments)
    host, _, port = given.server.rpartition(":")
    told = _call(given, host, int(port))
    print("RESULT " + json.dumps(told), flush=True)
    return 0 if told["answered"] else 1


if __name__ == "__main__":
    sys.exit(main())
