"""``residency controller``: from flags and environment to options."""

import argparse
import os
import socket
import sys
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from residency.cli.arguments import add_settings, settings
from residency.cluster.errors import ConfigurationError
from residency.controller import running
from residency.controller.findings import Keeping
from residency.reporting.bounds import FEWEST_SERIES, MOST_SERIES, SERIES
from residency.reporting.logs import set_up

if TYPE_CHECKING:
    from residency.cli.arguments import Commands


def add_to(commands: "Commands") -> None:
    """Describe the command."""
    parser = commands.add_parser(
        "controller",
        help="compile the classifications into admission policies and keep those in force",
        description="Compiles the DataClassifications into admission policies, keeps those in force and "
        "says so in their status. Connects as KUBECONFIG says, else as the pod's service account, else as "
        "~/.kube/config.",
    )
    add_settings(parser)
    add = parser.add_argument
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
        "--lease-seconds",
        type=_seconds,
        default="15",
        metavar="N",
        help="another replica takes over when the leader has been silent for so long; default: %(default)s",
    )
    add(
        "--findings-days",
        type=_days,
        default="7",
        metavar="N",
        help="delete a ResidencyFinding so many days after it was resolved; default: %(default)s",
    )
    add(
        "--findings-stored",
        type=_objects,
        default="1000",
        metavar="N",
        help="keep at most so many ResidencyFindings; others are counted only; default: %(default)s",
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
        "--metrics-series",
        type=_series,
        default=str(SERIES),
        metavar="N",
        help="show about so many series at most; what does not fit is added up as (other); default: %(default)s",
    )
    add(
        "--metrics-namespace-detail",
        action="store_true",
        help="show also how many pods of which outcome there are in every namespace, however many series that makes",
    )
    add(
        "--no-reports",
        action="store_false",
        dest="reports",
        help="write no Reports for OpenReports (openreports.io), also where that is installed",
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
                settings=settings(options),
                http_host=host,
                http_port=port,
                identity=options.identity,
                resync_seconds=float(options.resync_seconds),
                lease_seconds=options.lease_seconds,
                api_servers=tuple(options.api_servers),
                findings=Keeping(days=options.findings_days, most=options.findings_stored),
                series=options.metrics_series,
                namespace_detail=options.metrics_namespace_detail,
                reports=options.reports,
            )
        )
    except ConfigurationError as error:
        sys.stderr.write(f"residency controller: {error}\n")
    except running.CannotListen as error:
        sys.stderr.write(f"residency controller: --http-address: {error}\n")
    return int(running.Exit.USAGE)


def _number(what: str, least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number of {what} from {least} to {most}")
        return int(text)

    return read


_seconds = _number("seconds", 2, 86400)
_days = _number("days", 1, 365)
_objects = _number("objects", 10, 10000)
_series = _number("series", FEWEST_SERIES, MOST_SERIES)


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


def _identity(text: str) -> str:
    if not text or len(text) > 253 or not text.isprintable():
        raise argparse.ArgumentTypeError("must be 1 to 253 printable characters")
    return text
