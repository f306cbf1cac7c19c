"""Which programs a control plane consists of, and where to find ones that fit."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

Report = Callable[[str], None]
"""Told one line at a time what is going on."""
Version = tuple[int, int, int]

ASSETS_VARIABLE: Final = "KUBEBUILDER_ASSETS"
KUBERNETES_VERSION: Final = "1.37.2"
VERSION_SECONDS: Final = 30


@dataclass(frozen=True, slots=True)
class Tool:
    """A program: the Go package that it is built from, and the versions of it that fit."""

    name: str
    package: str
    version_command: tuple[str, ...]
    oldest: Version
    below: Version
    build_seconds: int
    """How long its first build took on two cores, with its predecessors built."""

    @property
    def wanted(self) -> str:
        """The versions that fit, to be read by people."""
        return f"{_text(self.oldest)} or later, below {_text(self.below)}"

    def fits(self, version: Version) -> bool:
        """Whether that version will do."""
        return self.oldest <= version < self.below


_KUBERNETES = ((1, 37, 0), (1, 38, 0))
# In the order of building: what is needed first, and what shares the most with its successors.
TOOLS: Final = (
    Tool("etcd", "go.etcd.io/etcd/server/v3", ("--version",), (3, 6, 0), (4, 0, 0), 49),
    Tool("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver", ("--version",), *_KUBERNETES, 305),
    Tool("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler", ("--version",), *_KUBERNETES, 57),
    Tool(
        "kube-controller-manager",
        "k8s.io/kubernetes/cmd/kube-controller-manager",
        ("--version",),
        *_KUBERNETES,
        61,
    ),
    Tool("kubectl", "k8s.io/kubernetes/cmd/kubectl", ("version", "--client"), *_KUBERNETES, 25),
    Tool("kwok", "sigs.k8s.io/kwok/cmd/kwok", ("--version",), (0, 8, 0), (0, 9, 0), 11),
    Tool("helm", "helm.sh/helm/v4/cmd/helm", ("version", "--short"), (4, 0, 0), (5, 0, 0), 23),
)


# What is asked of the chart's rules and its dashboard; from a module of its own, and no part of a control plane.
MONITORING: Final = (
    Tool("promtool", "github.com/prometheus/prometheus/cmd/promtool", ("--version",), (3, 5, 0), (4, 0, 0), 80),
    Tool("prometheus", "github.com/prometheus/prometheus/cmd/prometheus", ("--version",), (3, 5, 0), (4, 0, 0), 56),
)


def find(tools: Iterable[Tool], environment: Mapping[str, str], report: Report) -> dict[str, Path]:
    """The programs of which a fitting version lies in ``KUBEBUILDER_ASSETS`` or on ``PATH``.

    One that does not fit is left aside with a line that says why.
    """
    assets = environment.get(ASSETS_VARIABLE)
    if assets and not Path(assets).is_dir():
        report(f"{ASSETS_VARIABLE} is ignored: there is no folder {assets}")
    places = {tool.name: _fitting(tool, environment, report) for tool in tools}
    return {name: path for name, path in places.items() if path is not None}


def _fitting(tool: Tool, environment: Mapping[str, str], report: Report) -> Path | None:
    for path in candidates(tool, environment):
        problem = unfit(tool, path)
        if problem is None:
            return path
        report(f"not using {path}: {problem}")
    return None


def candidates(tool: Tool, environment: Mapping[str, str]) -> Iterable[Path]:
    """Where the program lies on this machine, the place that was named on purpose first."""
    assets = environment.get(ASSETS_VARIABLE)
    places = [assets] if assets else []
    places.append(environment.get("PATH", os.defpath))
    found = (shutil.which(tool.name, path=place) for place in places)
    return dict.fromkeys(Path(path).absolute() for path in found if path is not None)


def unfit(tool: Tool, path: Path) -> str | None:
    """Why a program cannot be used as that tool, or None when it can."""
    answer = _ask(path, tool.version_command)
    version = parse_version(answer)
    if version is None:
        said = answer.splitlines()[0] if answer else "nothing"
        return f"asked for its version it says {said!r}, and {tool.wanted} is needed"
    if not tool.fits(version):
        return f"it is version {_text(version)}, and {tool.wanted} is needed"
    return None


def parse_version(text: str) -> Version | None:
    """The first version number in what a program says of itself; a missing patch number is 0."""
    match = re.search(r"(?<![\w.])v?(\d+)\.(\d+)(?:\.(\d+))?", text)
    if match is None:
        return None
    major, minor, patch = match.groups(default="0")
    return int(major), int(minor), int(patch)


def _ask(path: Path, arguments: tuple[str, ...]) -> str:
    try:
        answer = subprocess.run(
            [path, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=VERSION_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return (answer.stdout or answer.stderr).strip()


def _text(version: Version) -> str:
    return ".".join(str(number) for number in version)
