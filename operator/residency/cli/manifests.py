"""DataClassifications from YAML files, and plain objects into YAML: what ``kubectl apply`` would take and store."""

import re
import sys
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import ValidationError

from residency.api.classification import DataClassification
from residency.api.names import GROUP, KIND, VERSION, ClassificationName
from residency.api.schema import describe
from residency.core.catalogue import resolve
from residency.core.judge import Catalogue
from residency.core.placement import Classification
from residency.core.storage import StorageClass, with_classes

ENDINGS: Final = (".json", ".yaml", ".yml")
_API_VERSION: Final = f"{GROUP}/{VERSION}"
_STORAGE_CLASS: Final = ("storage.k8s.io/v1", "StorageClass")
_TIMESTAMP: Final = "tag:yaml.org,2002:timestamp"
_STRING: Final = "tag:yaml.org,2002:str"

# What no reader of YAML 1.1 takes for a number or for yes and no, as `1e3` and `n` are by some.
_PLAIN: Final = re.compile(r"[A-Za-z].+", re.DOTALL)


class BadManifest(Exception):
    """A file cannot be used; the text says which one, where, and what would be right."""


@dataclass(frozen=True, slots=True)
class Manifests:
    """What was found in files."""

    catalogue: Catalogue
    storage_classes: tuple[StorageClass, ...]
    left_out: tuple[str, ...]
    """Objects of other kinds, each with its file."""


@dataclass(frozen=True, slots=True)
class _Document:
    """An object in a file."""

    path: Path
    content: Mapping[str, Any]

    @property
    def kind(self) -> object:
        return self.content.get("kind")

    @property
    def name(self) -> object:
        metadata = self.content.get("metadata")
        return metadata.get("name") if isinstance(metadata, Mapping) else None

    def __str__(self) -> str:
        named = f" {self.name}" if isinstance(self.name, str) else ""
        return f"{self.path}: {self.kind}{named}"


def read(paths: Iterable[Path]) -> Manifests:
    """Read all classifications in files, and in the files that lie in folders, and resolve them.

    StorageClasses are read too: which of them a classification allows is compiled by their names. Files of a platform
    hold other things besides, so objects of other API groups are left out, and told of. Whatever may have been meant as
    a DataClassification is an error instead: to leave it out would weaken what is enforced.

    Raises:
        BadManifest: one of them cannot be read, or not be resolved.
    """
    documents = [document for path in paths for file in _files(path) for document in _documents(file)]
    others = [document for document in documents if _is_something_else(document)]
    ours = [document for document in documents if not _is_something_else(document)]
    if not ours:
        raise BadManifest(f"no {KIND} in {', '.join(map(str, paths)) or 'no files'}")
    classes = tuple(map(_storage_class, filter(_is_storage_class, others)))
    left_out = tuple(str(document) for document in others if not _is_storage_class(document))
    return Manifests(_for(classes, _resolve(ours)), classes, left_out)


def dump(objects: Sequence[Mapping[str, Any]], remark: str) -> str:
    """Write objects as the documents of one file, with a comment on top."""
    text: str = yaml.dump_all(objects, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=sys.maxsize)
    return f"# {remark}\n{text}"


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.iterdir() if file.suffix.lower() in ENDINGS and file.is_file())
    if not found:
        raise BadManifest(f"{path}: no file in it ends in {', '.join(ENDINGS)}")
    return found


def _documents(path: Path) -> Iterator[_Document]:
    try:
        contents = list(yaml.load_all(path.read_text(encoding="utf-8"), Loader=_Loader))
    except OSError as error:
        raise BadManifest(f"{path}: {error.strerror}") from error
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise BadManifest(f"{path}{line}: not YAML: {error.problem or error.context}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise BadManifest(f"{path}: not YAML: {' '.join(str(error).split())[:200]}") from error
    for content in contents:
        if content is not None:
            yield from _objects(path, content)


def _objects(path: Path, content: object) -> Iterator[_Document]:
    if not isinstance(content, Mapping) or not all(isinstance(content.get(k), str) for k in ("apiVersion", "kind")):
        raise BadManifest(f"{path}: holds something without apiVersion and kind; only Kubernetes objects may be in it")
    if content["kind"] != "List":
        yield _Document(path, content)
        return
    items = content.get("items")
    if not isinstance(items, list):
        raise BadManifest(f"{path}: items of the List must be a list")
    for item in items:
        yield from _objects(path, item)


def _is_something_else(document: _Document) -> bool:
    group = str(document.content["apiVersion"]).partition("/")[0]
    return group != GROUP and document.kind != KIND


def _is_storage_class(document: _Document) -> bool:
    return (document.content["apiVersion"], document.kind) == _STORAGE_CLASS


def _storage_class(document: _Document) -> StorageClass:
    metadata = document.content.get("metadata")
    if not isinstance(metadata, Mapping) or not isinstance(metadata.get("name"), str):
        raise BadManifest(f"{document}: metadata.name must be a text")
    for part in ("labels", "annotations"):
        if not isinstance(metadata.get(part) or {}, Mapping):
            raise BadManifest(f"{document}: metadata.{part} must be an object")
    return StorageClass.from_metadata(metadata)


def _for(classes: Sequence[StorageClass], catalogue: Catalogue) -> Catalogue:
    """Fill in which StorageClasses each allows."""
    demanding = [name for name, classification in catalogue.items() if classification.storage is not None]
    if demanding and not classes:
        raise BadManifest(
            f"{demanding[0]} asks something of storage, but there is no StorageClass in the files, so that no claim "
            "would be allowed: add those of the cluster (kubectl get storageclasses -o yaml)"
        )
    return {name: with_classes(classification, classes) for name, classification in catalogue.items()}


def _resolve(documents: Sequence[_Document]) -> Catalogue:
    read_from: dict[ClassificationName, _Document] = {}
    specs = {}
    for document in documents:
        parsed = _parse(document)
        name = ClassificationName(parsed.metadata.name)
        if name in read_from:
            raise BadManifest(f"{document} is in {read_from[name].path} too; keep one of them")
        read_from[name] = document
        specs[name] = parsed.spec
    catalogue: dict[ClassificationName, Classification] = {}
    for name, outcome in resolve(specs).items():
        if not isinstance(outcome, Classification):
            raise BadManifest(f"{read_from[name]}: {outcome.message}")
        catalogue[name] = outcome
    return catalogue


def _parse(document: _Document) -> DataClassification:
    # Of what was read from a cluster the status is the controller's, and nobody's wish.
    written = {key: value for key, value in document.content.items() if key != "status"}
    if (written["apiVersion"], written["kind"]) != (_API_VERSION, KIND):
        raise BadManifest(f"{document} of {written['apiVersion']} is not known; write {KIND} of {_API_VERSION}")
    try:
        return DataClassification.parse(written)
    except ValidationError as error:
        raise BadManifest(f"{document}: {describe(error)}") from error


class _Loader(yaml.SafeLoader):
    """Reads what kubectl reads: dates are texts, and a key that comes twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag == _STRING:
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"{key.value} comes twice", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _TIMESTAMP]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class _Dumper(yaml.SafeDumper):
    """Quotes every text that a reader might take for something else, and repeats what occurs twice."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 (PyYAML's)
        return True


def _represent_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar(_STRING, text, style=None if _PLAIN.fullmatch(text) else '"')


_Dumper.add_representer(str, _represent_text)
