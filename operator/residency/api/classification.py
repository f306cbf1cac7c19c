"""The DataClassification resource: what data of a kind requires of the nodes that hold it.

The custom resource definition says the same to the API server, and says what a field means when it
is left out; one set of valid and invalid examples holds the two together.
"""

from datetime import UTC
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    field_serializer,
    model_validator,
)

from residency.api.countries import ISO_3166_1, CountrySetName
from residency.api.fields import (
    DISTINCT,
    NUMBER,
    SLUG,
    SUBDIVISION,
    Clause,
    ControllingCountry,
    Country,
    DriverName,
    LabelKey,
    LabelValue,
    Name,
    Provider,
    RestrictedKey,
    TaintKey,
    Title,
    Url,
)
from residency.api.names import Condition, EvictionResult, EvictionState, Fact, Mode, Reason, RunningPods
from residency.api.schema import ApiModel, rule_broken


class DeploymentModel(StrEnum):
    """Who shares the machines, and whose they are."""

    PUBLIC = "public"
    HYBRID = "hybrid"
    COMMUNITY = "community"
    PRIVATE_EXTERNAL = "private-external"
    GOVERNMENT = "government"
    ON_PREMISES = "on-premises"


class ExpressionOperator(StrEnum):
    """How a node label is compared; not DoesNotExist: an unlabelled node must never pass."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    GT = "Gt"
    LT = "Lt"


class TolerationOperator(StrEnum):
    """How a taint is compared."""

    EQUAL = "Equal"
    EXISTS = "Exists"


class TaintEffect(StrEnum):
    """What a taint does to pods that do not tolerate it."""

    NO_SCHEDULE = "NoSchedule"
    PREFER_NO_SCHEDULE = "PreferNoSchedule"
    NO_EXECUTE = "NoExecute"


class Reference(ApiModel):
    """The law or policy that a classification follows."""

    title: Title
    clause: Clause | None = None
    url: Url | None = None


def _fits_fact(key: str, value: str) -> bool:
    """Say whether a node can have the value; NotIn [UK] would let every node in GB pass."""
    match key:
        case Fact.COUNTRY | Fact.CONTROLLED_FROM:
            return value in ISO_3166_1
        case Fact.SUBDIVISION:
            return SUBDIVISION.fullmatch(value) is not None
        case Fact.PROVIDER:
            return SLUG.fullmatch(value) is not None
        case Fact.DEPLOYMENT_MODEL:
            return value in list(DeploymentModel)
        case Fact.SEAL:
            return value in {"0", "1", "2", "3", "4"}
        case _:
            return True


class MatchExpression(ApiModel):
    """A demand on any label that kubelets cannot set themselves."""

    key: RestrictedKey
    operator: ExpressionOperator
    values: Annotated[tuple[LabelValue, ...], Field(max_length=64), DISTINCT] = ()

    @model_validator(mode="after")
    def _values_fit(self) -> Self:
        match self.operator:
            case ExpressionOperator.EXISTS:
                if self.values:
                    raise rule_broken("must be left out when the operator is Exists", "values")
            case ExpressionOperator.GT | ExpressionOperator.LT:
                if len(self.values) != 1 or not NUMBER.fullmatch(self.values[0]):
                    raise rule_broken(
                        "must be one non-negative integer of at most 18 digits when the operator is Gt or Lt",
                        "values",
                    )
            case ExpressionOperator.IN | ExpressionOperator.NOT_IN:
                if not self.values:
                    raise rule_broken("must name at least one value when the operator is In or NotIn", "values")
                if not all(_fits_fact(self.key, value) for value in self.values):
                    raise rule_broken(
                        "must be values that the fact can have: countries as ISO 3166-1 codes such as NL "
                        "(GR, not EL; GB, not UK), subdivisions as ISO 3166-2 codes such as NL-BQ1, "
                        "providers as slugs such as odc-noord, a deployment-model as in deploymentModels, "
                        "seal 0 to 4",
                        "values",
                    )
        return self


CountrySets = Annotated[tuple[CountrySetName, ...], Field(min_length=1, max_length=3), DISTINCT]


class Alternative(ApiModel):
    """One way to satisfy a classification: all that it says must hold of a node."""

    countries: Annotated[tuple[Country, ...], Field(min_length=1, max_length=64), DISTINCT] = ()
    country_sets: CountrySets = ()
    controlled_from: Annotated[tuple[ControllingCountry, ...], Field(min_length=1, max_length=64), DISTINCT] = ()
    controlled_from_sets: CountrySets = ()
    deployment_models: Annotated[tuple[DeploymentModel, ...], Field(min_length=1, max_length=6), DISTINCT] = ()
    providers: Annotated[tuple[Provider, ...], Field(min_length=1, max_length=32), DISTINCT] = ()
    min_seal: Annotated[StrictInt, Field(ge=1, le=4)] | None = None
    match_expressions: Annotated[tuple[MatchExpression, ...], Field(max_length=8)] = ()

    @model_validator(mode="after")
    def _demands_something(self) -> Self:
        if not any(getattr(self, field) for field in type(self).model_fields):
            raise rule_broken(
                "an alternative must demand something: write at least one of countries, "
                "countrySets, controlledFrom, controlledFromSets, deploymentModels, providers, minSEAL and "
                "matchExpressions"
            )
        return self


class Toleration(ApiModel):
    """A taint that classified pods tolerate."""

    key: TaintKey
    operator: TolerationOperator = TolerationOperator.EQUAL
    value: LabelValue | None = None
    effect: TaintEffect | None = None

    @model_validator(mode="after")
    def _value_fits(self) -> Self:
        if self.operator is TolerationOperator.EXISTS and self.value is not None:
            raise rule_broken("must be left out when the operator is Exists", "value")
        return self


class Nodes(ApiModel):
    """What is demanded of nodes, and which taints classified pods tolerate."""

    any_of: Annotated[tuple[Alternative, ...], Field(min_length=1, max_length=4)] = ()
    tolerations: Annotated[tuple[Toleration, ...], Field(max_length=8), DISTINCT] = ()

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.any_of and not self.tolerations:
            raise rule_broken("must have anyOf or tolerations; leave nodes out when nothing is demanded of them")
        return self


class StorageOperator(StrEnum):
    """How a label of a StorageClass is compared; only what an unlabelled one cannot meet."""

    IN = "In"
    EXISTS = "Exists"


class StorageExpression(ApiModel):
    """A demand on a label of a StorageClass."""

    key: LabelKey
    operator: StorageOperator
    values: Annotated[tuple[LabelValue, ...], Field(max_length=64), DISTINCT] = ()

    @model_validator(mode="after")
    def _values_fit(self) -> Self:
        if self.operator is StorageOperator.EXISTS and self.values:
            raise rule_broken("must be left out when the operator is Exists", "values")
        if self.operator is StorageOperator.IN and not self.values:
            raise rule_broken("must name at least one value when the operator is In", "values")
        return self


class StorageClassSelector(ApiModel):
    """Which StorageClasses may be used: those whose labels meet all of this."""

    match_labels: Annotated[dict[LabelKey, LabelValue], Field(max_length=8)] = Field(default_factory=dict)
    match_expressions: Annotated[tuple[StorageExpression, ...], Field(max_length=8)] = ()

    @model_validator(mode="after")
    def _demands_something(self) -> Self:
        if not self.match_labels and not self.match_expressions:
            raise rule_broken("must have matchLabels or matchExpressions; leave storage out when nothing is demanded")
        return self


class StorageException(StrEnum):
    """What claims may do although Residency cannot see where it leads."""

    STATIC_VOLUMES = "StaticVolumes"
    """Name their volume themselves, or ask for one of no class."""
    DATA_SOURCES = "DataSources"
    """Be filled from anything but claims and snapshots of their own namespace."""


class Storage(ApiModel):
    """What is demanded of the storage that classified pods use."""

    class_selector: StorageClassSelector
    allow: Annotated[tuple[StorageException, ...], Field(max_length=2), DISTINCT] = ()
    inline_drivers: Annotated[tuple[DriverName, ...], Field(max_length=8), DISTINCT] = ()


class Eviction(ApiModel):
    """How misplaced pods are evicted."""

    max_per_minute: Annotated[StrictInt, Field(ge=1, le=600)] = 6
    dry_run: StrictBool = False


class DataClassificationSpec(ApiModel):
    """What the platform team writes."""

    title: Title
    references: Annotated[tuple[Reference, ...], Field(max_length=8)] = ()
    includes: Annotated[tuple[Name, ...], Field(max_length=8), DISTINCT] = ()
    nodes: Nodes | None = None
    storage: Storage | None = None
    mode: Mode = Mode.ENFORCE
    running_pods: RunningPods = RunningPods.REPORT
    eviction: Eviction | None = None


class Metadata(BaseModel):
    """What is read of a classification's metadata; the rest is Kubernetes' own."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: Name
    generation: int = 0


