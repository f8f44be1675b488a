"""The big peers, each started once for a module; what is not here is skipped with the reason."""

from collections.abc import Iterator

import pytest

from tests.phones import peers
from tests.phones.asterisk import Asterisk
from tests.phones.certificates import Authority


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority that all sides trust."""
    if peers.Peer.installed("openssl") is None:
        pytest.skip("openssl is not installed")
    return Authority.make(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def pbx(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Asterisk]:
    """A running Asterisk."""
    if (peer := peers.asterisk()) is None:
        pytest.skip("no Asterisk here (scripts/peers says why)")
    with Asterisk.start(peer, tmp_path_factory.mktemp("pbx"), authority) as running:
        yield running
