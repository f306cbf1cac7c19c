"""Valid and invalid DataClassifications, for the API server and for the models alike."""

from dataclasses import dataclass
from typing import Any, Final

from residency.api.countries import ISO_3166_1

Json = dict[str, Any]

FACT: Final = "residency.node-restriction.kubernetes.io"
OWN_KEY: Final = "example.node-restriction.kubernetes.io/rack"
NAME: Final = "nl-example"
_CODES: Final = sorted(ISO_3166_1)


@dataclass(frozen=True, slots=True)
class Valid:
    """A classification that both accept."""

    rule: str
    spec: Json
    name: str = NAME


@dataclass(frozen=True, slots=True)
class Invalid:
    """A classification that both refuse, blaming the field `at` and saying what would be right.

    `server_says` is what the API server says where Kubernetes words it, and not we.
    """

    rule: str
    spec: Any
    at: str
    says: str
    server_says: str = ""
    name: str = NAME


def resource(spec: Any, name: str = NAME) -> Json:
    """Return the whole resource as the API server wants it."""
    return {
        "apiVersion": "residency.dev/v1alpha1",
        "kind": "DataClassification",
        "metadata": {"name": name},
        "spec": spec,
    }


def _with(**fields: Any) -> Json:
    return {"title": "Example", **fields}


def _alternative(**fields: Any) -> Json:
    return _with(nodes={"anyOf": [fields]})


def _expression(**fields: Any) -> Json:
    return _alternative(matchExpressions=[{"key": OWN_KEY, **fields}])


def _toleration(**fields: Any) -> Json:
    return _with(nodes={"tolerations": [fields]})


def _storage(**fields: Any) -> Json:
    return _with(storage={"classSelector": {"matchLabels": {"disk": "nl"}}, **fields})


def _class_selector(**fields: Any) -> Json:
    return _with(storage={"classSelector": fields})


def _class_expression(**fields: Any) -> Json:
    return _class_selector(matchExpressions=[{"key": "disk", **fields}])


def _evict(**fields: Any) -> Json:
    return _with(runningPods="Evict", eviction=fields)


_RATE: Final = "spec.eviction.maxPerMinute"
_STORAGE: Final = "spec.storage"
_CLASS_SELECTOR: Final = f"{_STORAGE}.classSelector"
_CLASS_EXPRESSION: Final = f"{_CLASS_SELECTOR}.matchExpressions[0]"
_ALTERNATIVE: Final = "spec.nodes.anyOf[0]"
_EXPRESSION: Final = f"{_ALTERNATIVE}.matchExpressions[0]"
_TOLERATION: Final = "spec.nodes.tolerations[0]"

