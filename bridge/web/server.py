"""`/metrics`, `/healthz` and `/readyz` over aiohttp."""

from __future__ import annotations

from typing import Protocol

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest


class Service(Protocol):
    """What the pages need to know of the service."""

    def readiness(self) -> str:
        """Empty when calls are welcome and can come, else why not."""
        ...

    def registrations(self) -> list[tuple[str, str, str]]:
        """Name, state and detail of each registration of ours."""
        ...


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
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.Response(text="alive\n")

    async def _readyz(self, _: web.Request) -> web.Response:
        why_not = self._service.readiness()
        states = [f"{name}: {state}: {detail}" for name, state, detail in self._service.registrations()]
        lines = [why_not or "ready", *states]
        return web.Response(status=503 if why_not else 200, text="".join(f"{line}\n" for line in lines))
