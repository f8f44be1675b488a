"""The stub resolver of dnspython, bounded: what a stranger's zone says must cost neither memory nor time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import dns.asyncresolver
import dns.inet
import dns.message
import dns.nameserver
import dns.resolver

MAX_TTL_S = 3600.0
MAX_NEGATIVE_TTL_S = 60.0
MAX_CACHED = 1000
MAX_ANSWER = 4096
"""Bytes of an answer over TCP: reading 64 KiB of records would hold up the audio of all calls."""


def stub_resolver(nameservers: Sequence[str] | None, port: int, attempt_s: float) -> dns.asyncresolver.Resolver:
    """A resolver that gives every server `attempt_s` before it asks the next.

    `nameservers` are IP literals, ValueError for others; None takes the system's, if it has any.
    """
    made = dns.asyncresolver.Resolver(configure=False)
    if nameservers is None:
        nameservers = _of_the_system(made)
    made.nameservers = [_Nameserver(host, port) for host in nameservers]
    made.timeout = attempt_s
    made.cache = BoundedCache(MAX_CACHED)
    return made


def _of_the_system(made: dns.asyncresolver.Resolver) -> list[str]:
    try:
        made.read_resolv_conf("/etc/resolv.conf")
    except (dns.resolver.NoResolverConfiguration, ValueError):
        return []  # The machine may know names without any DNS.
    return [host for host in made.nameservers if isinstance(host, str)]


class BoundedCache(dns.resolver.LRUCache):
    """Forgets in time what a zone would have us believe, or believe to be missing, for years."""

    def put(self, key: dns.resolver.CacheKey, value: dns.resolver.Answer) -> None:
        longest = MAX_NEGATIVE_TTL_S if value.rrset is None else MAX_TTL_S
        value.expiration = min(value.expiration, time.time() + longest)
        super().put(key, value)


class _Nameserver(dns.nameserver.Do53Nameserver):
    """A DNS server whose answers over TCP are refused when they are too long."""

    def __init__(self, address: str, port: int) -> None:
        if not dns.inet.is_address(address):
            raise ValueError(f"{address!r} is no IP address of a DNS server")
        super().__init__(address, port)

    async def async_query(
        self,
        request: dns.message.QueryMessage,
        timeout: float,  # noqa: ASYNC109 - dnspython's signature
        source: str | None,
        source_port: int,
        max_size: bool,
        backend: Any,
        one_rr_per_rrset: bool = False,
        ignore_trailing: bool = False,
    ) -> dns.message.Message:
        """Ask over UDP, or with `max_size` over TCP, which dnspython does after a truncated answer."""
        if not max_size:
            return await super().async_query(request, timeout, source, source_port, max_size, backend)
        async with asyncio.timeout(timeout):
            return await self._ask_stream(request)

    async def _ask_stream(self, request: dns.message.QueryMessage) -> dns.message.Message:
        reader, writer = await asyncio.open_connection(self.address, self.port)
        try:
            writer.write(request.to_wire(prepend_length=True))
            size = int.from_bytes(await reader.readexactly(2))
            if size > MAX_ANSWER:
                raise OSError(f"an answer of {size} bytes")
            response = dns.message.from_wire(await reader.readexactly(size))
        finally:
            writer.close()
        if not request.is_response(response):
            raise OSError("the answer to another question")
        return response