VALID: Final = (
    Valid("a title alone demands nothing", _with()),
    Valid("a name may have dots", _with(), name="nl.example-1"),
    Valid("a name may have 63 characters", _with(), name="a" * 63),
    Valid("a title may have 120 characters of any script", _with(title="é" * 119 + "界")),
    Valid("a title may have quotes, braces and backslashes", _with(title="Dep. \"V\" 'x' \\n {{ }} ${x}")),
    Valid("a reference may be a title alone", _with(references=[{"title": "AVG"}])),
    Valid(
        "a reference may have clause and address",
        _with(references=[{"title": "AVG", "clause": "44-49", "url": "https://example.com/eli/2016/679?x=1#a"}]),
    ),
    Valid("an address may have a port", _with(references=[{"title": "A", "url": "http://[::1]:8080"}])),
    Valid("empty references and includes say nothing", _with(references=[], includes=[])),
    Valid("others may be included", _with(includes=["eu-gdpr", "nl-openbaar"])),
    Valid("StorageClasses by their labels", _class_selector(matchLabels={f"{FACT}/country": "NL", "disk": "ssd"})),
    Valid("StorageClasses by expressions", _class_expression(operator="In", values=["nl", "de"])),
    Valid("StorageClasses that have a label", _class_expression(operator="Exists")),
    Valid("both exceptions for storage", _storage(allow=["StaticVolumes", "DataSources"])),
    Valid("neither exception and no driver", _storage(allow=[], inlineDrivers=[])),
    Valid("eight CSI drivers", _storage(inlineDrivers=[f"driver-{n}.csi.example.com" for n in range(8)])),
    Valid(
        "an alternative may make every kind of demand",
        _alternative(
            countries=["NL"],
            countrySets=["eea"],
            controlledFrom=["NL", "DE"],
            controlledFromSets=["eu", "eea-ch"],
            deploymentModels=["government", "on-premises"],
            providers=["odc-noord"],
            minSEAL=2,
            matchExpressions=[{"key": OWN_KEY, "operator": "Exists"}],
        ),
    ),
    Valid("four alternatives", _with(nodes={"anyOf": [{"countries": [code]} for code in _CODES[:4]]})),
    Valid(
        "64 countries, 32 providers",
        _alternative(countries=_CODES[:64], providers=[f"p{n}" for n in range(32)]),
    ),
    Valid("Greece is GR and the United Kingdom GB", _alternative(countries=["GR", "GB"])),
    Valid("an empty list of expressions beside a demand", _alternative(minSEAL=4, matchExpressions=[])),
    Valid("In with 64 values", _expression(operator="In", values=[f"v{n}" for n in range(64)])),
    Valid("NotIn", _expression(operator="NotIn", values=["a.b_c-D"])),
    Valid("Exists with an empty list of values", _expression(operator="Exists", values=[])),
    Valid("Gt with 18 digits", _expression(operator="Gt", values=["9" * 18])),
    Valid("Lt with zero", _expression(operator="Lt", values=["0"])),
    Valid("the restricted prefix itself", _expression(key="node-restriction.kubernetes.io/x", operator="Exists")),
    Valid(
        "a subdivision that is not allowed",
        _expression(key=f"{FACT}/subdivision", operator="NotIn", values=["NL-BQ1", "NL-BQ2", "NL-BQ3"]),
    ),
    Valid(
        "a country that is not allowed",
        _expression(key=f"{FACT}/country", operator="NotIn", values=["RU", "KP"]),
    ),
    Valid("a level by expression", _expression(key=f"{FACT}/seal", operator="In", values=["0", "4"])),
    Valid("a toleration of a key", _toleration(key="residency.dev/sovereign", operator="Exists")),
    Valid("a toleration of a value and effect", _toleration(key="pool", value="odc", effect="NoExecute")),
    Valid("a toleration of a taint without value", _toleration(key="pool", effect="PreferNoSchedule")),
    Valid(
        "two tolerations that differ in effect",
        _with(nodes={"tolerations": [{"key": "a", "effect": effect} for effect in ("NoSchedule", "NoExecute")]}),
    ),
    Valid("empty tolerations beside a demand", _with(nodes={"anyOf": [{"minSEAL": 1}], "tolerations": []})),
    Valid("misplaced pods evicted at the highest rate", _evict(maxPerMinute=600)),
    Valid("misplaced pods evicted at the lowest rate, as a dry run", _evict(maxPerMinute=1, dryRun=True)),
    Valid("eviction that says nothing", _evict()),
    Valid("eviction set up while pods are only reported", _with(runningPods="Report", eviction={"dryRun": False})),
)

_REQUIRED: Final = "required"
_CLASSES_DEMAND: Final = "must have matchLabels or matchExpressions; leave storage out when nothing is demanded"
_ONE_LINE: Final = "must be one line of text"
_DISTINCT: Final = "write each item once"
_TWO_LETTERS: Final = "write two capital letters, such as NL, DE or CH"
_DEMAND: Final = "an alternative must demand something: write at least one of countries"
_FACT_VALUES: Final = "must be values that the fact can have: countries as ISO 3166-1 codes such as NL (GR, not EL"
_ONE_NUMBER: Final = "must be one non-negative integer of at most 18 digits when the operator is Gt or Lt"
_ONE_VALUE: Final = "must name at least one value when the operator is In or NotIn"
_SLUG: Final = "must be lower-case letters, digits and '-', such as odc-noord"
_LABEL_VALUE: Final = "letters, digits, '-', '_' and '.', such as rack-12"
_RESTRICTED: Final = "its prefix must be or end with node-restriction.kubernetes.io, such as example.node-"
_TAINT_KEY: Final = "must be the key of a taint, such as residency.dev/sovereign"
_ADDRESS: Final = "must be an http or https address, such as https://www.example.com/policy"
_OWN_NAMES: Final = "names that start with residency- are Residency's own; choose another, such as nl-depv"
_INCLUDED_NAME: Final = "lower-case letters, digits, '-' and '.', such as nl-depv"

