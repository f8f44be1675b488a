"""SIPp as a phone: many calls at a given rate, G.711 from a file.

What SIPp 3.6.1 does with `rtp_stream` (measured, and held by test_sipp.py): the file's bytes go out unchanged in
packets of 160 bytes each 20 ms (20.1 on the average); a last piece shorter than that is filled up from the file's
*start*; after the last round the stream falls silent. Sequence numbers start at 0, no packet has the marker. So the
rig writes a copy with silence behind, as long as the call. SIPp cannot keep what it hears: use `rawphone` for that.
"""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from .processes import Program, free_port, free_port_range
from .wire import FRAME, SILENCE

_LAWS = {"PCMU": 0, "PCMA": 8}

_SDP = """
      v=0
      o=sipp 1 1 IN IP4 [local_ip]
      s=-
      c=IN IP4 [media_ip]
      t=0 0
      m=audio [rtpstream_audio_port] RTP/@PROFILE@ @PT@ 101
      @CRYPTO@
      a=rtpmap:@PT@ @LAW@/8000
      a=rtpmap:101 telephone-event/8000
      a=fmtp:101 0-15
      a=ptime:20
      a=sendrecv
"""

_IN_CALL = """\
      Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
      [routes]
      From: "sipp" <sip:sipp@[local_ip]:[local_port]>;tag=[pid]t[call_number]
      To: <sip:[service]@[remote_ip]:[remote_port]>[peer_tag_param]
      Call-ID: [call_id]
      Max-Forwards: 70
      Content-Length: 0
"""

# Counter 1: calls that the far end hung up.
CALLER = f"""<?xml version="1.0" encoding="ISO-8859-1" ?>
<scenario name="caller">
  <send retrans="500" start_rtd="1"><![CDATA[
      INVITE sip:[service]@[remote_ip]:[remote_port] SIP/2.0
      Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
      From: "sipp" <sip:sipp@[local_ip]:[local_port]>;tag=[pid]t[call_number]
      To: <sip:[service]@[remote_ip]:[remote_port]>
      Call-ID: [call_id]
      CSeq: 1 INVITE
      Contact: <sip:sipp@[local_ip]:[local_port];transport=[transport]>
      Max-Forwards: 70
      @HEADERS@
      Content-Type: application/sdp
      Content-Length: [len]
{_SDP}
  ]]></send>
  <recv response="100" optional="true"/>
  <recv response="180" optional="true"/>
  <recv response="183" optional="true"/>
  <recv response="200" rtd="1" rrs="true"/>
  <send><![CDATA[
      ACK [next_url] SIP/2.0
      CSeq: 1 ACK
{_IN_CALL}
  ]]></send>
  <nop><action><exec rtp_stream="@FILE@,1,@PT@"/></action></nop>
  <recv request="BYE" timeout="@MS@" ontimeout="hang_up" counter="1"/>
  <send next="over"><![CDATA[
      SIP/2.0 200 OK
      [last_Via:]
      [last_From:]
      [last_To:]
      [last_Call-ID:]
      [last_CSeq:]
      Content-Length: 0

  ]]></send>
  <label id="hang_up"/>
  <send retrans="500"><![CDATA[
      BYE [next_url] SIP/2.0
      CSeq: 2 BYE
{_IN_CALL}
  ]]></send>
  <recv response="200"/>
  <label id="over"/>
  <pause milliseconds="10"/>
</scenario>
"""

ANSWERER = f"""<?xml version="1.0" encoding="ISO-8859-1" ?>
<scenario name="answerer">
  <recv request="INVITE" rrs="true"/>
  <send><![CDATA[
      SIP/2.0 180 Ringing
      [last_Via:]
      [last_From:]
      [last_To:];tag=[pid]t[call_number]
      [last_Call-ID:]
      [last_CSeq:]
      [last_Record-Route:]
      Contact: <sip:sipp@[local_ip]:[local_port];transport=[transport]>
      Content-Length: 0

  ]]></send>
  <send retrans="500"><![CDATA[
      SIP/2.0 200 OK
      [last_Via:]
      [last_From:]
      [last_To:];tag=[pid]t[call_number]
      [last_Call-ID:]
      [last_CSeq:]
      [last_Record-Route:]
      Contact: <sip:sipp@[local_ip]:[local_port];transport=[transport]>
      Content-Type: application/sdp
      Content-Length: [len]
{_SDP}
  ]]></send>
  <recv request="ACK"/>
  <nop><action><exec rtp_stream="@FILE@,1,@PT@"/></action></nop>
  <recv request="BYE"/>
  <send><![CDATA[
      SIP/2.0 200 OK
      [last_Via:]
      [last_From:]
      [last_To:]
      [last_Call-ID:]
      [last_CSeq:]
      Content-Length: 0

  ]]></send>
  <pause milliseconds="10"/>
</scenario>
"""


@dataclass(frozen=True, slots=True)
class Result:
    """What SIPp counted. `log` is worth printing when a test fails."""

    exit_code: int
    successful: int
    failed: int
    ended_by_far: int
    retransmissions: int
    response_ms: float
    """Mean time from INVITE to 200."""
    log: str

    @property
    def ok(self) -> bool:
        return self.exit_code == 0 and self.failed == 0 and self.successful > 0


