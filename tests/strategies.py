"""Generated DataClassification specs: what the API server accepts, and what somebody may send it."""

from collections.abc import Mapping
from typing import Any, Final

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from residency.api.classification import DeploymentModel, ExpressionOperator, TaintEffect
from residency.api.countries import COUNTRY_SETS, ISO_3166_1
from residency.api.names import FACT_PREFIX, SOVEREIGN, Fact

Json = dict[str, Any]

NAMES: Final = ("eu-gdpr", "nl-depv", "nl-openbaar", "nl-tbb3", "team.a-1")
# Few values, so that classifications contradict and imply one another often.
_FEW_COUNTRIES: Final = ("NL", "DE", "CH", "US")
_PROVIDERS: Final = ("odc-noord", "odc-zuid", "eu-cloud", "us-cloud")
_OWN_KEYS: Final = ("node-restriction.kubernetes.io/zone", "example.node-restriction.kubernetes.io/rack")
_OWN_VALUES: Final = ("a", "b", "1", "10", "rack-12", "A.b_c")
_HOSTILE_TEXTS: Final = (
    "",
    " ",
    "a\nb",
    "\u2028",
    "\x00",
    "\x1b[2J",
    "'+'",
    '"',
    "\\",
    "{{ .Values }}",
    "${x}",
    "nl",
    "UK",
    "EU",
    "eea",
    "residency-canary",
    "é",
    "a" * 64,
    "b" * 400,
    "-1",
    "9" * 19,
    "DoesNotExist",
    "Exists",
    "true",
    "kubernetes.io/hostname",
)


def _some(values: SearchStrategy[Any], most: int) -> SearchStrategy[list[Any]]:
    return st.lists(values, min_size=1, max_size=most, unique=True)


def _object(required: Mapping[str, SearchStrategy[Any]], **optional: SearchStrategy[Any]) -> SearchStrategy[Json]:
    return st.fixed_dictionaries(dict(required), optional=optional)


def _lines(most: int) -> SearchStrategy[str]:
    """Return texts of one line, in any script."""
    characters = st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"])
    return st.text(characters, min_size=1, max_size=most).filter(lambda text: text == text.strip())


_COUNTRIES: Final = st.sampled_from(_FEW_COUNTRIES) | st.sampled_from(sorted(ISO_3166_1))
_COUNTRY_SETS: Final = _some(st.sampled_from([str(name) for name in COUNTRY_SETS]), 3)
_NUMBERS: Final = st.integers(0, 10**18 - 1) | st.integers(0, 4)

_FACT_VALUES: Final[Mapping[str, SearchStrategy[str]]] = {
    Fact.COUNTRY: _COUNTRIES,
    Fact.CONTROLLED_FROM: _COUNTRIES,
    Fact.SUBDIVISION: st.sampled_from(["NL-BQ1", "NL-NH", "DE-BE"]),
    Fact.PROVIDER: st.sampled_from(_PROVIDERS),
    Fact.DEPLOYMENT_MODEL: st.sampled_from([str(model) for model in DeploymentModel]),
    Fact.SEAL: st.sampled_from("01234"),
}


@st.composite
def _match_expressions(draw: st.DrawFn) -> Json:
    key = draw(st.sampled_from([*map(str, _FACT_VALUES), *_OWN_KEYS, f"{FACT_PREFIX}other"]))
    operator = draw(st.sampled_from(list(ExpressionOperator)))
    expression: Json = {"key": key, "operator": str(operator)}
    match operator:
        case ExpressionOperator.EXISTS:
            if draw(st.booleans()):
                expression["values"] = []
        case ExpressionOperator.GT | ExpressionOperator.LT:
            expression["values"] = [str(draw(_NUMBERS))]
        case ExpressionOperator.IN | ExpressionOperator.NOT_IN:
            values = _FACT_VALUES.get(key, st.sampled_from(_OWN_VALUES))
            expression["values"] = draw(_some(values, 6))
    return expression


def _alternatives() -> SearchStrategy[Json]:
    return _object(
        {},
        countries=_some(_COUNTRIES, 6),
        countrySets=_COUNTRY_SETS,
        controlledFrom=_some(_COUNTRIES, 6),
        controlledFromSets=_COUNTRY_SETS,
        deploymentModels=_some(st.sampled_from([str(model) for model in DeploymentModel]), 6),
        providers=_some(st.sampled_from(_PROVIDERS), 4),
        minSEAL=st.integers(1, 4),
        matchExpressions=st.lists(_match_expressions(), min_size=1, max_size=4),
    ).filter(bool)


