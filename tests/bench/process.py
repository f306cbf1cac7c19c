"""What the kernel says of a process: its memory and its CPU time."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Memory:
    """In MB of a million bytes."""

    resident: float
    peak: float
    """The most that was ever resident."""

    @classmethod
    def parse(cls, status: str) -> Self:
        """Read ``/proc/PID/status``."""
        lines = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
        resident, peak = (int(lines[name].removesuffix("kB")) * 1024 / 1e6 for name in ("VmRSS", "VmHWM"))
        return cls(resident, peak)


def cpu_seconds(stat: str, ticks: int = TICKS) -> float:
    """Read user and system time of all threads from ``/proc/PID/stat``; the name may have any character in it."""
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / ticks


@dataclass(frozen=True, slots=True)
class Process:
    """A process of this machine."""

    pid: int

    @property
    def memory(self) -> Memory:
        """Its memory now."""
        return Memory.parse(self._read("status"))

    @property
    def cpu(self) -> float:
        """The seconds of CPU time that it has had, all threads together."""
        return cpu_seconds(self._read("stat"))

    def _read(self, name: str) -> str:
        return Path(f"/proc/{self.pid}/{name}").read_text()
