"""``python -m controlplane``: build, run and use the control plane from a shell."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from controlplane import build
from controlplane.controlplane import ControlPlane
from controlplane.errors import ControlPlaneError
from controlplane.pools import DEFAULT_POOLS

HINTS = """
The control plane is ready. In another shell:

  export KUBECONFIG={kubeconfig}
  export PATH={programs}:$PATH

  kubectl get nodes -L {labels}
  kubectl create deployment hello --image=hello && kubectl get pods -o wide

API servers: {urls}    logs: {folder}/*.log
Ctrl-C stops it and removes everything.
"""
LABELS = "cloud.example/pool,residency.node-restriction.kubernetes.io/country"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit status."""
    options, rest = _parser().parse_known_args(arguments)
    if rest and options.command not in ("helm", "kubectl"):
        _parser().error(f"unrecognized arguments: {' '.join(rest)}")
    _end_on(signal.SIGTERM, signal.SIGHUP)
    try:
        return _run(options, rest)
    except ControlPlaneError as error:
        print(f"control plane: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m controlplane", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("build", help="find or build the programs, and say where they are")
    up = commands.add_parser("up", help="run a control plane until Ctrl-C")
    up.add_argument("--apiservers", type=int, default=1, metavar="N", help="how many API servers (1)")
    up.add_argument("--emulated-version", metavar="1.35", help="serve the APIs of an older Kubernetes")
    up.add_argument("--no-pools", action="store_true", help="start without simulated nodes")
    for name in ("helm", "kubectl"):
        commands.add_parser(name, help=f"run {name}; what follows are its arguments", add_help=False)
    return parser


def _run(options: argparse.Namespace, rest: Sequence[str]) -> int:
    if options.command == "build":
        return _build()
    if options.command == "up":
        return _up(options)
    return _become(options.command, rest)


def _become(program: str, arguments: Sequence[str]) -> NoReturn:
    os.execv(build.ensure(names=(program,))[program], [program, *arguments])


def _build() -> int:
    for name, path in build.ensure(names=build.EVERYTHING).items():
        print(f"{name:<24} {path}")
    return 0


def _up(options: argparse.Namespace) -> int:
    if options.apiservers < 1:
        raise ControlPlaneError(f"--apiservers is {options.apiservers}; at least 1 is needed")
    build.ensure()
    build.to_stderr("starting; this takes a few seconds")
    with ControlPlane(apiservers=options.apiservers, emulated_version=options.emulated_version) as cluster:
        if not options.no_pools:
            cluster.add_pools(DEFAULT_POOLS)
            cluster.add_storage_class()
        print(hints(cluster), flush=True)
        _wait_for_the_end(cluster)
    return 0


def hints(cluster: ControlPlane) -> str:
    """How to look around in a control plane that runs."""
    return HINTS.format(
        kubeconfig=cluster.kubeconfig,
        programs=cluster.program("kubectl").parent,
        labels=LABELS,
        urls=" ".join(cluster.urls),
        folder=cluster.folder,
    )


def _wait_for_the_end(cluster: ControlPlane) -> None:
    # A component that ends sends SIGCHLD; with a handler for it, that too ends the pause.
    signal.signal(signal.SIGCHLD, lambda *_: None)
    while True:
        cluster.check()
        signal.pause()


def _end_on(*signals: signal.Signals) -> None:
    # As an exception, so that the control plane is stopped on the way out.
    for number in signals:
        signal.signal(number, lambda received, _: sys.exit(128 + received))


if __name__ == "__main__":
    sys.exit(main())