@st.composite
def _tolerations(draw: st.DrawFn) -> Json:
    toleration = draw(
        _object(
            {"key": st.sampled_from([SOVEREIGN, "pool", "example.com/dedicated"])},
            operator=st.sampled_from(["Equal", "Exists"]),
            effect=st.sampled_from([str(effect) for effect in TaintEffect]),
        )
    )
    if toleration.get("operator") != "Exists" and draw(st.booleans()):
        toleration["value"] = draw(st.sampled_from(_OWN_VALUES))
    return toleration


_CLASS_KEYS: Final = st.sampled_from([Fact.COUNTRY.value, "disk", "example.com/tier"])


@st.composite
def _class_expressions(draw: st.DrawFn) -> Json:
    expression: Json = {"key": draw(_CLASS_KEYS), "operator": draw(st.sampled_from(["In", "Exists"]))}
    if expression["operator"] == "In":
        expression["values"] = draw(_some(st.sampled_from(_OWN_VALUES), 4))
    return expression


def _storages() -> SearchStrategy[Json]:
    selector = _object(
        {},
        matchLabels=st.dictionaries(_CLASS_KEYS, st.sampled_from(_OWN_VALUES), min_size=1, max_size=3),
        matchExpressions=st.lists(_class_expressions(), min_size=1, max_size=3),
    ).filter(bool)
    return _object(
        {"classSelector": selector},
        allow=st.lists(st.sampled_from(["StaticVolumes", "DataSources"]), max_size=2, unique=True),
        inlineDrivers=st.lists(
            st.sampled_from(["secrets-store.csi.k8s.io", "csi.example.com"]), max_size=2, unique=True
        ),
    )


def _identity(toleration: Json) -> tuple[str, ...]:
    equal_by_default = {"operator": "Equal", **toleration}
    return tuple(equal_by_default.get(field, "") for field in ("key", "operator", "value", "effect"))


def specs(included: SearchStrategy[str] | None = None) -> SearchStrategy[Json]:
    """Return specs that the API server accepts; `included` gives the names that they may include."""
    nodes = _object(
        {},
        anyOf=st.lists(_alternatives(), min_size=1, max_size=4),
        tolerations=st.lists(_tolerations(), min_size=1, max_size=3, unique_by=_identity),
    ).filter(bool)
    reference = _object(
        {"title": _lines(120)},
        clause=_lines(40),
        url=st.sampled_from(["https://example.com", "http://example.com:8080/a?b=%27#c", "https://[::1]/'\"\\"]),
    )
    return _object(
        {"title": _lines(120)},
        references=st.lists(reference, max_size=3),
        includes=st.lists(included or st.sampled_from(NAMES), max_size=3, unique=True),
        nodes=nodes,
        storage=_storages(),
        runningPods=st.sampled_from(["Report", "Evict"]),
        eviction=_object({}, maxPerMinute=st.integers(1, 600), dryRun=st.booleans()),
    )


_JUNK: Final = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(_HOSTILE_TEXTS),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=70),
    st.just([]),
    st.just({}),
    st.lists(st.sampled_from(_HOSTILE_TEXTS), max_size=3),
    st.dictionaries(st.sampled_from(["key", "title", "countries"]), st.sampled_from(_HOSTILE_TEXTS), max_size=2),
)


def _places(value: object) -> list[tuple[Any, Any]]:
    """Return every place in a JSON value, as its container and its key or index."""
    if isinstance(value, dict):
        pairs: list[tuple[Any, Any]] = list(value.items())
    elif isinstance(value, list):
        pairs = list(enumerate(value))
    else:
        return []
    return [(value, key) for key, _ in pairs] + [place for _, inner in pairs for place in _places(inner)]


@st.composite
def hostile_specs(draw: st.DrawFn) -> Json:
    """Return specs of which something was changed: removed, doubled, renamed or replaced by junk."""
    spec: Json = draw(specs())
    for _ in range(draw(st.integers(1, 2))):
        places = _places(spec)
        if not places:
            break
        container, key = draw(st.sampled_from(places))
        match draw(st.sampled_from(["replace", "remove", "double", "rename"])):
            case "replace":
                container[key] = draw(_JUNK)
            case "remove":
                del container[key]
            case "double" if isinstance(container, list):
                container.append(container[key])
            case _ if isinstance(container, dict):
                container[draw(st.sampled_from(["colour", "any_of", "minSeal", "values", "value"]))] = container[key]
            case _:
                container[key] = draw(_JUNK)
    return spec
