"""The command line: what is wrong is said in one line, with exit code 2."""

import argparse
import logging
import socket
from pathlib import Path

import pytest

from residency import __version__
from residency.cli import controller as controller_command
from residency.cli import main
from residency.controller import running
from residency.controller.findings import Keeping
from residency.core.requirements import Operator, Requirement


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("POD_NAMESPACE", "POD_NAME", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.setattr(logging, "basicConfig", lambda **_: None)


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version"]) == 0
    assert capsys.readouterr().out == f"{__version__}\n"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([], "COMMAND"),
        (["controler"], "controler"),
        (["controller"], "--namespace"),
        (["controller", "--namespace", "Not_One"], "'Not_One' is not the name of a namespace"),
        (["controller", "--namespace", "x", "--resync-seconds", "0"], "from 2 to 86400"),
        (["controller", "--namespace", "x", "--resync-seconds", "soon"], "'soon'"),
        (["controller", "--namespace", "x", "--lease-seconds", "1"], "from 2 to 86400"),
        (["controller", "--namespace", "x", "--findings-days", "0"], "number of days from 1 to 365"),
        (["controller", "--namespace", "x", "--findings-stored", "many"], "number of objects from 10 to 10000"),
        (["controller", "--namespace", "x", "--http-address", "8080"], "such as 0.0.0.0:8080"),
        (["controller", "--namespace", "x", "--http-address", "h:99999"], "such as 0.0.0.0:8080"),
        (["controller", "--namespace", "x", "--log-format", "xml"], "'xml'"),
        (["controller", "--namespace", "x", "--reinvocation-policy", "Always"], "'Always'"),
        (["controller", "--namespace", "x", "--api-server", "http://a"], "https://10.0.0.1:6443"),
        (["controller", "--namespace", "x", "--identity", ""], "printable"),
        (["controller", "--namespace", "x", "--default-classification", "NL"], "'NL' is not the name of a DataCl"),
        (["controller", "--namespace", "x", "--default-classification", ""], "such as nl-depv"),
        (["controller", "--namespace", "x", "--default-classification", "a" * 64], "such as nl-depv"),
        (["controller", "--namespace", "x", "--default-classification", "residency-canary"], "'residency-canary' is"),
        (["controller", "--namespace", "x", "--default-exclude-selector", "team ci"], "'team ci' is none of key, !key"),
        (["controller", "--namespace", "x", "--metrics-series", "10"], "'10' is not a number of series from 200 to"),
        (["controller", "--namespace", "x", "--unknown"], "--unknown"),
    ],
)
def test_wrong_usage_is_one_line(flags: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(flags)
    assert caught.value.code == 2
    text = capsys.readouterr().err
    assert said in text
    assert text.count("\n") == 1


def test_a_wrong_environment_is_wrong_usage(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("POD_NAMESPACE", "Not_One")
    with pytest.raises(SystemExit) as caught:
        main(["controller"])
    assert caught.value.code == 2
    assert "Not_One" in capsys.readouterr().err


def test_no_cluster_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["controller", "--namespace", "own"]) == 2
    text = capsys.readouterr().err
    assert "set KUBECONFIG" in text
    assert text.count("\n") == 1


def test_an_address_that_is_taken_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(
        "clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}]\nusers: [{name: u, user: {token: t}}]\n"
        "contexts: [{name: x, context: {cluster: c, user: u}}]\ncurrent-context: x\n"
    )
    monkeypatch.setenv("KUBECONFIG", str(path))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert main(["controller", "--namespace", "own", "--http-address", address]) == 2
    text = capsys.readouterr().err
    assert text.startswith("residency controller: --http-address:")
    assert text.count("\n") == 1


def test_flags_and_environment_become_options(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[running.Options] = []

    def run(options: running.Options) -> int:
        given.append(options)
        return 0

    monkeypatch.setattr(running, "run", run)
    monkeypatch.setenv("POD_NAMESPACE", "own")
    monkeypatch.setenv("POD_NAME", "controller-abc")
    flags = ["--http-address", "[::1]:8081", "--exclude-namespace", "b", "--api-server", "https://a:6443/"]
    flags += ["--findings-days", "30"]
    assert main(["controller", *flags]) == 0
    (options,) = given
    assert options.settings.own_namespace == "own"
    assert options.settings.excluded == ("b", "kube-system", "own")
    assert options.identity == "controller-abc"
    assert (options.http_host, options.http_port) == ("::1", 8081)
    assert options.api_servers == ("https://a:6443",)
    assert options.resync_seconds == 60
    assert options.lease_seconds == 15
    assert options.findings == Keeping(days=30, most=1000)
    assert options.settings.default_classification == ""
    assert options.settings.default_exceptions == ()


def test_the_default_for_new_namespaces_becomes_options(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[running.Options] = []

    def run(options: running.Options) -> int:
        given.append(options)
        return 0

    monkeypatch.setattr(running, "run", run)
    flags = ["--default-classification=nl.bio-2", "--default-exclude-selector=team in (ci)"]
    assert main(["controller", "--namespace=own", *flags, "--default-exclude-selector=!tenant"]) == 0
    (options,) = given
    assert options.settings.default_classification == "nl.bio-2"
    assert options.settings.default_exceptions == (
        (Requirement("team", Operator.IN, ("ci",)),),
        (Requirement("tenant", Operator.DOES_NOT_EXIST),),
    )


def test_two_on_one_host_are_two_candidates() -> None:
    def identity() -> str:
        commands = argparse.ArgumentParser()
        controller_command.add_to(commands.add_subparsers())
        return str(commands.parse_args(["controller", "--namespace", "own"]).identity)

    assert identity() != identity()
