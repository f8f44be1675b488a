"""`sipbridge check`: each thing a start needs, tried one by one, with the next step where it fails."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Mapping

import typer

from bridge.announcements import prepare
from bridge.audio.g711 import Law
from bridge.builtin import BuiltinAgent, BuiltinAgentFailed
from bridge.config import HIDDEN, Config
from bridge.logs import shown
from bridge.media.ports import NoPort, PortPool
from bridge.profile import Profile, needs_builtin, needs_plain_agent, pipelines_of, profiles
from bridge.realtime.dialer import SessionFailed
from bridge.realtime.faults import ADVICE, retired
from bridge.signalling import why_not_bound
from bridge.sip.uri import host_port
from bridge.sounds import SoundError
from bridge.trunk_checks import Finding, server_findings, trunk_findings

SHOWN = {True: "ok  ", False: "FAIL", None: "warn"}


async def run_checks(config: Config) -> bool:
    """Try everything and print it; whether all is well."""
    all_well = True
    async for finding in _findings(config):
        all_well &= finding.well is not False
        typer.echo(f"{SHOWN[finding.well]}  {finding.what}: {shown(finding.words)}")
    typer.echo(
        "all is well: start it with `sipbridge serve`" if all_well else "mend the lines marked FAIL, then check again"
    )
    return all_well


async def _findings(config: Config) -> AsyncIterator[Finding]:
    yield Finding("configuration", True, f"{len(config.agents)} agent(s), {len(config.routes)} route(s)")
    for finding in (
        *_routes(config),
        *_listeners(config),
        _rtp_ports(config),
        _address(config),
        *trunk_findings(config),
    ):
        yield finding
    async for finding in server_findings(config):
        yield finding
    async for finding in _agents(config):
        yield finding


def _routes(config: Config) -> list[Finding]:
    return [
        Finding(f"route {number}", None, f"can never fit: {HIDDEN.format(first)}")
        for number, first in config.hidden_routes()
    ]


def _listeners(config: Config) -> list[Finding]:
    found = []
    for endpoint in config.sip.endpoints():
        kind = socket.SOCK_DGRAM if endpoint.transport == "udp" else socket.SOCK_STREAM
        what = f"sip {endpoint.transport}://{host_port(endpoint.host, endpoint.port)}"
        found.append(_bindable(what, kind, endpoint.host, endpoint.port))
    host, port = config.http.address
    return [*found, _bindable(f"http {host_port(host, port)}", socket.SOCK_STREAM, host, port)]


def _bindable(what: str, kind: socket.SocketKind, host: str, port: int) -> Finding:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, kind) as probe:
            if kind is socket.SOCK_STREAM:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family is socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind((host, port))
    except OSError as error:
        return Finding(what, False, why_not_bound(error))
    return Finding(what, True, "free")


def _rtp_ports(config: Config) -> Finding:
    pool = PortPool(*config.media.port_range)
    what = f"rtp {config.media.ports}"
    try:
        pool.release(pool.open("0.0.0.0"))
    except (NoPort, OSError) as error:
        return Finding(what, False, f"{error}: choose another range in media.ports")
    if pool.size < config.limits.calls:
        return Finding(what, False, f"{pool.size} calls at most: widen media.ports or lower limits.calls")
    return Finding(what, True, f"room for {pool.size} calls")


def _address(config: Config) -> Finding:
    address = config.sip.advertise
    if address != "auto":
        return Finding("advertised address", True, address)
    families = {socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET for endpoint in config.sip.endpoints()}
    found = [text for family in sorted(families) if (text := _on_default_route(family))]
    if not found:
        return Finding("advertised address", True, "found per peer; no default route: only local peers are reached")
    return Finding("advertised address", True, f"{' and '.join(found)} on the default route, found for each peer")


def _on_default_route(family: socket.AddressFamily) -> str:
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            # Nothing is sent: it only asks the routing table (addresses of RFC 5737 and RFC 3849).
            probe.connect(("2001:db8::1" if family is socket.AF_INET6 else "192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return ""


async def _agents(config: Config) -> AsyncIterator[Finding]:
    builtin = BuiltinAgent(pipelines=pipelines_of(config), plain=needs_plain_agent(config))
    try:
        if needs_builtin(config):
            await builtin.start()
        known = profiles(config, os.environ, builtin.url)
        yield await _sounds(config, known)
        for profile in known.values():
            for finding in _doubts(profile):
                yield finding
            yield await _round_trip(profile, config.limits.session_timeout_s)
    except BuiltinAgentFailed as error:
        yield Finding("built-in agent", False, str(error))
    finally:
        await builtin.close()


async def _sounds(config: Config, known: Mapping[str, Profile]) -> Finding:
    try:
        await prepare(config, known)
    except SoundError as error:
        return Finding("announcements", False, str(error))
    return Finding("announcements", True, "ready")


def _doubts(profile: Profile) -> list[Finding]:
    """What would surprise somebody later."""
    what = f"agent {profile.name}"
    found = [
        Finding(what, None, f"{tool} is not offered: say in agents.{profile.name}.transfer.targets whom to")
        for tool in profile.offered.missing
    ]
    if advice := retired(profile.agent.model or ""):
        found.append(Finding(what, None, advice))
    if profile.agent.pipeline is not None:
        found.append(Finding(what, None, "the servers of its pipeline are not tried: only a call tells"))
    return found


async def _round_trip(profile: Profile, timeout_s: float) -> Finding:
    what = f"agent {profile.name}"
    if profile.lacks_key:
        return Finding(what, False, f"there is no key: set {profile.key_variable}, or use `provider: builtin`")
    session = profile.session(profile.format_for(Law.PCMU))
    began = asyncio.get_running_loop().time()
    try:
        ready = await session.open(timeout_s)
        took = asyncio.get_running_loop().time() - began
    except SessionFailed as failure:
        return Finding(what, False, f"{failure}: {ADVICE.get(failure.reason, 'see the service message')}")
    finally:
        await session.close()
    heard, spoken = ready.audio_in.name, ready.audio_out.name
    model = "the built-in agent" if profile.is_builtin else ready.model
    return Finding(what, True, f"session of {model} in {took * 1000:.0f} ms, {heard} in, {spoken} out")
