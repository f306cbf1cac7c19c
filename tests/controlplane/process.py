"""Starting components, waiting until they are ready, and stopping them for certain."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from controlplane.errors import ControlPlaneError

POLL_SECONDS: Final = 0.05
STOP_SECONDS: Final = 20.0
LOG_LINES: Final = 25

ReadyCheck = Callable[[], str | None]
"""Asks a component whether it is ready: None when it is, otherwise what it answered."""


class Watchdog:
    """Owns the process group of the components; see `controlplane.watchdog`."""

    def __init__(self, folder: Path) -> None:
        program = Path(__file__).with_name("watchdog.py")
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(program), str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            process_group=0,
        )

    @property
    def group(self) -> int:
        """The process group to put components into."""
        return self._process.pid

    def release(self) -> None:
        """Let it do its work now: whatever is left in the group is killed."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()


@dataclass(kw_only=True)
class Component:
    """One process of the control plane."""

    name: str
    command: Sequence[str]
    log: Path
    ready: ReadyCheck
    group: int
    _process: subprocess.Popen[bytes] | None = field(init=False, default=None)
    _stopped: bool = field(init=False, default=False)

    def start(self) -> None:
        """Start the process; it is not ready yet (`wait_until_ready`)."""
        if self.running:
            raise ControlPlaneError(f"{self.name} runs already")
        self._stopped = False
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=self.group,
                cwd=self.log.parent,
                env=self._environment(),
            )

    @property
    def running(self) -> bool:
        """Whether the process was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process id of the component."""
        if self._process is None:
            raise ControlPlaneError(f"{self.name} was not started")
        return self._process.pid

    def wait_until_ready(self, timeout: float) -> None:
        """Return when the component says it is ready; otherwise tell why not, with its log.

        One that was stopped on purpose is not waited for.
        """
        deadline = time.monotonic() + timeout
        while not self._stopped and (problem := self.ready()) is not None:
            self.check()
            if time.monotonic() > deadline:
                raise self._failure(f"was not ready after {timeout:.0f} s ({problem})")
            time.sleep(POLL_SECONDS)

    def check(self) -> None:
        """Raise an error with the last lines of the log if the process ended by itself."""
        status = None if self._process is None or self._stopped else self._process.poll()
        if status is not None:
            raise self._failure(f"ended with status {status}")

    def terminate(self) -> None:
        """Ask the process to stop, wait for it, and kill it when it does not."""
        if self._process is None:
            return
        self._stopped = True
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End the process with SIGKILL and wait until it is gone."""
        self.send_kill()
        if self._process is not None:
            self._process.wait()

    def send_kill(self) -> None:
        """End the process with SIGKILL without waiting."""
        self._stopped = True
        if self._process is not None:
            self._process.kill()

    def _environment(self) -> dict[str, str]:
        # Not the user's: etcd reads its settings from variables, others find credentials in HOME.
        return {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(self.log.parent)}

    def _failure(self, what: str) -> ControlPlaneError:
        lines = "".join(f"\n  {line}" for line in last_lines(self.log))
        return ControlPlaneError(f"{self.name} {what}; the last lines of its log:{lines or ' (nothing)'}")


def last_lines(log: Path, count: int = LOG_LINES) -> list[str]:
    """The last lines of a log file, none when there is no file."""
    if not log.exists():
        return []
    return log.read_text(encoding="utf-8", errors="replace").splitlines()[-count:]


def kill_all(components: Iterable[Component]) -> None:
    """Kill every component at once: their data is thrown away, so there is nothing to finish."""
    components = list(components)
    for component in components:
        component.send_kill()
    for component in components:
        component.kill()
