"""The example files, with what they say of themselves: where a workload may end up, with which code it is refused."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).parents[2]
FOLDER: Final = ROOT / "examples"
CLASSIFICATIONS: Final = FOLDER / "classifications"
NAMESPACES: Final = FOLDER / "namespaces.yaml"
APPLICATIONS: Final = FOLDER / "applications"
REFUSALS: Final = FOLDER / "refusals"

_RUNS_ON: Final = "example.residency.dev/runs-on"
_ATTEMPT: Final = "example.residency.dev/attempt"
_REFUSED: Final = "example.residency.dev/refused"

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Workload:
    """An object of which pods come, or which is to be refused."""

    file: Path
    manifest: Object

    @property
    def kind(self) -> str:
        """Its kind."""
        return str(self.manifest["kind"])

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.manifest["metadata"]["name"])

    @property
    def namespace(self) -> str:
        """Its namespace; empty for what has none."""
        return str(self.manifest["metadata"].get("namespace", ""))

    @property
    def runs_on(self) -> frozenset[str]:
        """The pools on which its pods may end up."""
        return frozenset(pool.strip() for pool in self._says(_RUNS_ON).split(","))

    @property
    def attempt(self) -> str:
        """What is attempted by it, for those that are refused."""
        return self._says(_ATTEMPT)

    @property
    def refused(self) -> str:
        """The code with which it is refused."""
        return self._says(_REFUSED)

    def claims(self, annotation: str) -> bool:
        """Whether it says that of itself."""
        return annotation in self.manifest["metadata"].get("annotations", {})

    def _says(self, annotation: str) -> str:
        return str(self.manifest["metadata"]["annotations"][annotation])


def documents(path: Path) -> list[Object]:
    """The objects of a file, or of all files of a folder in the order in which kubectl takes them."""
    files = sorted(path.glob("*.yaml")) if path.is_dir() else [path]
    return [document for file in files for document in yaml.safe_load_all(file.read_text())]


def applications() -> list[Workload]:
    """The workloads among the example applications."""
    return [workload for workload in _workloads(APPLICATIONS) if workload.claims(_RUNS_ON)]


def refusals() -> list[Workload]:
    """What is refused."""
    return [workload for workload in _workloads(REFUSALS) if workload.claims(_REFUSED)]


def _workloads(folder: Path) -> Iterator[Workload]:
    for file in sorted(folder.glob("*.yaml")):
        for document in yaml.safe_load_all(file.read_text()):
            yield Workload(file, document)
