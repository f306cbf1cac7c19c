"""The API server's admission configuration: policies that it reads from files."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

GROUP: Final = "apiserver.config.k8s.io"


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticManifests:
    """Folders with admission policies and bindings that the API server reads from disk (from 1.36).

    Their names must end in ``.static.k8s.io``; a change in the folder is seen within a second.
    """

    validating: Path | None = None
    mutating: Path | None = None

    def configuration(self) -> dict[str, Any]:
        """The AdmissionConfiguration that names the folders."""
        plugins = {
            "ValidatingAdmissionPolicy": self.validating,
            "MutatingAdmissionPolicy": self.mutating,
        }
        return {
            "apiVersion": f"{GROUP}/v1",
            "kind": "AdmissionConfiguration",
            "plugins": [_plugin(name, folder) for name, folder in plugins.items() if folder is not None],
        }


def _plugin(name: str, folder: Path) -> dict[str, Any]:
    configuration = {
        "apiVersion": f"{GROUP}/v1",
        "kind": f"{name}Configuration",
        "staticManifestsDir": str(folder.absolute()),
    }
    return {"name": name, "configuration": configuration}
