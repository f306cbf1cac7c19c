"""``residency render``: what is written, and what is wrong said in one line."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from residency.api.names import SELF_PROTECTION
from residency.cli import main, manifests
from residency.policy.static import admission_configuration

Json = dict[str, Any]

FOLDER = Path(__file__).parents[2] / "examples"
EXAMPLES = FOLDER / "classifications", FOLDER / "storage-classes.yaml"


@pytest.fixture(autouse=True)
def outside_a_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POD_NAMESPACE", raising=False)


def document(name: str = "nl", **spec: Any) -> str:
    body = {
        "apiVersion": "residency.dev/v1alpha1",
        "kind": "DataClassification",
        "metadata": {"name": name},
        "spec": {"title": "Title", **spec},
    }
    return json.dumps(body)


def render(folder: Path, *flags: str) -> int:
    return main(["render", "--static", str(folder), "--namespace", "own", *flags])


def compiling(*paths: Path) -> tuple[str, ...]:
    return ("--with-policies", "--classifications", *map(str, paths))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def rendered(path: Path) -> list[Json]:
    return list(yaml.safe_load_all(path.read_text()))


def test_the_same_is_written_again_and_what_is_no_longer_asked_for_is_removed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert render(out, *compiling(*EXAMPLES)) == 0
    first = contents(out)
    assert set(first) == {"validating/residency.yaml", "mutating/residency.yaml", "admission-configuration.yaml"}
    assert render(out, *compiling(*EXAMPLES)) == 0
    assert contents(out) == first
    assert capsys.readouterr().out.count("wrote ") == 2 * 3

    assert render(out) == 0
    assert set(contents(out)) == {"validating/residency.yaml", "admission-configuration.yaml"}
    assert [item["metadata"]["name"] for item in rendered(out / "validating" / "residency.yaml")] == [
        SELF_PROTECTION
    ] * 2
    assert f"removed {out / 'mutating' / 'residency.yaml'}" in capsys.readouterr().out
    assert (out / "mutating").is_dir(), "the API server does not start without it"


def test_everybody_may_read_what_is_written_and_nothing_else_is_left(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        assert render(tmp_path) == 0
    finally:
        os.umask(before)
    assert (tmp_path / "validating" / "residency.yaml").stat().st_mode & 0o777 == 0o644
    assert set(contents(tmp_path)) == {"validating/residency.yaml", "admission-configuration.yaml"}


def test_the_configuration_names_the_folder_as_the_api_server_sees_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert render(Path("out")) == 0
    path = tmp_path / "out" / "admission-configuration.yaml"
    assert rendered(path) == [admission_configuration(str(tmp_path / "out"))]
    assert render(Path("out"), "--api-server-path", "/etc/kubernetes/residency") == 0
    assert rendered(path) == [admission_configuration("/etc/kubernetes/residency")]


def test_check_writes_nothing_and_tells_what_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert render(out, "--check") == 1
    assert not out.exists()
    render(out)
    before = contents(out)
    capsys.readouterr()
    assert render(out, "--check") == 0
    assert capsys.readouterr().out == ""
    assert render(out, "--check", "--service-account", "another") == 1
    assert capsys.readouterr().out == f"differs: {out / 'validating' / 'residency.yaml'}\n"
    assert render(out, "--check", *compiling(*EXAMPLES)) == 1
    assert contents(out) == before


def test_the_flags_of_the_controller_reach_the_policies(tmp_path: Path) -> None:
    flags = ["--canary-namespace", "c", "--exclude-namespace", "x", "--scheduler", "mine", "--service-account", "sa"]
    assert render(tmp_path, *compiling(*EXAMPLES), *flags, "--reinvocation-policy", "IfNeeded") == 0
    placing = rendered(tmp_path / "mutating" / "residency.yaml")
    assert {p["spec"]["reinvocationPolicy"] for p in placing if p["kind"].endswith("Policy")} == {"IfNeeded"}
    bound = [p["spec"]["matchResources"] for p in placing if p["kind"].endswith("Binding")]
    expressions = bound[-1]["namespaceSelector"]["matchExpressions"]
    assert ["kube-system", "own", "x"] in [e.get("values") for e in expressions]
    assert ["c"] in [e.get("values") for e in expressions]
    guards = str(rendered(tmp_path / "validating" / "residency.yaml"))
    assert "system:serviceaccount:own:sa" in guards
    assert '["mine"]' in guards


def test_what_kubectl_and_a_repository_hold_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    live = json.loads(document("eu", includes=["nl"])) | {"status": {"rubbish": 1}}
    live["metadata"] |= {"generation": 2, "managedFields": []}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "payments"}}
    (tmp_path / "list.json").write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": [live, namespace]}))
    (tmp_path / "nl.yaml").write_text(f"---\n# first\n---\n{document()}\n---\n")
    (tmp_path / "README.md").write_text("not read")
    found = manifests.read([tmp_path])
    assert set(found.catalogue) == {"nl", "eu"}
    assert found.left_out == (f"{tmp_path / 'list.json'}: Namespace payments",)
    assert render(tmp_path / "out", *compiling(tmp_path)) == 0
    assert (
        f"left out, neither a DataClassification nor a StorageClass: {tmp_path / 'list.json'}: Namespace payments\n"
        in capsys.readouterr().out
    )


STORAGE = {"classSelector": {"matchLabels": {"example.com/country": "NL"}}}


def storage_class(name: str, **metadata: Any) -> str:
    body = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": name, **metadata}}
    return json.dumps(body)


def test_storage_classes_in_the_files_are_those_that_claims_may_ask_for(tmp_path: Path) -> None:
    path, out = tmp_path / "in.yaml", tmp_path / "out"
    default = {"storageclass.kubernetes.io/is-default-class": "true"}
    classes = [
        storage_class("here", labels={"example.com/country": "NL"}),
        storage_class("there", labels={"example.com/country": "US"}, annotations=default),
    ]
    path.write_text("\n---\n".join([document(storage=STORAGE), *classes]))
    assert render(out, *compiling(path)) == 0
    text = (out / "validating" / "residency.yaml").read_text()
    assert '\\"here\\"' in text
    # The default is known although it is not allowed: templates that name no class are refused by its name.
    assert "there" in text


def test_dates_are_texts_as_kubectl_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(document().replace('"Title"', "2026-11-23").replace("{", "{ "))
    assert next(iter(manifests.read([path]).catalogue.values())).title == "2026-11-23"


def test_texts_that_another_reader_of_yaml_takes_for_something_else_are_quoted() -> None:
    texts = [
        "n",
        "y",
        "no",
        "on",
        "1e3",
        "0x1f",
        "0o17",
        "1_000",
        ".5",
        "~",
        "null",
        "2026-11-23",
        "*",
        "",
        "a: b",
        "é",
    ]
    text = manifests.dump([{"kind": "A", "values": texts}], "Remark.")
    assert yaml.safe_load(text)["values"] == texts
    lines = [line.removeprefix("- ") for line in text.splitlines() if line.startswith("- ")]
    assert {line[0] for line in lines[:-1]} <= {'"', "'"}
    assert lines[-1] == '"é"'


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a: [", "bad.yaml:1: not YAML"),
        ("\x00", "bad.yaml: not YAML"),
        ("[" * 5000, "bad.yaml: not YAML"),
        ("a: 1\na: 2", "bad.yaml:2: not YAML: a comes twice"),
        ("- 1", "without apiVersion and kind"),
        ("kind: Namespace", "without apiVersion and kind"),
        ("{apiVersion: v1, kind: List, items: 3}", "items of the List must be a list"),
        ("{apiVersion: v1, kind: Namespace}", "no DataClassification in"),
        ("", "no DataClassification in"),
        (document().replace("v1alpha1", "v9"), "DataClassification nl of residency.dev/v9 is not known"),
        (document().replace("residency.dev", "residency.dv"), "of residency.dv/v1alpha1 is not known"),
        (document().replace("DataClass", "Dataclass"), "Dataclassification nl of residency.dev/v1alpha1 is not known"),
        (document().replace('"name"', '"nome"'), "metadata.name: required, and missing"),
        (document("Nl"), "DataClassification Nl: metadata.name"),
        (document().replace('"spec"', '"sepc"'), "spec: required, and missing"),
        (document(nodes=3), "DataClassification nl: spec.nodes"),
        (document(nodes={"anyOf": [{"countries": [False]}]}), "countries[0]: false: must be a string"),
        (document(includes=["other"]), 'DataClassification nl: nl includes "other"'),
        (f"{document()}\n---\n{document()}", "DataClassification nl is in"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(
    content: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(content)
    assert render(tmp_path / "out", *compiling(path)) == 2
    text = capsys.readouterr().err
    assert text.startswith("residency render: ")
    assert said in text
    assert text.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("added", "said"),
    [
        ([], "nl asks something of storage, but there is no StorageClass in the files"),
        ([storage_class("x", labels=["NL"])], "StorageClass x: metadata.labels must be an object"),
        ([storage_class("x").replace('"name": "x"', '"name": 7')], "metadata.name must be a text"),
    ],
)
def test_what_is_wrong_with_storage_is_one_line(
    added: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("\n---\n".join([document(storage=STORAGE), *added]))
    assert render(tmp_path / "out", *compiling(path)) == 2
    text = capsys.readouterr().err
    assert said in text
    assert text.count("\n") == 1


def test_what_is_too_large_for_an_api_server_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "huge.yaml"
    values = [f"{'v' * 59}-{number}" for number in range(64)]

    def large(number: int) -> str:
        keys = [f"node-restriction.kubernetes.io/k-{number}-{key}" for key in range(8)]
        expressions = [{"key": key, "operator": "In", "values": values} for key in keys]
        return document(f"large-{number}", nodes={"anyOf": [{"matchExpressions": expressions}]})

    path.write_text("\n---\n".join(map(large, range(30))))
    assert render(tmp_path / "out", *compiling(path)) == 2
    text = capsys.readouterr().err
    assert "delete classifications that are not in use" in text
    assert text.count("\n") == 1


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--with-policies"], "give both, or neither"),
        (["--classifications", "x"], "give both, or neither"),
        (["--with-policies", "--classifications", "/does/not/exist.yaml"], "/does/not/exist.yaml: No such file"),
        (["--with-policies", "--classifications", "EMPTY"], "no file in it ends in .json, .yaml, .yml"),
        (["--static", "FILE"], "Not a directory"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    flags: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    places = {"EMPTY": str(tmp_path / "empty"), "FILE": str(tmp_path / "file")}
    assert render(tmp_path / "out", *(places.get(flag, flag) for flag in flags)) == 2
    text = capsys.readouterr().err
    assert said in text
    assert text.count("\n") == 1


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--namespace", "own"], "--static"),
        (["--static", "o"], "--namespace"),
        (["--static", "o", "--namespace", "Not_One"], "'Not_One' is not the name of a namespace"),
        (["--static", "o", "--namespace", "own", "--api-server-path", "etc"], "such as /etc/kubernetes/residency"),
        (["--static", "o", "--namespace", "own", "--service-account", "A_B"], "such as residency-controller"),
    ],
)
def test_wrong_usage_is_one_line(flags: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["render", *flags])
    assert caught.value.code == 2
    text = capsys.readouterr().err
    assert said in text
    assert text.count("\n") == 1
