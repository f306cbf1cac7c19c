"""Builds the control plane from its Go modules, once, into a cache outside the tree."""

import contextlib
import fcntl
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from controlplane import binaries
from controlplane.binaries import KUBERNETES_VERSION, TOOLS, Report, Tool, parse_version
from controlplane.errors import ControlPlaneError

MODULE: Final = Path(__file__).with_name("go")
HEARTBEAT_SECONDS: Final = 20.0
# What the estimates in TOOLS were measured on.
MEASURED_CORES: Final = 2
CACHE_GIGABYTES: Final = 6
_MAJOR, _MINOR, _ = KUBERNETES_VERSION.split(".")
LINKER_FLAGS: Final = " ".join(
    [
        "-s -w",
        f"-X k8s.io/component-base/version.gitVersion=v{KUBERNETES_VERSION}",
        f"-X k8s.io/component-base/version.gitMajor={_MAJOR}",
        f"-X k8s.io/component-base/version.gitMinor={_MINOR}",
        f"-X k8s.io/client-go/pkg/version.gitVersion=v{KUBERNETES_VERSION}",
    ]
)
BUILD_FLAGS: Final = ("-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags", LINKER_FLAGS)


def to_stderr(line: str) -> None:
    """Report to whoever is watching."""
    print(f"control plane: {line}", file=sys.stderr, flush=True)


ALL: Final = tuple(tool.name for tool in TOOLS)


# Once for a process: what lies on this machine is asked for its version, which takes a second.
@functools.cache
def ensure(report: Report = to_stderr, names: tuple[str, ...] = ALL) -> Mapping[str, Path]:
    """The programs by name: those of this machine that fit, the others from the cache or built."""
    tools = [tool for tool in TOOLS if tool.name in names]
    found = binaries.find(tools, os.environ, report)
    cached = cache_folder()
    missing = [tool for tool in tools if tool.name not in found and not (cached / tool.name).exists()]
    if missing:
        with _alone(cached, report):
            _build(missing, cached, report)
    return {tool.name: found.get(tool.name, cached / tool.name) for tool in tools}


def cache_folder() -> Path:
    """Where the built programs are kept: a folder for exactly these sources and flags."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "residency" / "controlplane" / cache_key() / "bin"


def cache_key() -> str:
    """Changes with everything that changes what is built."""
    digest = hashlib.sha256()
    for name in ("go.mod", "go.sum"):
        digest.update((MODULE / name).read_bytes())
    digest.update(repr((BUILD_FLAGS, platform.system(), platform.machine())).encode())
    return digest.hexdigest()[:16]


@contextlib.contextmanager
def _alone(folder: Path, report: Report) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder.parent / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report("somebody else is building it; waiting for them")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(tools: Sequence[Tool], folder: Path, report: Report) -> None:
    # Somebody else may have built some while we waited for the lock.
    missing = [tool for tool in tools if not (folder / tool.name).exists()]
    if not missing:
        return
    go = find_go()
    progress = Progress(missing, report)
    progress.announce(folder)
    for tool in missing:
        with progress.building(tool):
            _build_one(go, tool, folder)


def _build_one(go: Path, tool: Tool, folder: Path) -> None:
    # Renamed only when it is whole and says the right version, so what is in the cache can be trusted.
    unfinished = folder / f".{tool.name}.unfinished"
    command = [str(go), "build", *BUILD_FLAGS, "-o", str(unfinished), tool.package]
    built = _run_go(command)
    if built.returncode != 0:
        raise ControlPlaneError(f"building {tool.name} failed:\n{built.stderr.strip()}")
    problem = binaries.unfit(tool, unfinished)
    if problem is not None:
        raise ControlPlaneError(f"{tool.name} was built, but {problem}")
    unfinished.rename(folder / tool.name)


def find_go() -> Path:
    """The Go command, new enough for our module; otherwise an error that says what to install."""
    wanted = required_go()
    found = shutil.which("go")
    if found is None:
        raise ControlPlaneError(
            f"the control plane has to be built, and there is no `go` on PATH: install Go {wanted} or newer "
            f"(https://go.dev/dl), or set {binaries.ASSETS_VARIABLE} to a folder with "
            + ", ".join(tool.name for tool in TOOLS)
        )
    answer = _run_go([found, "env", "GOVERSION"])
    version = parse_version(answer.stdout.replace("go", "", 1))
    if answer.returncode != 0 or version is None or version < (parse_version(wanted) or version):
        said = (answer.stdout or answer.stderr).strip()
        raise ControlPlaneError(f"Go {wanted} or newer is needed (https://go.dev/dl); {found} says: {said}")
    return Path(found)


def required_go() -> str:
    """The oldest Go that builds our module, as its go.mod says."""
    lines = (MODULE / "go.mod").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith("go "))


def _run_go(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off"}
    return subprocess.run(
        command,
        cwd=MODULE,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


class Progress:
    """Says how far the build is and how long it will still take."""

    def __init__(self, tools: Sequence[Tool], report: Report, cores: int | None = None) -> None:
        self._left = list(tools)
        self._total = len(tools)
        self._report = report
        self._started = time.monotonic()
        self._expected_so_far = 0.0
        self._pace = MEASURED_CORES / max(1, cores or os.cpu_count() or MEASURED_CORES)

    def announce(self, folder: Path) -> None:
        """Say before the first build what it will cost."""
        names = ", ".join(tool.name for tool in self._left)
        seconds = sum(tool.build_seconds for tool in self._left)
        self._report(
            f"building {names} into {folder}; the first time this takes {about(seconds)} on two cores "
            f"({about(seconds * self._pace)} here) and {CACHE_GIGABYTES} GB in Go's caches, once"
        )

    @contextlib.contextmanager
    def building(self, tool: Tool) -> Iterator[None]:
        """Report the beginning and the end of one build, and that it is alive in between."""
        place = f"{tool.name} ({self._total - len(self._left) + 1} of {self._total})"
        self._report(f"building {place}, {about(tool.build_seconds * self._pace)} if it is the first time")
        finished = threading.Event()
        heartbeat = threading.Thread(target=self._beat, args=(place, finished), daemon=True)
        heartbeat.start()
        began = time.monotonic()
        try:
            yield
        finally:
            finished.set()
            heartbeat.join()
        self._left.remove(tool)
        self._expected_so_far += tool.build_seconds
        self._pace = self._elapsed / self._expected_so_far
        took = time.monotonic() - began
        self._report(f"built {place} in {took:.0f} s; {self._where_we_are()}")

    def _beat(self, place: str, finished: threading.Event) -> None:
        while not finished.wait(HEARTBEAT_SECONDS):
            self._report(f"still building {place}; {self._where_we_are()}")

    @property
    def _elapsed(self) -> float:
        return time.monotonic() - self._started

    def _where_we_are(self) -> str:
        expected = (self._expected_so_far + sum(tool.build_seconds for tool in self._left)) * self._pace
        return f"{self._elapsed:.0f} s so far, {about(max(0.0, expected - self._elapsed))} to go"


def about(seconds: float) -> str:
    """A duration as one would say it: seconds below two minutes, minutes above."""
    return f"about {seconds:.0f} s" if seconds < 120 else f"about {seconds / 60:.0f} minutes"
