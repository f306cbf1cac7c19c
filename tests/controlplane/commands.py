"""Running kubectl and helm against one control plane, and against nothing else."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from controlplane.errors import CommandError

TIMEOUT: Final = 300


def run(command: Sequence[str], kubeconfig: Path, folder: Path, stdin: str | None, *, check: bool) -> str:
    """Run a command and return its standard output; see `ControlPlane.kubectl`."""
    done = subprocess.run(
        command,
        env=environment(kubeconfig, folder),
        input=stdin or "",
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    if not check:
        return done.stdout + done.stderr
    if done.returncode != 0:
        name = Path(command[0]).name
        raise CommandError([name, *command[1:]], done.returncode, done.stdout, done.stderr)
    return done.stdout


def environment(kubeconfig: Path, folder: Path) -> dict[str, str]:
    """Variables that keep the user's own caches, preferences and clusters out of it."""
    helm = folder / "helm"
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("HELM_")},
        "KUBECONFIG": str(kubeconfig),
        "KUBECACHEDIR": str(folder / "kubectl-cache"),
        "KUBERC": "off",
        "HELM_CACHE_HOME": str(helm / "cache"),
        "HELM_CONFIG_HOME": str(helm / "config"),
        "HELM_DATA_HOME": str(helm / "data"),
    }
