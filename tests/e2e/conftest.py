"""What the tests on a real control plane share."""

from collections.abc import Iterator

import pytest

from controlplane import DEFAULT_POOLS, ControlPlane
from e2e.agreement import TALLY, settings_line


def pytest_report_collectionfinish(items: list[pytest.Item]) -> list[str]:
    """Say before a comparison of judge and policies how to have the same one again."""
    return [settings_line()] if any(item.path.name == "test_one_judge.py" for item in items) else []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say after it what was compared."""
    if TALLY.verdicts:
        terminalreporter.section("one judge")
        for line in (settings_line(), *TALLY.lines()):
            terminalreporter.write_line(line)


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


@pytest.fixture(scope="module")
def cluster() -> Iterator[ControlPlane]:
    """A control plane with the default pools for the tests of one file, which install what they want."""
    with ControlPlane(type_checking=False) as cluster:
        cluster.add_pools(DEFAULT_POOLS)
        yield cluster
