"""Where a conversation with a private ElevenLabs agent is had: a signed URL, which is asked for before each one.

Facts: other-providers reference, section 4. A signed URL lets anybody who has it talk to the agent, so neither it nor
the key ever stands in an error.
"""

from __future__ import annotations

import ssl
from urllib.parse import urlsplit

import aiohttp
import orjson
from websockets.exceptions import InvalidURI
from websockets.uri import parse_uri

from bridge.realtime.dialer import Address, SessionFailed

ELEVENLABS_URL = "https://api.elevenlabs.io"
"""The default; data residency has hosts of its own, as `https://api.eu.residency.elevenlabs.io`."""
_SIGNED_URL = "/v1/convai/conversation/get-signed-url"
TIMEOUT_S = 5.0
_LONGEST_ANSWER_BYTES = 64 * 1024
_LONGEST_DETAIL = 200


class SignedUrl:
    """Asks for the address of the next conversation with a private agent (a `dialer.Find`)."""

    def __init__(
        self, agent_id: str, key: str, base: str = ELEVENLABS_URL, *, tls: ssl.SSLContext | None = None
    ) -> None:
        """`base` is http:// or https://; only the latter accepts nothing but wss:// in return."""
        self._agent_id = agent_id
        self._headers = {"xi-api-key": key}
        self._url = base.rstrip("/") + _SIGNED_URL
        self._schemes = ("wss",) if base.startswith("https:") else ("ws", "wss")
        self._tls = tls

    async def __call__(self) -> Address:
        """A fresh address. Raises SessionFailed: `http_4xx`, `unreachable`, `timeout` or `bad_signed_url`."""
        try:
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S), trust_env=True) as http:
                status, body = await self._ask(http)
        except TimeoutError as error:
            raise SessionFailed("timeout", f"no signed URL within {TIMEOUT_S:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise SessionFailed("unreachable", str(error) or type(error).__name__) from error
        if status != 200:
            raise SessionFailed(f"http_{status}", f"asked for a signed URL, answered {status} {_detail(body)}".strip())
        return Address(self._checked(body))

    async def _ask(self, http: aiohttp.ClientSession) -> tuple[int, bytes]:
        async with http.get(
            self._url,
            params={"agent_id": self._agent_id},
            headers=self._headers,
            ssl=self._tls or True,
            allow_redirects=False,  # the key goes to this host only
        ) as answer:
            body = b""
            async for piece in answer.content.iter_any():
                body += piece
                if len(body) > _LONGEST_ANSWER_BYTES:
                    raise SessionFailed("bad_signed_url", f"the answer is longer than {_LONGEST_ANSWER_BYTES} bytes")
            return answer.status, body

    def _checked(self, body: bytes) -> str:
        url = _member(body, "signed_url")
        try:  # the dialer's own error would name the URL
            usable = isinstance(url, str) and urlsplit(url).scheme in self._schemes and bool(parse_uri(url))
        except (ValueError, InvalidURI):
            usable = False
        if not usable:
            raise SessionFailed("bad_signed_url", f"the answer holds no URL that begins with {self._schemes[0]}://")
        return str(url)


def _detail(body: bytes) -> str:
    """What the service says of its refusal: `{"detail": {"status": ..., "message": ...}}`, or a plain text there."""
    detail = _member(body, "detail")
    if isinstance(detail, dict):
        detail = detail.get("message")
    return detail[:_LONGEST_DETAIL] if isinstance(detail, str) else ""


def _member(body: bytes, name: str) -> object:
    try:
        answer = orjson.loads(body)
    except ValueError:
        return None
    return answer.get(name) if isinstance(answer, dict) else None
