"""What the cluster is like: facts beside the classifications that the policies are compiled from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from residency.api.names import Mode

ALL_CLAIMS: Final = "*"
"""Stands for every claim of a namespace; no claim can be called so."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What was found in the cluster."""

    default_class: str | None = None
    """The StorageClass that claims get which name none."""
    foreign_claims: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    """By namespace, the claims from before that its classification does not allow."""
    lowered: frozenset[Mode] = frozenset()
    """The modes to which namespaces are lowered."""


NOTHING_KNOWN: Final = Surroundings()
"""No default class, and no claims from before."""