class Sipp(Program):
    """A running SIPp. `with Sipp.calling(...) as phone: result = await phone.result()`."""

    port: int
    media_port: int
    """The first port of its RTP; each call takes the next even one."""
    _seconds: float

    @classmethod
    def calling(
        cls,
        host: str,
        port: int,
        folder: Path,
        *,
        number: str = "600",
        calls: int = 1,
        at_once: int | None = None,
        rate: float = 10.0,
        seconds: float = 5.0,
        audio: bytes = b"",
        law: str = "PCMU",
        headers: Sequence[str] = (),
        scenario: str = CALLER,
        options: Sequence[str] = (),
        program: Sequence[str] = ("sipp",),
        srtp: bool = False,
    ) -> Self:
        """Call `calls` times, `rate` a second, each for `seconds`; `audio` are G.711 bytes, silence follows.

        `program` may be SIPp 3.8, which has TLS (`options=over_tls(...)`) and SRTP.
        """
        at_once = at_once or calls
        scenario = scenario.replace("      @HEADERS@\n", "".join(f"      {line}\n" for line in headers))
        own = ["-s", number, "-m", str(calls), "-l", str(at_once), "-r", str(rate), *options]
        scenario = _described(scenario, srtp)
        phone = cls._start([f"{host}:{port}", *own], folder, scenario, seconds, audio, law, at_once, program)
        phone._seconds = seconds * -(-calls // at_once) + calls / rate
        return phone

    @classmethod
    def answering(
        cls,
        folder: Path,
        *,
        calls: int = 1,
        seconds: float = 5.0,
        audio: bytes = b"",
        law: str = "PCMU",
        scenario: str = ANSWERER,
        options: Sequence[str] = (),
        program: Sequence[str] = ("sipp",),
        srtp: bool = False,
    ) -> Self:
        """Answer `calls` calls at 127.0.0.1:`port` until the caller hangs up; say `audio`, then silence."""
        scenario = _described(scenario, srtp)
        phone = cls._start(["-m", str(calls), *options], folder, scenario, seconds, audio, law, calls, program)
        phone._seconds = seconds
        phone.wait_for_port(phone.port)
        return phone

    @classmethod
    def _start(
        cls,
        options: Sequence[str],
        folder: Path,
        scenario: str,
        seconds: float,
        audio: bytes,
        law: str,
        at_once: int,
        program: Sequence[str],
    ) -> Self:
        folder.mkdir(parents=True, exist_ok=True)
        number = _LAWS[law]
        length = max(round(seconds * 8000), len(audio)) + 2 * FRAME
        (folder / "audio.raw").write_bytes(audio.ljust(length - length % FRAME, SILENCE[number]))
        settings = {"@PT@": str(number), "@LAW@": law, "@FILE@": "audio.raw", "@MS@": str(round(seconds * 1000))}
        text = re.sub(r"@(PT|LAW|FILE|MS)@", lambda found: settings[found[0]], scenario)
        (folder / "scenario.xml").write_text(text)
        port, media = free_port(), free_port_range(2 * at_once + 2)
        common = ["-i", "127.0.0.1", "-p", str(port), "-mi", "127.0.0.1", "-mp", str(media), "-nostdin"]
        traces = ["-trace_err", "-error_file", "errors.log", "-trace_stat", "-stf", "stat.csv", "-fd", "1"]
        if at_once <= 10:
            traces += ["-trace_msg", "-message_file", "messages.log"]
        phone = cls([*program, *options, "-sf", "scenario.xml", *common, *traces], folder)
        phone.port, phone.media_port = port, media
        return phone

    async def result(self, within: float | None = None) -> Result:
        """Wait for all calls to end (the calls' own time plus 15 s unless told); TimeoutError past that."""
        code = await self.ended(self._seconds + 15 if within is None else within)
        return self._read(code)

    def _read(self, code: int) -> Result:
        try:
            with (self.folder / "stat.csv").open() as file:
                last = list(csv.DictReader(file, delimiter=";"))[-1]
        except (OSError, IndexError):
            last = {}

        def count(name: str) -> int:
            return int(last.get(name) or 0)

        return Result(
            exit_code=code,
            successful=count("SuccessfulCall(C)"),
            failed=count("FailedCall(C)"),
            ended_by_far=count("GenericCounter1(C)"),
            retransmissions=count("Retransmissions(C)"),
            response_ms=_milliseconds(last.get("ResponseTime1(C)") or ""),
            log=self._logs(),
        )

    def _logs(self) -> str:
        parts = []
        for name in ("errors.log", "messages.log", "output.log"):
            path = self.folder / name
            if path.exists():
                parts.append(f"--- {name}\n{path.read_bytes()[-3000:].decode('utf-8', 'replace')}")
        return "\n".join(parts)


def over_tls(certificate: Path, key: Path) -> list[str]:
    """The options that make SIPp 3.8 speak TLS."""
    return ["-t", "l1", "-tls_cert", str(certificate), "-tls_key", str(key)]


def _described(scenario: str, srtp: bool) -> str:
    """The scenario with plain RTP or with SRTP in its descriptions (RFC 4568)."""
    crypto = "a=crypto:[cryptotag1audio] [cryptosuiteaescm128sha1801audio] inline:[cryptokeyparams1audio]"
    scenario = scenario.replace("@PROFILE@", "SAVP" if srtp else "AVP")
    return scenario.replace("      @CRYPTO@\n", f"      {crypto}\n" if srtp else "")


def _milliseconds(clock: str) -> float:
    """SIPp's hours:minutes:seconds:microseconds (or three digits of milliseconds) in ms."""
    fields = clock.split(":")
    if len(fields) != 4:
        return 0.0
    hours, minutes, seconds = (int(field) for field in fields[:3])
    return (hours * 3600 + minutes * 60 + seconds) * 1000 + int(fields[3]) / 10 ** (len(fields[3]) - 3)
