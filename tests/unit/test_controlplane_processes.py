"""Processes are waited for, explained when they fail, and never left behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from controlplane.errors import ControlPlaneError
from controlplane.process import Component, Watchdog, kill_all, last_lines


@pytest.fixture
def watchdog(tmp_path: Path) -> Iterator[Watchdog]:
    folder = tmp_path / "data"
    folder.mkdir()
    dog = Watchdog(folder)
    yield dog
    dog.release()


def component(watchdog: Watchdog, log: Path, script: str, problem: str | None = None) -> Component:
    command = ["/bin/sh", "-c", script]
    return Component(name="thing", command=command, log=log, ready=lambda: problem, group=watchdog.group)


def alive(pid: int) -> bool:
    """Whether a process runs; one that is dead and not reaped yet does not."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return state.stdout.strip() not in ("", "Z", "Z+")


def wait_until_dead(pid: int) -> None:
    deadline = time.monotonic() + 10
    while alive(pid):
        assert time.monotonic() < deadline, f"process {pid} still runs"
        time.sleep(0.02)


def test_a_component_that_ends_shows_the_end_of_its_log(watchdog: Watchdog, tmp_path: Path) -> None:
    script = "seq 100; echo 'cannot open the database' >&2; exit 3"
    failing = component(watchdog, tmp_path / "log", script, problem="refused")
    failing.start()

    with pytest.raises(ControlPlaneError, match="thing ended with status 3") as caught:
        failing.wait_until_ready(10)
    lines = str(caught.value).splitlines()
    assert lines[-1] == "  cannot open the database"
    assert lines[1] == "  77"


def test_a_component_that_is_never_ready_says_what_it_answered(watchdog: Watchdog, tmp_path: Path) -> None:
    slow = component(watchdog, tmp_path / "log", "exec sleep 60", problem="/readyz answers 500")
    slow.start()

    with pytest.raises(ControlPlaneError, match=r"was not ready after 0 s \(/readyz answers 500\).*\(nothing\)"):
        slow.wait_until_ready(0.1)
    slow.kill()


def test_what_was_stopped_on_purpose_is_no_failure(watchdog: Watchdog, tmp_path: Path) -> None:
    stopped = component(watchdog, tmp_path / "log", "exec sleep 60", problem="refused")
    stopped.start()
    stopped.terminate()

    stopped.check()
    stopped.wait_until_ready(0)
    assert not stopped.running


def test_a_component_that_was_stopped_can_be_started_again(watchdog: Watchdog, tmp_path: Path) -> None:
    again = component(watchdog, tmp_path / "log", "echo hello; exec sleep 60")
    again.start()
    first = again.pid
    again.kill()
    again.start()

    assert again.running
    assert again.pid != first
    again.kill()


def test_a_component_is_not_started_twice(watchdog: Watchdog, tmp_path: Path) -> None:
    once = component(watchdog, tmp_path / "log", "exec sleep 60")
    once.start()

    with pytest.raises(ControlPlaneError, match="runs already"):
        once.start()
    kill_all([once])
    assert not alive(once.pid)


def test_a_component_sees_nothing_of_the_users_settings(
    watchdog: Watchdog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """etcd takes every flag from a variable too, ETCD_DATA_DIR for one."""
    monkeypatch.setenv("ETCD_DATA_DIR", "/precious")
    printing = component(watchdog, tmp_path / "log", "env; echo done; exec sleep 60")
    printing.start()
    while "done" not in last_lines(tmp_path / "log"):
        time.sleep(0.01)

    assert "precious" not in (tmp_path / "log").read_text()
    printing.kill()


def test_no_log_has_no_last_lines(tmp_path: Path) -> None:
    assert last_lines(tmp_path / "log") == []


STARTER = """
import sys, time
from pathlib import Path
from controlplane.process import Component, Watchdog
folder = Path(sys.argv[1])
watchdog = Watchdog(folder)
script = "trap '' TERM HUP INT; sleep 600 & echo $! > child; while :; do wait; done"
stubborn = Component(
    name="x", command=["/bin/sh", "-c", script], log=folder / "log", ready=lambda: None, group=watchdog.group
)
stubborn.start()
print(stubborn.pid, watchdog.group, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_process_survives_the_one_that_started_it(tmp_path: Path, number: signal.Signals) -> None:
    """Not even one that ignores signals, nor what it started itself; and the folder goes too."""
    folder = tmp_path / "data"
    folder.mkdir()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER, str(folder)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert starter.stdout is not None
        pids = [int(word) for word in starter.stdout.readline().split()]
        while not (folder / "child").exists() or not (folder / "child").read_text():
            time.sleep(0.01)
        pids.append(int((folder / "child").read_text()))
        assert all(alive(pid) for pid in pids)
        starter.send_signal(number)
        starter.wait(timeout=10)
    finally:
        starter.kill()
        starter.communicate()

    for pid in pids:
        wait_until_dead(pid)
    deadline = time.monotonic() + 10
    while folder.exists():
        assert time.monotonic() < deadline, "the data folder is still there"
        time.sleep(0.02)
