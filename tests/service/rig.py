"""The service as a user runs it: a process of its own, a configuration file, ports, metrics.

The Realtime server at its other end is the built-in agent in the test's own loop, following a script, with a journal.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys
import urllib.request
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from bridge.agent.script import Script
from bridge.agent.server import AgentServer, AgentSession
from tests.phones.certificates import Authority
from tests.phones.processes import NotReady, Program, free_port, free_port_range, free_signalling_port
from tests.realtime_events import problems

RTP_PORTS = 200


class Service(Program):
    """A running `sipbridge serve`."""

    sip_port: int
    """UDP and TCP, at 127.0.0.1 and ::1."""
    tls_port: int
    http_port: int

    @classmethod
    async def started(
        cls,
        folder: Path,
        agent: Mapping[str, Any],
        *,
        environ: Mapping[str, str] | None = None,
        listen: Sequence[str] = ("udp",),
        authority: Authority | None = None,
        until: str = "/readyz",
        **sections: Any,
    ) -> Service:
        """Start it with one agent and wait until the page `until` says 200. NotReady with its log when it does not.

        `listen` names the transports: udp, tcp, and tls, for which `authority` issues the certificate; with a 6
        behind it at ::1.
        """
        sip, http, rtp = free_signalling_port(), free_port(socket.SOCK_STREAM), free_port_range(RTP_PORTS)
        tls = free_port(socket.SOCK_STREAM)
        addresses = [_address(name, tls if name.startswith("tls") else sip) for name in listen]
        config: dict[str, Any] = {
            "sip": {"listen": addresses} | _tls(authority) | sections.pop("sip", {}),
            "media": {"ports": f"{rtp}-{rtp + RTP_PORTS - 1}"} | sections.pop("media", {}),
            "agents": {"test": dict(agent)},
            "http": {"listen": f"127.0.0.1:{http}"},
            # A machine with other tests on it is late for no fault of the service: then no call is to be refused.
            "limits": {"late_ms": 0} | sections.pop("limits", {}),
            "log": {"level": "debug", "format": "json"} | sections.pop("log", {}),
        }
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "sipbridge.yaml"
        path.write_text(yaml.safe_dump(config | sections))
        command = [sys.executable, "-m", "bridge", "serve", "--config", str(path)]
        service = cls(command, folder, environment=dict(os.environ) | dict(environ or {}))
        service.sip_port, service.tls_port, service.http_port = sip, tls, http
        try:
            await service._until_ready(until)
        except NotReady:
            service.stop()
            raise
        return service

    async def _until_ready(self, page: str, within: float = 20) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                while self.process.poll() is None:
                    status, _ = await self.get(page)
                    if status == 200:
                        return
                    await asyncio.sleep(0.05)
        raise NotReady(self.said())

    async def get(self, path: str) -> tuple[int, str]:
        """Status and text of a page; status 0 when nobody answers."""
        return await asyncio.to_thread(_get, f"http://127.0.0.1:{self.http_port}{path}")

    async def metrics(self) -> dict[str, float]:
        """All samples, `name{labels}` → value."""
        _, text = await self.get("/metrics")
        rows = (line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#"))
        return {name: float(value) for name, _, value in rows}

    async def until(self, metric: str, value: float, within: float = 10) -> None:
        """Wait until a metric has reached a value; TimeoutError with what it has."""
        seen: float | None = None
        try:
            async with asyncio.timeout(within):
                while (seen := (await self.metrics()).get(metric, 0)) < value:
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise TimeoutError(f"{metric} is {seen}, not {value}\n{self.said()}") from None

    def uri(self, transport: str = "udp", user: str = "600") -> str:
        """Where a phone dials it over that transport."""
        port = self.tls_port if transport == "tls" else self.sip_port
        return f"sip:{user}@127.0.0.1:{port};transport={transport}"

    def cpu_seconds(self) -> float:
        """CPU time of the service so far, user and system, as the system counts it."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def lines(self) -> list[dict[str, Any]]:
        """The log, line by line; a line that is not JSON fails the test."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def events(self, name: str) -> list[dict[str, Any]]:
        """The log lines of one event."""
        return [line for line in self.lines() if line["event"] == name]


def _address(name: str, port: int) -> str:
    host = "[::1]" if name.endswith("6") else "127.0.0.1"
    return f"{name.removesuffix('6')}://{host}:{port}"


def _tls(authority: Authority | None) -> dict[str, Any]:
    if authority is None:
        return {}
    own = authority.issue("service")
    return {"tls": {"certificate": str(own.certificate), "key": str(own.key), "ca": str(authority.certificate)}}


def _get(url: str) -> tuple[int, str]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


@contextlib.asynccontextmanager
async def bench(
    folder: Path, script: str = "{}", *, agent: Mapping[str, Any] | None = None, **more: Any
) -> AsyncIterator[tuple[Service, AgentServer]]:
    """The service and the scripted server; at the end every event of both sides is judged by the published types."""
    server_options = {name: more.pop(name) for name in ("keys", "models", "echo_format", "journal") if name in more}
    server = AgentServer(script=Script.parse(script), **{"journal": True} | server_options)
    url = await server.start()
    try:
        with await Service.started(folder, {"provider": url} | dict(agent or {}), **more) as service:
            yield service, server
    finally:
        await server.close()
    for session in server.sessions:
        assert_valid(session)


def assert_valid(session: AgentSession) -> None:
    """Every event that either side sent is one that the published types know, strictly."""
    for _, event in session.received:
        assert problems(event, "client") == [], event
    for _, event in session.sent:
        if event.get("type") != "filler":
            assert problems(event, "server") == [], event


async def ended(session: AgentSession, within: float = 5) -> AgentSession:
    """The session, once its connection is over and its journal complete."""
    async with asyncio.timeout(within):
        await session.done.wait()
    return session