class ResolvedRequirement(ApiModel):
    """A demand on one node label, as Kubernetes writes it."""

    key: str
    operator: str
    values: tuple[str, ...] = ()


class ResolvedAlternative(ApiModel):
    """Demands that must all hold of a node."""

    requirements: tuple[ResolvedRequirement, ...] = ()


class ResolvedToleration(ApiModel):
    """A taint that the placed pods tolerate."""

    key: str
    operator: TolerationOperator
    value: str | None = None
    effect: TaintEffect | None = None


class ResolvedStorage(ApiModel):
    """What storage has to be, and which of the cluster's StorageClasses are."""

    requirements: tuple[ResolvedRequirement, ...] = ()
    allow: tuple[StorageException, ...] = ()
    inline_drivers: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()


class ResolvedPlacement(ApiModel):
    """What pods get: the classification with all that it includes, and country sets written out."""

    generation: int
    mode: Mode = Mode.ENFORCE
    alternatives: tuple[ResolvedAlternative, ...] = ()
    tolerations: tuple[ResolvedToleration, ...] = ()
    storage: ResolvedStorage | None = None


class CountrySetVersion(ApiModel):
    """Which version of a country set was written out."""

    name: CountrySetName
    version: str


class UsedBy(ApiModel):
    """Who would be left without rules if the classification were deleted."""

    namespaces: int
    namespace_names: Annotated[tuple[str, ...], Field(max_length=10)] = ()
    classifications: Annotated[tuple[str, ...], Field(max_length=10)] = ()


