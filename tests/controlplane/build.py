"""Builds the programs that the tests run from their Go modules, once, into a cache outside the tree."""

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
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from controlplane import binaries
from controlplane.binaries import KUBERNETES_VERSION, MONITORING, TOOLS, Report, Tool, parse_version
from controlplane.errors import ControlPlaneError

HEARTBEAT_SECONDS: Final = 20.0
# What the estimates in TOOLS were measured on.
MEASURED_CORES: Final = 2
_MAJOR, _MINOR, _ = KUBERNETES_VERSION.split(".")
KUBERNETES_VERSIONS: Final = " ".join(
    [
        f"-X k8s.io/component-base/version.gitVersion=v{KUBERNETES_VERSION}",
        f"-X k8s.io/component-base/version.gitMajor={_MAJOR}",
        f"-X k8s.io/component-base/version.gitMinor={_MINOR}",
        f"-X k8s.io/client-go/pkg/version.gitVersion=v{KUBERNETES_VERSION}",
    ]
)
# Its Go module calls this version v0.316.0.
PROMETHEUS_VERSION: Final = "3.16.0"


@dataclass(frozen=True, slots=True)
class Module:
    """A Go module that pins some of the programs, and how those are built."""

    folder: Path
    tools: tuple[Tool, ...]
    versions: str
    """What the linker writes into the programs, so that they can say their version."""
    gigabytes: int
    """How much its first build leaves in Go's caches."""
    tags: tuple[str, ...] = ()

    @property
    def flags(self) -> tuple[str, ...]:
        """For ``go build``."""
        tags = ("-tags", ",".join(self.tags)) if self.tags else ()
        return ("-mod=readonly", "-trimpath", "-buildvcs=false", *tags, "-ldflags", f"-s -w {self.versions}")


CONTROL_PLANE: Final = Module(Path(__file__).with_name("go"), TOOLS, KUBERNETES_VERSIONS, gigabytes=6)
PROMETHEUS: Final = Module(
    Path(__file__).with_name("prometheus"),
    MONITORING,
    f"-X github.com/prometheus/common/version.Version={PROMETHEUS_VERSION}",
    gigabytes=2,
    # Without the clients of all clouds in which Prometheus can look for targets.
    tags=("remove_all_sd",),
)
MODULES: Final = (CONTROL_PLANE, PROMETHEUS)


def to_stderr(line: str) -> None:
    """Report to whoever is watching."""
    print(f"control plane: {line}", file=sys.stderr, flush=True)


ALL: Final = tuple(tool.name for tool in TOOLS)
"""What a control plane needs."""
EVERYTHING: Final = (*ALL, *(tool.name for tool in MONITORING))


# Once for a process: what lies on this machine is asked for its version, which takes a second.
@functools.cache
def ensure(report: Report = to_stderr, names: tuple[str, ...] = ALL) -> Mapping[str, Path]:
    """The programs by name: those of this machine that fit, the others from the cache or built."""
    return {name: path for module in MODULES for name, path in _ensure(module, names, report).items()}


def _ensure(module: Module, names: tuple[str, ...], report: Report) -> Mapping[str, Path]:
    tools = [tool for tool in module.tools if tool.name in names]
    found = binaries.find(tools, os.environ, report)
    cached = cache_folder(module)
    missing = [tool for tool in tools if tool.name not in found and not (cached / tool.name).exists()]
    if missing:
        with _alone(cached, report):
            _build(module, missing, cached, report)
    return {tool.name: found.get(tool.name, cached / tool.name) for tool in tools}


def cache_folder(module: Module = CONTROL_PLANE) -> Path:
    """Where the built programs are kept: a folder for exactly these sources and flags."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "residency" / "controlplane" / cache_key(module) / "bin"


def cache_key(module: Module = CONTROL_PLANE) -> str:
    """Changes with everything that changes what is built."""
    digest = hashlib.sha256()
    for name in ("go.mod", "go.sum"):
        digest.update((module.folder / name).read_bytes())
    digest.update(repr((module.flags, platform.system(), platform.machine())).encode())
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


def _build(module: Module, tools: Sequence[Tool], folder: Path, report: Report) -> None:
    # Somebody else may have built some while we waited for the lock.
    missing = [tool for tool in tools if not (folder / tool.name).exists()]
    if not missing:
        return
    go = find_go(module)
    progress = Progress(missing, report)
    progress.announce(folder, module.gigabytes)
    for tool in missing:
        with progress.building(tool):
            _build_one(go, module, tool, folder)


def _build_one(go: Path, module: Module, tool: Tool, folder: Path) -> None:
    # Renamed only when it is whole and says the right version, so what is in the cache can be trusted.
    unfinished = folder / f".{tool.name}.unfinished"
    command = [str(go), "build", *module.flags, "-o", str(unfinished), tool.package]
    built = _run_go(command, module)
    if built.returncode != 0:
        raise ControlPlaneError(f"building {tool.name} failed:\n{built.stderr.strip()}")
    problem = binaries.unfit(tool, unfinished)
    if problem is not None:
        raise ControlPlaneError(f"{tool.name} was built, but {problem}")
    unfinished.rename(folder / tool.name)


def find_go(module: Module = CONTROL_PLANE) -> Path:
    """The Go command, new enough for the module; otherwise an error that says what to install."""
    wanted = required_go(module)
    found = shutil.which("go")
    if found is None:
        raise ControlPlaneError(
            f"programs have to be built, and there is no `go` on PATH: install Go {wanted} or newer "
            f"(https://go.dev/dl), or set {binaries.ASSETS_VARIABLE} to a folder with "
            + ", ".join(tool.name for tool in module.tools)
        )
    answer = _run_go([found, "env", "GOVERSION"], module)
    version = parse_version(answer.stdout.replace("go", "", 1))
    if answer.returncode != 0 or version is None or version < (parse_version(wanted) or version):
        said = (answer.stdout or answer.stderr).strip()
        raise ControlPlaneError(f"Go {wanted} or newer is needed (https://go.dev/dl); {found} says: {said}")
    return Path(found)


def required_go(module: Module = CONTROL_PLANE) -> str:
    """The oldest Go that builds the module, as its go.mod says."""
    lines = (module.folder / "go.mod").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith("go "))


def _run_go(command: Sequence[str], module: Module) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off"}
    return subprocess.run(
        command,
        cwd=module.folder,
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

    def announce(self, folder: Path, gigabytes: int) -> None:
        """Say before the first build what it will cost."""
        names = ", ".join(tool.name for tool in self._left)
        seconds = sum(tool.build_seconds for tool in self._left)
        self._report(
            f"building {names} into {folder}; the first time this takes {about(seconds)} on two cores "
            f"({about(seconds * self._pace)} here) and {gigabytes} GB in Go's caches, once"
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
