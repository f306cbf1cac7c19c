"""The API server's admission configuration: policies that it reads from files."""

from pathlib import Path
from typing import Any, Final

from controlplane.components import StaticManifests

GROUP: Final = "apiserver.config.k8s.io"


def configuration(manifests: StaticManifests) -> dict[str, Any]:
    """An AdmissionConfiguration that names the folders of static policies."""
    plugins = [
        _plugin("ValidatingAdmissionPolicy", manifests.validating),
        _plugin("MutatingAdmissionPolicy", manifests.mutating),
    ]
    return {
        "apiVersion": f"{GROUP}/v1",
        "kind": "AdmissionConfiguration",
        "plugins": [plugin for plugin in plugins if plugin is not None],
    }


def _plugin(name: str, folder: Path | None) -> dict[str, Any] | None:
    if folder is None:
        return None
    return {
        "name": name,
        "configuration": {
            "apiVersion": f"{GROUP}/v1",
            "kind": f"{name}Configuration",
            "staticManifestsDir": str(folder.absolute()),
        },
    }