INVALID: Final = (
    # the name
    Invalid("the canary's name is reserved", _with(), "metadata.name", _OWN_NAMES, name="residency-canary"),
    Invalid("names of Residency's own are reserved", _with(), "metadata.name", _OWN_NAMES, name="residency-x"),
    Invalid(
        "a name must fit a label",
        _with(),
        "metadata.name",
        "at most 63",
        "may not be more than 63",
        name="a" * 64,
    ),
    # spec and title
    Invalid("a spec must be there", None, "spec", "must be an object", "Required value"),
    Invalid("a spec must be an object", "nl", "spec", "object"),
    Invalid("a title must be there", {}, "spec.title", _REQUIRED),
    Invalid("a title must not be empty", _with(title=""), "spec.title", "at least 1 char"),
    Invalid("a title must have at most 120 characters", _with(title="a" * 121), "spec.title", "120"),
    Invalid("a title must be a string", _with(title=7), "spec.title", "string"),
    Invalid("a title must be one line", _with(title="Departementaal\nVertrouwelijk"), "spec.title", _ONE_LINE),
    Invalid("a title must not end in a line end", _with(title="Example\n"), "spec.title", _ONE_LINE),
    Invalid("a title must not be blank", _with(title=" "), "spec.title", _ONE_LINE),
    Invalid("a title must not steer a terminal", _with(title="\x1b[31mred"), "spec.title", _ONE_LINE),
    Invalid("a title must not have a Unicode line separator", _with(title="a\u2028b"), "spec.title", _ONE_LINE),
    Invalid("a field must be known", _with(colour="red"), "spec.colour", "unknown field"),
    # references
    Invalid(
        "a reference must have a title",
        _with(references=[{"clause": "1"}]),
        "spec.references[0].title",
        _REQUIRED,
    ),
    Invalid(
        "a clause must be short",
        _with(references=[{"title": "A", "clause": "1" * 41}]),
        "spec.references[0].clause",
        "40",
    ),
    Invalid(
        "a clause must be one line",
        _with(references=[{"title": "A", "clause": "4.6\r\n"}]),
        "spec.references[0].clause",
        _ONE_LINE,
    ),
    Invalid(
        "an address must be http",
        _with(references=[{"title": "A", "url": "ftp://example.com"}]),
        "spec.references[0].url",
        _ADDRESS,
    ),
    Invalid(
        "an address must not have spaces",
        _with(references=[{"title": "A", "url": "https://example.com/a b"}]),
        "spec.references[0].url",
        _ADDRESS,
    ),
    Invalid(
        "an address must have at most 300 characters",
        _with(references=[{"title": "A", "url": "https://" + "a" * 293}]),
        "spec.references[0].url",
        "300",
    ),
    Invalid("at most 8 references", _with(references=[{"title": "A"}] * 9), "spec.references", "at most 8 item"),
    # includes
    Invalid(
        "a classification must not include itself",
        _with(includes=[NAME]),
        "spec.includes",
        "leave its own name out",
    ),
    Invalid("a name must be included once", _with(includes=["a", "a"]), "spec.includes", "duplicate value"),
    Invalid("an included name must be a name", _with(includes=["Eu GDPR"]), "spec.includes[0]", _INCLUDED_NAME),
    Invalid("an included name must not be empty", _with(includes=[""]), "spec.includes[0]", "at least 1 char"),
    Invalid("an included name must fit a label", _with(includes=["a" * 64]), "spec.includes[0]", "63"),
    Invalid(
        "a reserved name must not be included",
        _with(includes=["residency-canary"]),
        "spec.includes[0]",
        _OWN_NAMES,
    ),
    Invalid(
        "at most 8 are included",
        _with(includes=[f"a{n}" for n in range(9)]),
        "spec.includes",
        "at most 8 item",
    ),
    Invalid("includes must be a list", _with(includes="eu-gdpr"), "spec.includes", "must be a list", "type array"),
    # nodes
    Invalid("nodes must say something", _with(nodes={}), "spec.nodes", "must have anyOf or tolerations"),
    Invalid("empty tolerations say nothing", _with(nodes={"tolerations": []}), "spec.nodes", "must have anyOf or"),
    Invalid("anyOf must not be empty", _with(nodes={"anyOf": []}), "spec.nodes.anyOf", "at least 1 item"),
    Invalid(
        "at most 4 alternatives",
        _with(nodes={"anyOf": [{"minSEAL": 1}] * 5}),
        "spec.nodes.anyOf",
        "at most 4 item",
    ),
    Invalid("an alternative must not be empty", _alternative(), _ALTERNATIVE, _DEMAND),
    Invalid("no expressions are no demand", _alternative(matchExpressions=[]), _ALTERNATIVE, _DEMAND),
    Invalid(
        "an alternative has no unknown field",
        _alternative(country="NL"),
        f"{_ALTERNATIVE}.country",
        "unknown field",
    ),
    # countries and control
    Invalid(
        "Greece is not EL",
        _alternative(countries=["EL"]),
        f"{_ALTERNATIVE}.countries[0]",
        "write GR for Greece",
    ),
    Invalid(
        "the United Kingdom is not UK",
        _alternative(countries=["NL", "UK"]),
        f"{_ALTERNATIVE}.countries[1]",
        "write GB for the United Kingdom",
    ),
    Invalid(
        "the EU is not a country",
        _alternative(countries=["EU"]),
        f"{_ALTERNATIVE}.countries[0]",
        "for a group of countries write countrySets: [eu], [eea] or [eea-ch]",
    ),
    Invalid(
        "a code must be assigned",
        _alternative(countries=["XX"]),
        f"{_ALTERNATIVE}.countries[0]",
        _TWO_LETTERS,
    ),
    Invalid(
        "Kosovo's XK is not in ISO 3166-1",
        _alternative(countries=["XK"]),
        f"{_ALTERNATIVE}.countries[0]",
        _TWO_LETTERS,
    ),
    Invalid(
        "a code must be in capitals",
        _alternative(countries=["nl"]),
        f"{_ALTERNATIVE}.countries[0]",
        _TWO_LETTERS,
    ),
    Invalid(
        "a code must have two letters",
        _alternative(countries=["NLD"]),
        f"{_ALTERNATIVE}.countries[0]",
        _TWO_LETTERS,
    ),
    Invalid("a code must not be empty", _alternative(countries=[""]), f"{_ALTERNATIVE}.countries[0]", _TWO_LETTERS),
    Invalid(
        "a country must be named once",
        _alternative(countries=["NL", "NL"]),
        f"{_ALTERNATIVE}.countries",
        _DISTINCT,
    ),
    Invalid(
        "countries must not be empty",
        _alternative(countries=[]),
        f"{_ALTERNATIVE}.countries",
        "at least 1 item",
    ),
    Invalid(
        "at most 64 countries",
        _alternative(countries=_CODES[:65]),
        f"{_ALTERNATIVE}.countries",
        "at most 64 item",
    ),
    Invalid(
        "a country set must be known",
        _alternative(countrySets=["efta"]),
        f"{_ALTERNATIVE}.countrySets[0]",
        "eea-ch",
    ),
    Invalid(
        "a country set must be named once",
        _alternative(countrySets=["eu", "eu"]),
        f"{_ALTERNATIVE}.countrySets",
        _DISTINCT,
    ),
    Invalid(
        "control is not from the EU as a country",
        _alternative(controlledFrom=["EU"]),
        f"{_ALTERNATIVE}.controlledFrom[0]",
        "for a group of countries write controlledFromSets: [eu], [eea] or [eea-ch]",
    ),
    Invalid(
        "control is not from UK",
        _alternative(controlledFrom=["uk"]),
        f"{_ALTERNATIVE}.controlledFrom[0]",
        "write GB",
    ),
    Invalid(
        "a jurisdiction must be named once",
        _alternative(controlledFrom=["US"] * 2),
        f"{_ALTERNATIVE}.controlledFrom",
        _DISTINCT,
    ),
    Invalid(
        "a set of jurisdictions must be known",
        _alternative(controlledFromSets=["EU"]),
        f"{_ALTERNATIVE}.controlledFromSets[0]",
        "eea-ch",
    ),
    # models, providers, level
    Invalid(
        "a deployment model must be known",
        _alternative(deploymentModels=["private"]),
        f"{_ALTERNATIVE}.deploymentModels[0]",
        "on-premises",
    ),
    Invalid(
        "a deployment model must be named once",
        _alternative(deploymentModels=["public"] * 2),
        f"{_ALTERNATIVE}.deploymentModels",
        _DISTINCT,
    ),
    Invalid(
        "a provider must be a slug",
        _alternative(providers=["ODC Noord"]),
        f"{_ALTERNATIVE}.providers[0]",
        _SLUG,
    ),
    Invalid(
        "a provider must not end in a hyphen",
        _alternative(providers=["odc-"]),
        f"{_ALTERNATIVE}.providers[0]",
        _SLUG,
    ),
    Invalid(
        "a provider must not end in a line end",
        _alternative(providers=["odc\n"]),
        f"{_ALTERNATIVE}.providers[0]",
        _SLUG,
    ),
    Invalid(
        "at most 32 providers",
        _alternative(providers=[f"p{n}" for n in range(33)]),
        f"{_ALTERNATIVE}.providers",
        "at most 32 item",
    ),
    Invalid(
        "a level is at least 1",
        _alternative(minSEAL=0),
        f"{_ALTERNATIVE}.minSEAL",
        "at least 1",
        "greater than or equal to 1",
    ),
    Invalid(
        "a level is at most 4",
        _alternative(minSEAL=5),
        f"{_ALTERNATIVE}.minSEAL",
        "at most 4",
        "less than or equal to 4",
    ),
    Invalid("a level is a number", _alternative(minSEAL="2"), f"{_ALTERNATIVE}.minSEAL", "integer"),
    Invalid("a level is a whole number", _alternative(minSEAL=2.5), f"{_ALTERNATIVE}.minSEAL", "integer"),
    Invalid("a level is not a truth value", _alternative(minSEAL=True), f"{_ALTERNATIVE}.minSEAL", "integer"),
    # expressions
    Invalid(
        "a key must be restricted",
        _expression(key="topology.kubernetes.io/zone", operator="Exists"),
        f"{_EXPRESSION}.key",
        _RESTRICTED,
    ),
    Invalid(
        "a restricted key must have a name",
        _expression(key="node-restriction.kubernetes.io/", operator="Exists"),
        f"{_EXPRESSION}.key",
        _RESTRICTED,
    ),
    Invalid(
        "a prefix must end at a dot",
        _expression(key="xnode-restriction.kubernetes.io/a", operator="Exists"),
        f"{_EXPRESSION}.key",
        _RESTRICTED,
    ),
    Invalid(
        "an expression must have an operator",
        _alternative(matchExpressions=[{"key": OWN_KEY}]),
        f"{_EXPRESSION}.operator",
        _REQUIRED,
    ),
    Invalid(
        "an expression must have a key",
        _alternative(matchExpressions=[{"operator": "Exists"}]),
        f"{_EXPRESSION}.key",
        _REQUIRED,
    ),
    Invalid(
        "an unlabelled node must never pass",
        _expression(operator="DoesNotExist"),
        f"{_EXPRESSION}.operator",
        "NotIn",
    ),
    Invalid(
        "Exists has no values",
        _expression(operator="Exists", values=["a"]),
        f"{_EXPRESSION}.values",
        "must be left out when the operator is Exists",
    ),
    Invalid("In has values", _expression(operator="In"), f"{_EXPRESSION}.values", _ONE_VALUE),
    Invalid(
        "In has values, not an empty list",
        _expression(operator="In", values=[]),
        f"{_EXPRESSION}.values",
        _ONE_VALUE,
    ),
    Invalid("NotIn has values", _expression(operator="NotIn"), f"{_EXPRESSION}.values", _ONE_VALUE),
    Invalid("Gt has a value", _expression(operator="Gt"), f"{_EXPRESSION}.values", _ONE_NUMBER),
    Invalid(
        "Gt has one value",
        _expression(operator="Gt", values=["1", "2"]),
        f"{_EXPRESSION}.values",
        _ONE_NUMBER,
    ),
    Invalid("Lt has a number", _expression(operator="Lt", values=["one"]), f"{_EXPRESSION}.values", _ONE_NUMBER),
    Invalid(
        "Gt has at most 18 digits",
        _expression(operator="Gt", values=["1" * 19]),
        f"{_EXPRESSION}.values",
        _ONE_NUMBER,
    ),
    Invalid(
        "a value must be a label value",
        _expression(operator="In", values=["a b"]),
        f"{_EXPRESSION}.values[0]",
        _LABEL_VALUE,
    ),
    Invalid(
        "Gt has no negative number",
        _expression(operator="Gt", values=["-1"]),
        f"{_EXPRESSION}.values[0]",
        _LABEL_VALUE,
    ),
    Invalid(
        "a value must not be empty",
        _expression(operator="In", values=[""]),
        f"{_EXPRESSION}.values[0]",
        "at least 1 char",
    ),
    Invalid(
        "a value must have at most 63 characters",
        _expression(operator="In", values=["a" * 64]),
        f"{_EXPRESSION}.values[0]",
        "63",
    ),
    Invalid(
        "a value must be named once",
        _expression(operator="In", values=["a", "a"]),
        f"{_EXPRESSION}.values",
        _DISTINCT,
    ),
    Invalid(
        "at most 64 values",
        _expression(operator="In", values=[f"v{n}" for n in range(65)]),
        f"{_EXPRESSION}.values",
        "at most 64 item",
    ),
    Invalid(
        "at most 8 expressions",
        _alternative(matchExpressions=[{"key": OWN_KEY, "operator": "Exists"}] * 9),
        f"{_ALTERNATIVE}.matchExpressions",
        "at most 8 item",
    ),
    Invalid(
        "NotIn [UK] would let GB pass",
        _expression(key=f"{FACT}/country", operator="NotIn", values=["UK"]),
        f"{_EXPRESSION}.values",
        _FACT_VALUES,
    ),
    Invalid(
        "NotIn [us] would let US pass",
        _expression(key=f"{FACT}/controlled-from", operator="NotIn", values=["RU", "us"]),
        f"{_EXPRESSION}.values",
        _FACT_VALUES,
    ),
    Invalid(
        "NotIn [Public] would let public pass",
        _expression(key=f"{FACT}/deployment-model", operator="NotIn", values=["Public"]),
        f"{_EXPRESSION}.values",
        _FACT_VALUES,
    ),
    Invalid(
        "a subdivision has its country's code",
        _expression(key=f"{FACT}/subdivision", operator="NotIn", values=["BQ1"]),
        f"{_EXPRESSION}.values",
        _FACT_VALUES,
    ),
    Invalid(
        "a provider in an expression is a slug",
        _expression(key=f"{FACT}/provider", operator="NotIn", values=["AWS"]),
        f"{_EXPRESSION}.values",
        _FACT_VALUES,
    ),
    Invalid(
        "a level in an expression is 0 to 4",
        _expression(key=f"{FACT}/seal", operator="NotIn", values=["5"]),
        f"{_EXPRESSION}.values",
        _FACT_VALUES,
    ),
    # tolerations
    Invalid("a toleration must have a key", _toleration(operator="Exists"), f"{_TOLERATION}.key", _REQUIRED),
    Invalid(
        "a toleration's key must not be empty",
        _toleration(key="", operator="Exists"),
        f"{_TOLERATION}.key",
        "at least 1 char",
    ),
    Invalid(
        "a toleration's key must be a key",
        _toleration(key="Residency.dev/x y"),
        f"{_TOLERATION}.key",
        _TAINT_KEY,
    ),
    Invalid(
        "Exists tolerates any value",
        _toleration(key="a", operator="Exists", value="b"),
        f"{_TOLERATION}.value",
        "must be left out when the operator is Exists",
    ),
    Invalid(
        "a toleration's operator must be known",
        _toleration(key="a", operator="Gt"),
        f"{_TOLERATION}.operator",
        "Equal",
    ),
    Invalid(
        "an effect must be known",
        _toleration(key="a", effect="noexecute"),
        f"{_TOLERATION}.effect",
        "PreferNoSchedule",
    ),
    Invalid(
        "an effect must not be empty",
        _toleration(key="a", effect=""),
        f"{_TOLERATION}.effect",
        "PreferNoSchedule",
    ),
    Invalid(
        "a toleration's value must be a label value",
        _toleration(key="a", value="b c"),
        f"{_TOLERATION}.value",
        _LABEL_VALUE,
    ),
    Invalid(
        "a toleration has no seconds",
        _toleration(key="a", tolerationSeconds=5),
        f"{_TOLERATION}.tolerationSeconds",
        "unknown field",
    ),
    Invalid(
        "a toleration must be written once",
        _with(nodes={"tolerations": [{"key": "a"}, {"key": "a", "operator": "Equal"}]}),
        "spec.nodes.tolerations",
        _DISTINCT,
    ),
    Invalid(
        "at most 8 tolerations",
        _with(nodes={"tolerations": [{"key": f"k{n}"} for n in range(9)]}),
        "spec.nodes.tolerations",
        "at most 8 item",
    ),
    # storage
    Invalid("storage says which classes", _with(storage={}), _CLASS_SELECTOR, _REQUIRED),
    Invalid("a class selector demands something", _class_selector(), _CLASS_SELECTOR, _CLASSES_DEMAND),
    Invalid(
        "a class selector of empty parts demands nothing",
        _class_selector(matchLabels={}, matchExpressions=[]),
        _CLASS_SELECTOR,
        _CLASSES_DEMAND,
    ),
    Invalid(
        "a class selector has matchLabels and matchExpressions only",
        _class_selector(matchLabels={"disk": "nl"}, matchFields=[]),
        f"{_CLASS_SELECTOR}.matchFields",
        "unknown field",
    ),
    Invalid(
        "at most 8 labels of a class",
        _class_selector(matchLabels={f"k{n}": "v" for n in range(9)}),
        f"{_CLASS_SELECTOR}.matchLabels",
        "at most 8 item",
        "8 items",
    ),
    Invalid(
        "a class is not chosen by what it lacks",
        _class_expression(operator="NotIn", values=["us"]),
        f"{_CLASS_EXPRESSION}.operator",
        "Exists",
    ),
    Invalid(
        "In of a class names a value",
        _class_expression(operator="In"),
        f"{_CLASS_EXPRESSION}.values",
        "must name at least one value when the operator is In",
    ),
    Invalid(
        "Exists of a class names none",
        _class_expression(operator="Exists", values=["a"]),
        f"{_CLASS_EXPRESSION}.values",
        "must be left out when the operator is Exists",
    ),
    Invalid(
        "the label of a class must be a key",
        _class_selector(matchExpressions=[{"key": "a b", "operator": "Exists"}]),
        f"{_CLASS_EXPRESSION}.key",
        "must be the key of a label, such as residency",
    ),
    Invalid(
        "a label's value of a class must be one",
        _class_expression(operator="In", values=["a b"]),
        f"{_CLASS_EXPRESSION}.values[0]",
        _LABEL_VALUE,
    ),
    Invalid("an exception for storage is known", _storage(allow=["Anything"]), f"{_STORAGE}.allow[0]", "DataSources"),
    Invalid(
        "an exception for storage is written once",
        _storage(allow=["DataSources", "DataSources"]),
        f"{_STORAGE}.allow",
        _DISTINCT,
    ),
    Invalid(
        "a driver must be a name",
        _storage(inlineDrivers=["Secrets Store"]),
        f"{_STORAGE}.inlineDrivers[0]",
        "must be the name of a CSI driver, such as secrets-store.csi.k8s.io",
    ),
    Invalid("a driver's name must fit", _storage(inlineDrivers=["d" * 64]), f"{_STORAGE}.inlineDrivers[0]", "63"),
    Invalid(
        "at most 8 drivers",
        _storage(inlineDrivers=[f"d{n}" for n in range(9)]),
        f"{_STORAGE}.inlineDrivers",
        "at most 8 item",
    ),
    Invalid("a driver is written once", _storage(inlineDrivers=["a", "a"]), f"{_STORAGE}.inlineDrivers", _DISTINCT),
    # eviction
    Invalid("running pods are reported or evicted", _with(runningPods="Delete"), "spec.runningPods", "Evict"),
    Invalid(
        "the rate is at least 1", _evict(maxPerMinute=0), _RATE, "must be at least 1", "greater than or equal to 1"
    ),
    Invalid(
        "the rate is at most 600", _evict(maxPerMinute=601), _RATE, "must be at most 600", "less than or equal to 600"
    ),
    Invalid("the rate is a number", _evict(maxPerMinute="6"), _RATE, "integer"),
    Invalid("a dry run is or is not", _evict(dryRun="yes"), "spec.eviction.dryRun", "must be true or false", "boolean"),
    Invalid("eviction has no unknown field", _evict(perMinute=6), "spec.eviction.perMinute", "unknown field"),
)
