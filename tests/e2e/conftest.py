"""What the tests on a real control plane share."""

from collections.abc import Iterator

import pytest

from controlplane import DEFAULT_POOLS, ControlPlane


@pytest.fixture(scope="session")
def control_plane(request: pytest.FixtureRequest) -> Iterator[ControlPlane]:
    """A control plane with the default pools and a default storage class, for the whole session."""
    capture = request.config.pluginmanager.getplugin("capturemanager")
    cluster = ControlPlane()
    # The first start may build the programs: its progress has to be seen while it happens.
    with capture.global_and_fixture_disabled():
        cluster.start()
    try:
        cluster.add_pools(DEFAULT_POOLS)
        cluster.add_storage_class()
        yield cluster
    finally:
        cluster.stop()