class PodCounts(ApiModel):
    """How many pods there are of each outcome; a pod of two classifications is counted under both."""

    compliant: int = 0
    misplaced: int = 0
    unpinned: int = 0
    unplaceable: int = 0
    waiting: int = 0
    unknown: int = 0
    not_located: int = 0


class EvictionCount(ApiModel):
    """How many pods there are of which the same was found."""

    result: EvictionResult
    count: int


class EvictionStatus(ApiModel):
    """How the correction of misplaced pods is getting on."""

    state: EvictionState
    message: str
    dry_run: bool = False
    results: Annotated[tuple[EvictionCount, ...], Field(max_length=16)] = ()
    last_eviction_time: AwareDatetime | None = None

    @field_serializer("last_eviction_time")
    def _in_kubernetes_form(self, moment: AwareDatetime | None) -> str | None:
        return None if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class VolumeCounts(ApiModel):
    """How many volumes there are of each outcome; claims without one are counted as waiting."""

    compliant: int = 0
    misplaced: int = 0
    waiting: int = 0
    unknown: int = 0
    not_located: int = 0


class ConditionStatus(ApiModel):
    """A Kubernetes condition."""

    type: Condition
    status: Literal["True", "False", "Unknown"]
    reason: Reason
    message: str
    last_transition_time: AwareDatetime
    observed_generation: int

    @field_serializer("last_transition_time")
    def _in_kubernetes_form(self, moment: AwareDatetime) -> str:
        return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class DataClassificationStatus(ApiModel):
    """What the controller writes."""

    observed_generation: int | None = None
    revision: str | None = None
    placement: ResolvedPlacement | None = None
    country_sets: tuple[CountrySetVersion, ...] = ()
    used_by: UsedBy | None = None
    pods: PodCounts | None = None
    volumes: VolumeCounts | None = None
    eligible_nodes: int | None = None
    eviction: EvictionStatus | None = None
    conditions: tuple[ConditionStatus, ...] = ()


class DataClassification(ApiModel):
    """The whole resource, as the API server holds it."""

    api_version: Literal["residency.dev/v1alpha1"]
    kind: Literal["DataClassification"]
    metadata: Metadata
    spec: DataClassificationSpec
    # As it came: a status that someone else garbled must not make the classification invalid.
    status: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _does_not_include_itself(self) -> Self:
        if self.metadata.name in self.spec.includes:
            raise rule_broken("a classification cannot include itself; leave its own name out", "spec.includes")
        return self
