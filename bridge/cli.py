"""The command line: one function per command, the work elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from bridge import __version__, logs
from bridge.config import Config, Log
from bridge.settings import ConfigError, load

if TYPE_CHECKING:
    from bridge.phone import Phone

DEFAULT_FILE = Path("/etc/sipbridge/sipbridge.yaml")
"""Read when no --config is given and it is there."""

app = typer.Typer(
    name="sipbridge",
    help="Gives a voice model a telephone number.",
    add_completion=False,
    pretty_exceptions_enable=False,
)
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", "-c", help=f"YAML file. Default: {DEFAULT_FILE} if it is there, else only BRIDGE_*."),
]


def main() -> None:
    """The entry point of the console script."""
    app()


@app.callback(invoke_without_command=True)
def common(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)] = False,
) -> None:
    """Options before the command."""
    if version:
        typer.echo(f"sipbridge {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)


@app.command()
def serve(config: ConfigFile = None) -> None:
    """Answer calls until SIGTERM; then let running calls finish, and end."""
    settings = _load(config)
    logs.set_up(settings.log)
    _run(_serve(settings))


async def _serve(settings: Config) -> None:
    from bridge.app import App, StartFailed  # not at the top: `healthcheck` must not load the whole service
    from bridge.builtin import BuiltinAgentFailed

    service = App(settings)
    stop, once_more = asyncio.Event(), asyncio.Event()
    _on_signals(stop, once_more)
    failure = ""
    try:
        await service.start()
        await stop.wait()
        await _either(service.drain(), once_more.wait())
    except (StartFailed, BuiltinAgentFailed) as error:
        failure = str(error)
    finally:
        await service.close()
    if failure:
        _fail(failure)


async def _either(*works: Coroutine[Any, Any, Any]) -> None:
    """Until the first is done; the others are cancelled."""
    tasks = [asyncio.create_task(work) for work in works]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


def _on_signals(stop: asyncio.Event, once_more: asyncio.Event) -> None:
    def received() -> None:
        (once_more if stop.is_set() else stop).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, received)


@app.command()
def demo(
    seconds: Annotated[float, typer.Option(help="How long to stay up after the demo call; 0: end.")] = -1,
    port: Annotated[int, typer.Option(help="SIP port; 0: any that is free.")] = 5060,
    keep: Annotated[Path, typer.Option(help="Where the recording goes.")] = Path("demo.wav"),
) -> None:
    """Place one call to the built-in agent, interrupt it, show what happens, then stay up. Needs no key."""
    from bridge.demo import run_demo

    _run(run_demo(port=port, keep=keep, stay_s=None if seconds < 0 else seconds))


@app.command()
def agent(
    listen: Annotated[str, typer.Option(help="HOST:PORT; port 0: any that is free.")] = "127.0.0.1:8765",
    script: Annotated[
        Path | None, typer.Option(help="A file of timed actions instead of the agent's own mind.")
    ] = None,
    pipeline: Annotated[
        Path | None, typer.Option(help="A file with the HTTP servers that listen, think or speak instead.")
    ] = None,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
    attached: Annotated[
        bool, typer.Option(hidden=True, help="Read pipelines from standard input, and end when it closes.")
    ] = False,
) -> None:
    """Run the built-in agent alone: a Realtime server that answers offline."""
    import secrets

    from bridge.agent.pipeline_config import Pipeline, Pipelines
    from bridge.agent.script import Script, ScriptError
    from bridge.agent.server import run
    from bridge.agent.voice import ExtraMissing
    from bridge.pipeline_file import load_pipeline

    host, _, port = listen.rpartition(":")
    if not (host and port.isdigit()):
        _fail(f"--listen {listen}: write it as HOST:PORT, for example 127.0.0.1:8765")
    if log_level not in ("debug", "info", "warning", "error"):
        _fail(f"--log-level {log_level}: use debug, info, warning or error")
    logs.set_up(Log.model_validate({"level": log_level}))
    try:
        scripted = Script.load(script) if script else None
        pipelines = Pipelines.of(sys.stdin.buffer.readline()) if attached else Pipelines()
        if pipeline:
            pipelines = Pipelines(default=Pipeline.of(load_pipeline(pipeline, os.environ).revealed()))
        seed = 0 if scripted else secrets.randbits(31)  # a script repeats itself, ids included
        work = run(host, int(port), scripted, ready=_say_ready, seed=seed, pipelines=pipelines)
        _run(_until_stopped(work, attached))
    except (ScriptError, ExtraMissing, ConfigError, OSError) as error:
        _fail(f"the agent cannot start: {error}")


def _say_ready(url: str) -> None:
    sys.stdout.write(f"{url}\n")
    sys.stdout.flush()


async def _until_stopped(work: Coroutine[Any, Any, None], attached: bool) -> None:
    stop = asyncio.Event()
    # A signal to all processes of a service is meant for the parent: its calls may finish, so this end stays.
    told = asyncio.Event() if attached else stop
    _on_signals(told, told)
    if attached:
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        watching: asyncio.Task[Any] = asyncio.create_task(reader.read())
    else:
        watching = asyncio.create_task(asyncio.Event().wait())
    working, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    await asyncio.wait({working, watching, stopping}, return_when=asyncio.FIRST_COMPLETED)
    for task in (watching, stopping):
        task.cancel()
    if not working.done():
        working.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await working


@app.command()
def healthcheck(config: ConfigFile = None) -> None:
    """Ask the running service whether it is alive; exit 0 or 1."""
    host, port = _load(config).http.address
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    url = f"http://{host}:{port}/healthz"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=3) as answer:
            typer.echo(answer.read().decode().strip())
    except (urllib.error.URLError, OSError) as error:
        _fail(f"{url}: no answer: {getattr(error, 'reason', error)}")


@app.command()
def check(config: ConfigFile = None) -> None:
    """Check configuration, ports, address, key and a session of every agent; say what is wrong and what to do."""
    from bridge.checks import run_checks

    settings = _load(config)
    logs.set_up(settings.log.model_copy(update={"level": "error"}))
    raise typer.Exit(0 if _run(run_checks(settings)) else 1)


@app.command()
def route(
    to: Annotated[str, typer.Option(help="The dialled number, user@host or a sip URI.")] = "",
    from_: Annotated[str, typer.Option("--from", help="Who calls; default: anonymous.")] = "",
    header: Annotated[list[str] | None, typer.Option(help="'Name: value', as often as you like.")] = None,
    trunk: Annotated[str | None, typer.Option(help="The trunk the call comes on.")] = None,
    source: Annotated[str | None, typer.Option(help="The address it comes from, to find the trunk.")] = None,
    invite: Annotated[Path | None, typer.Option(help="A file with a captured INVITE, instead of --to ...")] = None,
    config: ConfigFile = None,
) -> None:
    """Show which route takes a call and why; exit 0 when an agent answers it, 1 when none does."""
    from bridge.route_command import Question, RouteError, run_route

    if bool(to) == bool(invite):
        _fail("say whom the call is for with --to, or give --invite FILE")
    if invite and (from_ or header):
        _fail("--invite has its own From and headers: leave --from and --header out")
    question = Question(to, from_, header or [], invite, trunk, source)
    try:
        taken = run_route(_load(config), question)
    except RouteError as error:
        _fail(str(error))
    raise typer.Exit(0 if taken else 1)


@app.command()
def call(
    uri: Annotated[str, typer.Argument(help="Whom to call, for example sip:600@127.0.0.1:5060.")],
    say: Annotated[list[str] | None, typer.Option(help="A sentence to speak when the other side is silent.")] = None,
    wav: Annotated[list[Path] | None, typer.Option(help="A WAV file to speak, after the sentences.")] = None,
    digits: Annotated[str, typer.Option(help="Keys to press after speaking.")] = "",
    keep: Annotated[Path | None, typer.Option(help="Keep what is heard as a WAV file.")] = None,
    seconds: Annotated[float, typer.Option(help="Hang up after so long.", min=1)] = 30,
    law: Annotated[str, typer.Option(help="pcmu or pcma.")] = "pcmu",
    interrupt_after: Annotated[
        float | None, typer.Option(help="Speak each further sentence so many seconds into the answer.")
    ] = None,
    user: Annotated[str | None, typer.Option(help="Who we are, where a password is asked for.")] = None,
    password: Annotated[str, typer.Option(help="Its password.", envvar="SIPBRIDGE_PASSWORD")] = "",
    ca: Annotated[Path | None, typer.Option(help="PEM file of whom to trust over TLS; default: the system's.")] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Do not verify certificates.")] = False,
) -> None:
    """A test phone: dial, speak, listen, and show the talk live.

    The URI says how: 'sip:600@pbx.example;transport=tcp', or tls; quotes keep the shell away from the semicolon.
    """
    from bridge.audio.g711 import Law
    from bridge.lines import PhoneError
    from bridge.media.dtmf import DIGITS
    from bridge.phone import Phone
    from bridge.sip.digest import Credentials
    from bridge.sip.tls import TlsSettings
    from bridge.tape import Tape

    logs.set_up(Log(level="warning"))
    if law.upper() not in Law.__members__:
        _fail(f"--law {law}: use pcmu or pcma")
    if not set(digits.upper()) <= set(DIGITS):
        _fail(f"--digits {digits}: telephone keys are {DIGITS}")
    if password and user is None:
        _fail("--password: say with --user whose it is")
    tape = None
    try:
        tape = Tape(keep) if keep else None
        phone = Phone(
            law=Law[law.upper()],
            tell=typer.echo,
            tape=tape,
            tls=TlsSettings(ca=ca, verify_servers=not insecure),
            login=Credentials(user, password) if user is not None else None,
        )
        answered = _run(_place(phone, uri, say or [], wav or [], digits, seconds, interrupt_after))
    except PhoneError as error:
        _fail(str(error))
    finally:
        if tape is not None:
            tape.close()
            typer.echo(f"        kept {tape.path}")
    raise typer.Exit(0 if answered else 1)


async def _place(
    phone: Phone,
    uri: str,
    say: list[str],
    wav: list[Path],
    digits: str,
    seconds: float,
    interrupt_after: float | None,
) -> bool:
    from bridge.lines import recorded, synthesized

    lines = await synthesized(say) + [recorded(path) for path in wav]
    lines[1:] = [replace(line, interrupt_after_s=interrupt_after) for line in lines[1:]]
    stop = asyncio.Event()
    _on_signals(stop, stop)
    return await phone.call(uri, lines, digits=digits, seconds=seconds, stop=stop)


def _load(path: Path | None) -> Config:
    if path is None and DEFAULT_FILE.exists():
        path = DEFAULT_FILE
    try:
        return load(path, os.environ)
    except ConfigError as error:
        _fail(str(error))


def _fail(words: str) -> NoReturn:
    typer.echo(words, err=True)
    raise typer.Exit(1)


def _run(work: Coroutine[Any, Any, Any]) -> Any:
    """Run on uvloop where it is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(work)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)
