"""Real SIPp against a small answering application on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from bridge.sip.invitation import Invitation
from bridge.sip.transaction import Timers
from bridge.sip.ua import UserAgent

from .phone import HOST, Answering, agent, port_of, until

pytestmark = pytest.mark.phone

SCENARIOS = Path(__file__).parent / "scenarios"
PLAIN = {
    "@URI@": "sip:[service]@[remote_ip]:[remote_port]",
    "@EXTRA@": "X-Test: 1",
    "@KIND@": "application/sdp",
    "@MAX@": "70",
    "@TO@": "",
    "@FORMATS@": "RTP/AVP 0 101",
}


class Sipp:
    """Runs a scenario; fails with what SIPp says."""

    def __init__(self, program: str, folder: Path) -> None:
        self._program = program
        self._folder = folder

    async def run(self, name: str, service: UserAgent, *, calls: int = 1, **changes: str) -> None:
        words: Mapping[str, str] = {**PLAIN, **{f"@{key.upper()}@": value for key, value in changes.items()}}
        text = (SCENARIOS / f"{name}.xml").read_text()
        for word, value in words.items():
            text = text.replace(word, value)
        scenario, errors = self._folder / f"{name}.xml", self._folder / "errors.txt"
        scenario.write_text(text)
        options = f"-m {calls} -l {calls} -r {calls} -i {HOST} -mi {HOST} -nostdin -timeout 20s -timeout_error"
        process = await asyncio.create_subprocess_exec(
            self._program,
            f"{HOST}:{port_of(service)}",
            *("-sf", str(scenario), "-s", "600", "-trace_err", "-error_file", str(errors)),
            *options.split(),
            cwd=self._folder,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            output, _ = await asyncio.wait_for(process.communicate(), 30)
        except TimeoutError:
            process.kill()
            await process.wait()
            raise
        said = errors.read_text() if errors.exists() else output.decode(errors="replace")[-2000:]
        assert process.returncode == 0, said


@pytest.fixture
def phone(sipp: str, tmp_path: Path) -> Sipp:
    return Sipp(sipp, tmp_path)


async def test_the_caller_hangs_up(phone: Sipp) -> None:
    application = Answering()
    async with agent(application) as service:
        await phone.run("bye_from_caller", service, calls=20)
        await until(lambda: application.ended == ["bye"] * 20)
        assert application.confirmed == 20
        assert service.stats.dropped == {}


def hanging_up(application: Answering) -> None:
    """Make the application end each call when its ACK comes."""

    def take(call: Invitation) -> None:
        call.on_confirmed = lambda description: call.hang_up()
        reply = application.describe(call.offer)
        assert isinstance(reply, bytes)
        call.answer(reply)

    application.take = take


@pytest.mark.parametrize("scenario", ["bye_from_called", "strange_ack", "delayed_offer"])
async def test_the_called_side_hangs_up(phone: Sipp, scenario: str) -> None:
    application = Answering()
    hanging_up(application)
    async with agent(application) as service:
        await phone.run(scenario, service)
        await until(lambda: application.ended == ["hung_up"])


async def test_cancel(phone: Sipp) -> None:
    application = Answering()
    application.take = Invitation.ring
    async with agent(application) as service:
        await phone.run("cancel", service)
        await until(lambda: application.ended == ["cancelled"])


async def test_a_repeated_invite_is_one_call(phone: Sipp) -> None:
    application = Answering()
    application.take = Invitation.ring

    async def answer_after_the_first_repeat(service: UserAgent) -> None:
        await until(lambda: service.stats.retransmissions_received)
        application.answer(application.calls[0])

    async with agent(application) as service:
        answering = asyncio.create_task(answer_after_the_first_repeat(service))
        await phone.run("repeated_invite", service)
        await answering
        await until(lambda: application.ended == ["bye"])
        assert len(application.calls) == 1
        # SIPp answers each repeated 180 with one more INVITE, so there are many.
        assert service.stats.retransmissions_received >= 1


async def test_a_merged_invite(phone: Sipp) -> None:
    application = Answering()
    application.take = Invitation.ring
    async with agent(application) as service:
        await phone.run("merged_invite", service)
        await until(lambda: application.ended == ["cancelled"])
        assert len(application.calls) == 1


async def test_the_ack_never_comes(phone: Sipp) -> None:
    application = Answering()
    async with agent(application, timers=Timers(t1=0.02, t2=0.08, t4=0.1)) as service:
        await phone.run("no_ack", service)
        await until(lambda: application.ended == ["ack_timeout"])
        assert service.stats.retransmissions_sent > 5


async def test_reinvites(phone: Sipp) -> None:
    application = Answering()
    async with agent(application) as service:
        await phone.run("reinvite", service)
        await until(lambda: application.ended == ["bye"])
        assert service.stats.answers[488] == 1


@pytest.mark.parametrize("status", [200, 503])
async def test_options(phone: Sipp, status: int) -> None:
    application = Answering()
    application.availability = status
    async with agent(application) as service:
        await phone.run("options", service, status=str(status))


@pytest.mark.parametrize(
    ("status", "changes"),
    [
        (400, {"extra": "Content-Type: text/plain"}),
        (415, {"kind": "text/plain"}),
        (416, {"uri": "mailto:x@y"}),
        (420, {"extra": "Require: path"}),
        (481, {"to": ";tag=nobody"}),
        (488, {"formats": "RTP/AVP 18"}),
        (488, {"formats": "RTP/SAVP 0"}),
    ],
)
async def test_refused_invites(phone: Sipp, status: int, changes: dict[str, str]) -> None:
    application = Answering()
    async with agent(application) as service:
        await phone.run("refused_invite", service, status=str(status), **changes)
        assert application.confirmed == 0
        assert service.stats.answers[status] == 1


@pytest.mark.parametrize(
    ("method", "to", "status"),
    [
        ("REGISTER", "", 405),
        ("BYE", ";tag=nobody", 481),
        ("BYE", "", 481),
        ("CANCEL", "", 481),
        ("INFO", ";tag=nobody", 481),
        ("FROB", "", 501),
    ],
)
async def test_refused_requests(phone: Sipp, method: str, to: str, status: int) -> None:
    async with agent() as service:
        await phone.run("refused_request", service, method=method, to=to, status=str(status))
        assert service.stats.answers == {status: 1}
