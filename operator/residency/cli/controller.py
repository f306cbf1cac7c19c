"""``residency controller``: from flags and environment to options."""

import argparse
import os
import re
import socket
import sys
import uuid
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from residency.api.names import CANARY, RESERVED_PREFIX
from residency.cluster.errors import ConfigurationError
from residency.controller import running
from residency.core.selectors import EXAMPLE, BadSelector, Selector, parse_selector
from residency.policy.objects import SCHEDULERS, Settings
from residency.reporting.logs import set_up

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[Any]

_NAMESPACE: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_CLASSIFICATION: Final = re.compile(r"(?=.{1,63}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


def add_to(commands: "Commands") -> None:
    """Describe the command."""
    parser = commands.add_parser(
        "controller",
        help="compile the classifications into admission policies and keep those in force",
        description="Compiles the DataClassifications into admission policies, keeps those in force and "
        "says so in their status. Connects as KUBECONFIG says, else as the pod's service account, else as "
        "~/.kube/config.",
    )
    add = parser.add_argument
    in_pod = os.environ.get("POD_NAMESPACE")
    add(
        "--namespace",
        type=_namespace,
        default=in_pod,
        required=not in_pod,
        help="the namespace that the controller runs in, which is never classified; default: POD_NAMESPACE",
    )
    add(
        "--canary-namespace",
        type=_namespace,
        default=CANARY,
        help="where it asks, as a dry run, for a pod that must be refused; default: %(default)s",
    )
    add(
        "--exclude-namespace",
        type=_namespace,
        action="append",
        default=[],
        dest="excluded",
        metavar="NAMESPACE",
        help="leave this namespace alone, as kube-system always is; may be repeated",
    )
    add(
        "--default-classification",
        type=_classification,
        metavar="NAME",
        help="what new namespaces are that nobody classified; default: they stay unclassified",
    )
    add(
        "--default-exclude-selector",
        type=_selector,
        action="append",
        default=[],
        dest="default_exceptions",
        metavar="SELECTOR",
        help="new namespaces with such labels get no default; written as for kubectl get --selector, for example "
        f"'{EXAMPLE}'; may be repeated: one that is met is enough",
    )
    add(
        "--scheduler",
        type=_user,
        action="append",
        dest="schedulers",
        metavar="USER",
        help="who may bind pods to nodes in classified namespaces; may be repeated; default: " + ", ".join(SCHEDULERS),
    )
    add(
        "--http-address",
        type=_address,
        default="0.0.0.0:8080",
        metavar="HOST:PORT",
        help="where /livez, /readyz and /metrics are; default: %(default)s",
    )
    add("--log-format", choices=("json", "text"), default="json", help="default: %(default)s")
    add(
        "--resync-seconds",
        type=_seconds,
        default="60",
        metavar="N",
        help="compare and prove everything anew after so many seconds without a change; default: %(default)s",
    )
    add(
        "--reinvocation-policy",
        choices=("Never", "IfNeeded"),
        default="Never",
        help="IfNeeded where other webhooks change the node affinity of pods; default: %(default)s",
    )
    add(
        "--lease-seconds",
        type=_seconds,
        default="15",
        metavar="N",
        help="another replica takes over when the leader has been silent for so long; default: %(default)s",
    )
    add(
        "--api-server",
        type=_url,
        action="append",
        default=[],
        dest="api_servers",
        metavar="URL",
        help="prove the policies in force at this API server; may be repeated; default: those that the "
        "Service kubernetes publishes",
    )
    add(
        "--identity",
        type=_identity,
        default=os.environ.get("POD_NAME") or f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}",
        help="who this is in the election; default: POD_NAME, else the host's name and a random suffix",
    )


def run(options: argparse.Namespace) -> int:
    """Run the controller."""
    set_up(options.log_format)
    host, port = options.http_address
    try:
        return running.run(
            running.Options(
                settings=Settings(
                    own_namespace=options.namespace,
                    canary_namespace=options.canary_namespace,
                    excluded_namespaces=("kube-system", *options.excluded),
                    reinvocation_policy=options.reinvocation_policy,
                    schedulers=tuple(options.schedulers or SCHEDULERS),
                    default_classification=options.default_classification or "",
                    default_exceptions=tuple(options.default_exceptions),
                ),
                http_host=host,
                http_port=port,
                identity=options.identity,
                resync_seconds=float(options.resync_seconds),
                lease_seconds=options.lease_seconds,
                api_servers=tuple(options.api_servers),
            )
        )
    except ConfigurationError as error:
        sys.stderr.write(f"residency controller: {error}\n")
    except running.CannotListen as error:
        sys.stderr.write(f"residency controller: --http-address: {error}\n")
    return int(running.Exit.USAGE)


def _namespace(text: str) -> str:
    if not _NAMESPACE.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not the name of a namespace, such as residency-system")
    return text


def _classification(text: str) -> str:
    if not _CLASSIFICATION.fullmatch(text) or text.startswith(RESERVED_PREFIX):
        raise argparse.ArgumentTypeError(f"{text!r} is not the name of a DataClassification, such as nl-depv")
    return text


def _selector(text: str) -> Selector:
    try:
        return parse_selector(text)
    except BadSelector as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _seconds(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 2 <= int(text) <= 86400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 2 to 86400")
    return int(text)


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not an address such as 0.0.0.0:8080 or [::]:8080")
    return host.strip("[]"), int(port)


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme != "https" or not parts.hostname or parts.path.strip("/") or parts.query:
        raise argparse.ArgumentTypeError(f"{text!r} is not the address of an API server, such as https://10.0.0.1:6443")
    return text.rstrip("/")


def _user(text: str) -> str:
    if not text or len(text) > 253 or not text.isprintable() or any(map(str.isspace, text)):
        raise argparse.ArgumentTypeError(f"{text!r} is not the name of a user, such as system:kube-scheduler")
    return text


def _identity(text: str) -> str:
    if not text or len(text) > 253 or not text.isprintable():
        raise argparse.ArgumentTypeError("must be 1 to 253 printable characters")
    return text
