"""SIPp plays one scenario against a user agent on loopback, as caller or as called, over UDP or TCP.

The scenarios are XML files with slots: `@NAME@` is what a test says, or one of the blocks below, which hold
the lines that every message of that kind has. SIPp 3.6 strips the indentation, so blocks need none.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bridge.sip.uri import host_port
from tests.phones.processes import Program, free_signalling_port
from tests.sip.phone import HOST, until

FOLDER = Path(__file__).parent / "scenarios"
PATIENCE_S = 30.0
"""How long SIPp may take, in seconds; only a failure takes that long."""

TRANSPORTS = {"udp": "u1", "tcp": "t1", "tcp-each": "tn"}
"""Our names of SIPp's modes: one UDP socket, one TCP connection for all calls, one for each call."""

BLOCKS = {
    # A request of SIPp as the caller, up to its CSeq; the branch is new.
    "CALLER": """Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
Max-Forwards: 70
From: <sip:sipp@[local_ip]:[local_port]>;tag=[pid]t[call_number]
To: <sip:[service]@[remote_ip]:[remote_port]>[peer_tag_param]
Call-ID: [call_id]
Contact: <sip:sipp@[local_ip]:[local_port];transport=[transport]>""",
    # A request of SIPp as the called side, which has kept our From in $far.
    "CALLED": """Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
Max-Forwards: 70
From: <sip:[service]@[local_ip]:[local_port]>;tag=[pid]s[call_number]
To:[$far]
Call-ID: [call_id]
Contact: <sip:sipp@[local_ip]:[local_port];transport=[transport]>""",
    # An answer of SIPp to our first INVITE.
    "ANSWER": """[last_Via:]
[last_From:]
[last_To:];tag=[pid]s[call_number]
[last_Call-ID:]
[last_CSeq:]
Contact: <sip:sipp@[local_ip]:[local_port];transport=[transport]>""",
    # An answer of SIPp inside the dialog.
    "INSIDE": """[last_Via:]
[last_From:]
[last_To:]
[last_Call-ID:]
[last_CSeq:]
Contact: <sip:sipp@[local_ip]:[local_port];transport=[transport]>""",
    # An answer of SIPp outside a dialog.
    "PLAIN": """[last_Via:]
[last_From:]
[last_To:];tag=[pid]s[call_number]
[last_Call-ID:]
[last_CSeq:]""",
    "SDP": """v=0
o=sipp 1 1 IN IP[local_ip_type] [local_ip]
s=-
c=IN IP[media_ip_type] [media_ip]
t=0 0
m=audio [media_port] RTP/AVP 0 101
a=rtpmap:0 PCMU/8000
a=rtpmap:101 telephone-event/8000
a=fmtp:101 0-15""",
    "BODY": """Content-Type: application/sdp
Content-Length: [len]
""",
    "EMPTY": "Content-Length: 0\n",
    "HEADERS": "X-Nothing: more",
    # SIPp calls and is answered.
    "CALLS": """<send retrans="500"><![CDATA[
INVITE sip:[service]@[remote_ip]:[remote_port] SIP/2.0
@CALLER@
CSeq: 1 INVITE
@HEADERS@
@BODY@
@SDP@
]]></send>
<recv response="100" optional="true"/>
<recv response="180" optional="true"/>
<recv response="200"/>
<send><![CDATA[
ACK sip:[service]@[remote_ip]:[remote_port] SIP/2.0
@CALLER@
CSeq: 1 ACK
@EMPTY@
]]></send>""",
    # SIPp, who called, hangs up.
    "HANGS_UP": """<send retrans="500"><![CDATA[
BYE sip:[service]@[remote_ip]:[remote_port] SIP/2.0
@CALLER@
CSeq: 99 BYE
@EMPTY@
]]></send>
<recv response="200"/>""",
    # We hang up.
    "HEARS_BYE": """<recv request="BYE"/>
<send><![CDATA[
SIP/2.0 200 OK
@INSIDE@
@EMPTY@
]]></send>""",
    # SIPp is called and answers; it keeps who we are for requests of its own.
    "TAKES": """<recv request="INVITE">
  <action>
    <ereg regexp=".*" search_in="hdr" header="From:" assign_to="far"/>
    <ereg regexp="sip:[^>]*" search_in="hdr" header="Contact:" assign_to="target"/>
    <log message="[$far] [$target]"/>
  </action>
</recv>
<send retrans="500"><![CDATA[
SIP/2.0 200 OK
@ANSWER@
@HEADERS@
@BODY@
@SDP@
]]></send>
<recv request="ACK"/>""",
}
LISTEN, UNCONNECTED = "0A", "07"
"""States in the kernel's tables of TCP and UDP sockets."""


