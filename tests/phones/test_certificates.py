import asyncio
import shutil
import ssl
from pathlib import Path

import pytest

from tests.phones.certificates import Authority, Certificate

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")


async def greet(own: Certificate, trusted: Authority, name: str) -> None:
    """A TLS connection on loopback, verified."""
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving.load_cert_chain(own.both)
    trusting = ssl.create_default_context(cafile=trusted.certificate)
    done = asyncio.Event()
    server = await asyncio.start_server(lambda _, writer: (writer.close(), done.set()), "127.0.0.1", 0, ssl=serving)
    async with server:
        port = server.sockets[0].getsockname()[1]
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting, server_hostname=name)
        writer.close()
        await done.wait()


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
async def test_a_certificate_is_trusted_for_its_names(tmp_path: Path, name: str) -> None:
    authority = Authority.make(tmp_path)
    await greet(authority.issue("service"), authority, name)


async def test_no_other_name_and_no_other_authority_is_trusted(tmp_path: Path) -> None:
    authority, other = Authority.make(tmp_path / "one"), Authority.make(tmp_path / "other")
    own = authority.issue("service", ("DNS:pbx.test",))
    with pytest.raises(ssl.SSLCertVerificationError):
        await greet(own, authority, "localhost")
    with pytest.raises(ssl.SSLCertVerificationError):
        await greet(own, other, "pbx.test")
    await greet(own, authority, "pbx.test")
