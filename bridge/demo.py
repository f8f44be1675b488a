"""`sipbridge demo`: service, built-in agent and one phone call, told as it happens."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import replace
from pathlib import Path

import typer

from bridge import logs
from bridge.app import App, StartFailed
from bridge.builtin import BuiltinAgentFailed
from bridge.call import Call
from bridge.config import Config, Log
from bridge.lines import PhoneError, synthesized
from bridge.phone import Phone
from bridge.realtime import events as ev
from bridge.realtime.openai.conversation import DELETED
from bridge.tape import Tape

INTERRUPT_AFTER_S = 3.0
LONGEST_S = 90.0
QUESTION, INTERRUPTION, FAREWELL = "Tell me a story.", "What time is it?", "Goodbye."


async def run_demo(*, port: int, keep: Path, stay_s: float | None) -> None:
    """The demonstration; afterwards the service stays up for `stay_s` seconds (None: until it is stopped)."""
    logs.set_up(Log(level="error"))
    typer.echo("sipbridge demo: a caller asks the built-in agent for a story and interrupts it. No key is needed.\n")
    service = App(_config(port), watch=_show)
    try:
        await service.start()
    except (StartFailed, BuiltinAgentFailed) as error:
        await service.close()
        typer.echo(f"{error}\nanother SIP port: sipbridge demo --port 0", err=True)
        raise typer.Exit(1) from error
    try:
        dialled = service.user_agent.local[0][2]
        answered = await _call(f"sip:600@127.0.0.1:{dialled}", keep)
        typer.echo(f"\nrecorded in {keep}: left the caller, right the agent" if answered else "")
        await _stay(service, dialled, stay_s)
    finally:
        await service.close()


def _config(port: int) -> Config:
    agent = {
        "provider": "builtin",
        "greeting": "Greet the caller.",
        "tools": ["hang_up"],
        "transcription": {"model": "built-in"},
    }
    return Config.model_validate(
        {
            "sip": {"listen": [f"udp://0.0.0.0:{port}"]},
            "agents": {"demo": agent},
            "http": {"listen": "127.0.0.1:0"},
            "limits": {"drain_s": 0},
            "log": {"level": "error"},
        }
    )


async def _call(target: str, keep: Path) -> bool:
    try:
        tape = Tape(keep, stereo=True)
        question, interruption, farewell = await synthesized([QUESTION, INTERRUPTION, FAREWELL])
    except PhoneError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error
    lines = [question, replace(interruption, interrupt_after_s=INTERRUPT_AFTER_S), farewell]
    try:
        return await Phone(tell=typer.echo, tape=tape).call(target, lines, seconds=LONGEST_S)
    finally:
        tape.close()


def _show(call: Call, event: ev.Event) -> None:
    """One line for what the session tells, and for what it is told."""
    match event:
        case ev.CallerSaid(_, text):
            typer.echo(f'        > the agent understood: "{text}"')
        case ev.AgentSaid(_, text):
            typer.echo(f'        > the agent\'s answer, heard or not: "{text}"')
        case ev.SpeechStarted():
            typer.echo("        > the session hears speech")
        case ev.Truncated(item, heard_ms) if heard_ms == DELETED:
            typer.echo(f"        > told the session: delete {item}, nothing of it was heard")
        case ev.Truncated(item, heard_ms):
            typer.echo(f"        > told the session: truncate {item}, the caller has heard {heard_ms} ms")
        case ev.ToolCall(_, name, _):
            typer.echo(f"        > the agent uses the tool {name}")


async def _stay(service: App, port: int, stay_s: float | None) -> None:
    address = service.user_agent.local_address_for("192.0.2.1")
    if stay_s == 0:
        return
    typer.echo(f"The agent stays up. Dial it with any softphone: sip:600@{address}:{port} (UDP, no registration).")
    typer.echo(f"Or from here: sipbridge call sip:600@127.0.0.1:{port} --say 'tell me a joke'")
    typer.echo(f"Metrics: http://127.0.0.1:{service.http_port}/metrics    End: Ctrl-C")
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        async with asyncio.timeout(stay_s):
            await stop.wait()
    except TimeoutError:
        pass
    typer.echo("ended")
