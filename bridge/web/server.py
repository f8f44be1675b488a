"""`/metrics`, `/healthz` and `/readyz` over aiohttp."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Protocol

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

FAMILIES_AT_ONCE = 8
"""Written before packets get their turn: a quarter of a millisecond."""


class Service(Protocol):
    """What the pages need to know of the service."""

    def readiness(self) -> str:
        """Empty when calls are welcome and can come, else why not."""
        ...

    def registrations(self) -> list[tuple[str, str, str]]:
        """Name, state and detail of each registration of ours."""
        ...

    async def gather(self) -> None:
        """Read what the next scrape needs of the calls."""
        ...


class _Some(Collector):
    """Families that were read already."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


class WebServer:
    """The HTTP listener."""

    def __init__(self, service: Service, registry: CollectorRegistry) -> None:
        self._service = service
        self._registry = registry
        self._runner: web.AppRunner | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port, which matters for port 0. Raises OSError."""
        app = web.Application()
        app.add_routes(
            [
                web.get("/metrics", self._metrics),
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        await site.start()
        return int(self._runner.addresses[0][1])

    async def close(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _metrics(self, _: web.Request) -> web.Response:
        await self._service.gather()
        families, pieces = list(self._registry.collect()), []
        for at in range(0, len(families), FAMILIES_AT_ONCE):
            pieces.append(generate_latest(_Some(families[at : at + FAMILIES_AT_ONCE])))
            await asyncio.sleep(0)
        return web.Response(body=b"".join(pieces), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.Response(text="alive\n")

    async def _readyz(self, _: web.Request) -> web.Response:
        why_not = self._service.readiness()
        states = [f"{name}: {state}: {detail}" for name, state, detail in self._service.registrations()]
        lines = [why_not or "ready", *states]
        return web.Response(status=503 if why_not else 200, text="".join(f"{line}\n" for line in lines))
