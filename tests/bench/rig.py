"""Service, server and callers together, each on its cores, for one kind of traffic."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.bench import certificate
from tests.bench.bench_service import BenchService
from tests.bench.cases import Traffic
from tests.bench.programs import Json, Pinned, ProgramFailed

_START_S = 20.0
SETTLED_S = 60.0
"""The longest wait for the last INVITE to be answered, beyond the time that the calls take to be placed."""
CALLER = (sys.executable, "-m", "tests.bench.caller")
SERVER = (sys.executable, "-m", "tests.bench.server")
WOKEN = (*SERVER, "--look-us", "0")
"""Sleeps until something comes, and who sends pays for waking it."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What holds for every measurement of a run."""

    service_core: int = 0
    load_cores: tuple[int, ...] = (1,)
    seconds: float = 10.0
    """Of a window."""
    settle_s: float = 2.0
    """Between the last answer and the window: greetings have begun, and the set-ups are paid."""
    rate: float = 30.0
    """Calls placed per second."""
    caller: tuple[str, ...] = CALLER
    server: tuple[str, ...] = SERVER
    build: Path | None = None
    """Where the service is imported from; None: the source as it is."""


class Rig:
    """Server and service, from entering to leaving; callers as wanted."""

    service: BenchService
    server: Pinned

    def __init__(self, setting: Setting, traffic: Traffic, server_options: Sequence[str] = ()) -> None:
        self.setting = setting
        self.traffic = traffic
        self._server_options = list(server_options)
        self._callers: list[Pinned] = []
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with self._open as opening:
            self.folder = Path(opening.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
            provider, environ = self._start_server()
            setting = self.setting
            self.service = BenchService.started(
                self.folder, self.traffic, provider, setting.service_core, environ, setting.build
            )
            opening.enter_context(self.service)
            self._open = opening.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def caller(self, calls: int, *options: str, rate: float | None = None) -> Pinned:
        """Place calls; it runs until it is told to stop, or the rig ends."""
        command = [*self.setting.caller, "--target", self.service.target, "--calls", str(calls)]
        command += ["--rate", f"{rate or self.setting.rate:g}", "--law", self.traffic.law, *options]
        if self.traffic.srtp:
            command.append("--srtp")
        caller = Pinned(command, self.setting.load_cores, self.folder / "caller.log")
        self._callers.append(self._open.enter_context(caller))
        return caller

    def settled(self, caller: Pinned, calls: int) -> Json:
        """Wait until every INVITE of a caller is answered: {"up", "refused"}."""
        return caller.line(calls / self.setting.rate + SETTLED_S)

    def pids(self) -> list[int]:
        """Everything of ours that runs, this process too."""
        return [program.pid for program in (self.service, self.server, *self._callers) if program.runs] + [os.getpid()]

    def _start_server(self) -> tuple[str, dict[str, str]]:
        """The URL of the session, and what the service's environment needs for it."""
        options, environ, scheme = list(self._server_options), {}, "ws"
        if self.traffic.tls:
            made = certificate.make(self.folder)
            options += ["--tls-cert", str(made.certificate), "--tls-key", str(made.key)]
            environ, scheme = {"SSL_CERT_FILE": str(made.certificate)}, "wss"
        if self.traffic.barge_in_ms:
            options += ["--barge-in-ms", str(self.traffic.barge_in_ms)]
        command = [*self.setting.server, *options]
        self.server = self._open.enter_context(Pinned(command, self.setting.load_cores, self.folder / "server.log"))
        port = self.server.line(_START_S).get("port")
        if not isinstance(port, int):
            raise ProgramFailed(self.server.last_words())
        return f"{scheme}://127.0.0.1:{port}/v1/realtime", environ