class Sipp:
    """Runs scenarios in a folder; a failure is an AssertionError with what SIPp says."""

    def __init__(self, program: str, folder: Path, transport: str, host: str = HOST) -> None:
        self.transport = transport
        self._host = host
        self._program = program
        self._folder = folder

    def another(self) -> Sipp:
        """A second SIPp beside this one."""
        folder = self._folder / "another"
        folder.mkdir()
        return Sipp(self._program, folder, self.transport, self._host)

    def _is_there(self, port: int) -> bool:
        """Whether SIPp has its port, and over TCP listens there. A probe that binds it would be in its way."""
        protocol, state = ("udp", UNCONNECTED) if self.transport == "udp" else ("tcp", LISTEN)
        table = Path(f"/proc/net/{protocol}{'6' if ':' in self._host else ''}").read_text()
        rows = (line.split() for line in table.splitlines()[1:])
        return any(row[3] == state and int(row[1].rpartition(":")[2], 16) == port for row in rows)

    @property
    def _over(self) -> str:
        """What a URI has so that requests for it come this way."""
        return "" if self.transport == "udp" else ";transport=tcp"

    async def call(self, name: str, port: int, /, *, calls: int = 1, **slots: str) -> None:
        """SIPp calls 600 at that port of ours, `calls` times at once."""
        rate = ["-l", str(calls), "-r", "100"]  # The first call waits for one period of the rate.
        with self._start(name, calls, free_signalling_port(), [host_port(self._host, port), *rate], slots) as program:
            await self._judge(program)

    @asynccontextmanager
    async def answer(self, name: str, /, *, calls: int = 1, **slots: str) -> AsyncIterator[str]:
        """SIPp takes a call: gives its URI. Leaving waits for SIPp to be content."""
        port = free_signalling_port()
        with self._start(name, calls, port, [], slots) as program:
            await until(lambda: program.process.poll() is not None or self._is_there(port))
            try:
                yield f"sip:600@{host_port(self._host, port)}{self._over}"
            except AssertionError as failure:
                failure.add_note(self._report(program))
                raise
            await self._judge(program)

    def _start(self, name: str, calls: int, port: int, options: list[str], slots: dict[str, str]) -> Program:
        # For patterns, into which SIPp puts no keywords.
        own = {"here": host_port(self._host, port), "over": self._over}
        text = filled((FOLDER / f"{name}.xml").read_text(), {**own, **slots})
        (self._folder / f"{name}.xml").write_text(text)
        common = f"-sf {name}.xml -s 600 -m {calls} -i {self._host} -p {port} -mi {self._host} -nostdin"
        common += f" -t {TRANSPORTS[self.transport]}"
        traces = "-trace_err -error_file errors.log -trace_msg -message_file messages.log"
        ending = "-timeout 25s -timeout_error -max_socket 100"
        return Program([self._program, *options, *f"{common} {traces} {ending}".split()], self._folder)

    async def _judge(self, program: Program) -> None:
        try:
            code = await program.ended(PATIENCE_S)
        except TimeoutError:
            code = -1
        assert code == 0, self._report(program)

    def _report(self, program: Program) -> str:
        parts = [self._folder / "errors.log", self._folder / "messages.log"]
        said = [path.read_text(errors="replace")[-6000:] for path in parts if path.exists()]
        return "\n".join(said) or program.said()


def filled(text: str, slots: dict[str, str]) -> str:
    """The scenario with its slots filled; KeyError names one that nobody fills."""
    words = {**BLOCKS, **{name.upper(): value for name, value in slots.items()}}
    while re.search(r"@[A-Z_]+@", text):
        text = re.sub(r"@([A-Z_]+)@", lambda found: words[found[1]], text)
    return text
