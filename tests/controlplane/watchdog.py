"""Kills the components and removes their data when the process that started them is gone.

Run as a program, with the data folder as its argument and one end of a pipe as its standard
input. It leads the process group that every component is put into. Nobody writes to the pipe:
it ends when the other process closes it or dies, of SIGKILL too, and then the group is killed.

A process group is better here than a list of process ids: a component belongs to it before it
runs its first instruction, and an id that was given to somebody else is never hit.
"""

import os
import shutil
import signal
import sys
import time

GONE_SECONDS = 5.0


def wait_for_the_end() -> None:
    """Block until the other end of the pipe is closed."""
    while os.read(0, 1):
        pass


def clean_up(group: int, folder: str) -> None:
    """Kill the process group and remove the folder; to be called from outside the group."""
    os.killpg(group, signal.SIGKILL)
    deadline = time.monotonic() + GONE_SECONDS
    while time.monotonic() < deadline and group_exists(group):
        time.sleep(0.02)
    shutil.rmtree(folder, ignore_errors=True)


def group_exists(group: int) -> bool:
    """Whether any process of the group is left; one that nobody has reaped yet counts."""
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def main() -> None:
    """Wait, then clean up from a process that is not in the group it kills."""
    folder = sys.argv[1]
    wait_for_the_end()
    group = os.getpgrp()
    if os.fork() == 0:
        os.setpgid(0, 0)
        clean_up(group, folder)


if __name__ == "__main__":
    main()
