"""The arguments on which the compiled policies depend, for every command that compiles."""

import argparse
import os
import re
from typing import TYPE_CHECKING, Any, Final

from residency.api.names import CANARY, RESERVED_PREFIX
from residency.core.selectors import EXAMPLE, BadSelector, Selector, parse_selector
from residency.policy.objects import SCHEDULERS, Settings

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[Any]

_NAMESPACE: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_CLASSIFICATION: Final = re.compile(r"(?=.{1,63}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add the arguments; `settings` reads them."""
    add = parser.add_argument
    in_pod = os.environ.get("POD_NAMESPACE")
    add(
        "--namespace",
        type=namespace,
        default=in_pod,
        required=not in_pod,
        help="the namespace that the controller runs in, which is never classified; default: POD_NAMESPACE",
    )
    add(
        "--canary-namespace",
        type=namespace,
        default=CANARY,
        help="where the controller asks, as a dry run, for a pod that must be refused; default: %(default)s",
    )
    add(
        "--exclude-namespace",
        type=namespace,
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
        "--reinvocation-policy",
        choices=("Never", "IfNeeded"),
        default="Never",
        help="IfNeeded where other webhooks change the node affinity of pods; default: %(default)s",
    )


def settings(options: argparse.Namespace) -> Settings:
    """Read what `add_settings` added."""
    return Settings(
        own_namespace=options.namespace,
        canary_namespace=options.canary_namespace,
        excluded_namespaces=("kube-system", *options.excluded),
        reinvocation_policy=options.reinvocation_policy,
        schedulers=tuple(options.schedulers or SCHEDULERS),
        default_classification=options.default_classification or "",
        default_exceptions=tuple(options.default_exceptions),
    )


def namespace(text: str) -> str:
    """Take the name of a namespace."""
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


def _user(text: str) -> str:
    if not text or len(text) > 253 or not text.isprintable() or any(map(str.isspace, text)):
        raise argparse.ArgumentTypeError(f"{text!r} is not the name of a user, such as system:kube-scheduler")
    return text
