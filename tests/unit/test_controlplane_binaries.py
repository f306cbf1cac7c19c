"""Which programs are used for the control plane, and when they are built."""

import os
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import pytest

from controlplane import binaries, build
from controlplane.binaries import MONITORING, TOOLS, Tool, Version
from controlplane.errors import ControlPlaneError

TOOL = {tool.name: tool for tool in TOOLS}


def program(folder: Path, name: str, says: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("Kubernetes v1.37.2", (1, 37, 2)),
        ("etcd Version: 3.7.0\nGit SHA: 0f1e2d3\nGo Version: go1.26.8", (3, 7, 0)),
        ("Client Version: v1.37.2\nKustomize Version: v5.8.1", (1, 37, 2)),
        ("kwok version v0.8.0 go1.26.8 (linux/amd64)", (0, 8, 0)),
        ("promtool, version 3.16.0 (branch: , revision: unknown)\n  go version: go1.26.8", (3, 16, 0)),
        ("v4.3", (4, 3, 0)),
        ("v4.3.1+g1234567", (4, 3, 1)),
        ("1.26.8", (1, 26, 8)),
        ("command not found", None),
        ("", None),
    ],
)
def test_a_version_is_read_from_what_a_program_says(said: str, version: Version | None) -> None:
    assert binaries.parse_version(said) == version


@pytest.mark.parametrize(
    ("tool", "version", "fits"),
    [
        ("kube-apiserver", (1, 37, 0), True),
        ("kube-apiserver", (1, 37, 9), True),
        ("kube-apiserver", (1, 36, 9), False),
        ("kube-apiserver", (1, 38, 0), False),
        ("etcd", (3, 5, 21), False),
        ("etcd", (3, 6, 0), True),
        ("helm", (3, 19, 0), False),
        ("helm", (4, 0, 0), True),
        ("kwok", (0, 7, 0), False),
        ("kwok", (0, 8, 3), True),
        ("kwok", (0, 9, 0), False),
    ],
)
def test_only_the_versions_that_we_test_with_fit(tool: str, version: Version, fits: bool) -> None:
    assert TOOL[tool].fits(version) is fits


def test_the_folder_that_was_named_goes_before_the_path(tmp_path: Path) -> None:
    assets = program(tmp_path / "assets", "helm", "v4.1.0")
    program(tmp_path / "bin", "helm", "v4.2.0")
    environment = {"KUBEBUILDER_ASSETS": str(assets.parent), "PATH": str(tmp_path / "bin")}

    assert binaries.find([TOOL["helm"]], environment, pytest.fail) == {"helm": assets}


def test_what_does_not_fit_is_left_aside_with_the_reason(tmp_path: Path) -> None:
    old = program(tmp_path / "assets", "helm", "v3.19.0")
    fitting = program(tmp_path / "bin", "helm", "v4.2.0")
    environment = {"KUBEBUILDER_ASSETS": str(old.parent), "PATH": str(fitting.parent)}
    lines: list[str] = []

    assert binaries.find([TOOL["helm"]], environment, lines.append) == {"helm": fitting}
    assert lines == [f"not using {old}: it is version 3.19.0, and 4.0.0 or later, below 5.0.0 is needed"]


def test_a_folder_that_is_not_there_is_ignored_aloud(tmp_path: Path) -> None:
    lines: list[str] = []
    environment = {"KUBEBUILDER_ASSETS": str(tmp_path / "typo"), "PATH": str(tmp_path)}

    assert binaries.find([TOOL["helm"]], environment, lines.append) == {}
    assert lines == [f"KUBEBUILDER_ASSETS is ignored: there is no folder {tmp_path / 'typo'}"]


@pytest.mark.parametrize("says", ["segmentation fault", ""])
def test_a_program_that_says_no_version_is_left_aside(tmp_path: Path, says: str) -> None:
    problem = binaries.unfit(TOOL["helm"], program(tmp_path, "helm", says))

    assert problem is not None
    assert problem.startswith("asked for its version it says")


def test_a_program_that_cannot_be_run_is_left_aside(tmp_path: Path) -> None:
    broken = tmp_path / "helm"
    broken.write_text("no program")
    broken.chmod(0o755)

    assert "Exec format error" in (binaries.unfit(TOOL["helm"], broken) or "")


def test_the_cache_follows_the_convention_for_caches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    there = build.cache_folder()
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    assert there.is_relative_to(tmp_path / "residency" / "controlplane")
    assert build.cache_folder().is_relative_to(tmp_path / "home" / ".cache" / "residency")


def test_other_sources_are_kept_apart_in_the_cache(tmp_path: Path) -> None:
    before = build.cache_key()
    (tmp_path / "go.mod").write_text("module other\n\ngo 1.26.0\n")
    (tmp_path / "go.sum").write_text("")
    assert build.cache_key(replace(build.CONTROL_PLANE, folder=tmp_path)) != before


def test_prometheus_is_kept_apart_from_the_control_plane_so_that_neither_is_built_for_the_other() -> None:
    assert build.cache_folder(build.PROMETHEUS) != build.cache_folder(build.CONTROL_PLANE)
    assert not {tool.name for tool in MONITORING} & set(build.ALL)


def test_no_go_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(ControlPlaneError, match=r"no `go` on PATH: install Go 1\.26\.0 or newer"):
        build.find_go()


def test_an_old_go_says_which_one_is_needed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program(tmp_path, "go", "go1.19.8")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)

    with pytest.raises(ControlPlaneError, match=r"Go 1\.26\.0 or newer is needed .* says: go1\.19\.8"):
        build.find_go()


def test_a_newer_go_will_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    go = program(tmp_path, "go", "go1.27.1")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)

    assert build.find_go() == go


def test_progress_is_told_with_an_estimate_that_learns() -> None:
    lines: list[str] = []
    progress = build.Progress([TOOL["etcd"], TOOL["helm"]], lines.append, cores=4)
    progress.announce(Path("cache"), gigabytes=6)
    for tool in (TOOL["etcd"], TOOL["helm"]):
        with progress.building(tool):
            pass

    announced, first, first_done, second, second_done = lines
    assert announced == (
        "building etcd, helm into cache; the first time this takes about 72 s on two cores "
        "(about 36 s here) and 6 GB in Go's caches, once"
    )
    assert first == "building etcd (1 of 2), about 24 s if it is the first time"
    assert first_done == "built etcd (1 of 2) in 0 s; 0 s so far, about 0 s to go"
    assert second == "building helm (2 of 2), about 0 s if it is the first time"
    assert second_done.endswith("about 0 s to go")


def test_a_long_build_shows_that_it_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "HEARTBEAT_SECONDS", 0.01)
    lines: list[str] = []
    progress = build.Progress([TOOL["kube-apiserver"]], lines.append, cores=2)
    with progress.building(TOOL["kube-apiserver"]):
        while len(lines) < 2:
            time.sleep(0.005)

    assert lines[1].startswith("still building kube-apiserver (1 of 1); 0 s so far, about 5 minutes to go")


# Stands in for `go build`: writes a program of the right version, slowly, and keeps count.
FAKE_GO = """\
#!/bin/sh
case "$1" in
  env) echo go1.26.8 ;;
  build)
    while [ "$1" != -o ]; do shift; done
    echo "$3" >> "$COUNT"
    sleep 0.02
    case "$3" in *etcd*) v=3.7.0;; *kwok*) v=0.8.0;; *helm*) v=4.3;; *) v=1.37.2;; esac
    printf '#!/bin/sh\\necho v%s\\n' "$v" > "$2"
    chmod +x "$2" ;;
esac
"""


def ensure_in_a_process(tmp_path: Path) -> "subprocess.Popen[str]":
    go = tmp_path / "bin" / "go"
    go.parent.mkdir(exist_ok=True)
    go.write_text(FAKE_GO)
    go.chmod(0o755)
    script = "from controlplane import build; print(*build.ensure().values(), sep='\\n')"
    environment = {
        "PATH": f"{go.parent}:/bin",
        "COUNT": str(tmp_path / "count"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    return subprocess.Popen(
        [sys.executable, "-c", script],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_builds_at_once_build_everything_once(tmp_path: Path) -> None:
    builds = [ensure_in_a_process(tmp_path) for _ in range(2)]
    answers = [build.communicate(timeout=20) for build in builds]

    assert answers[0][0] == answers[1][0]
    paths = [Path(line) for line in answers[0][0].splitlines()]
    assert [path.name for path in paths] == [tool.name for tool in TOOLS]
    assert all(path.exists() for path in paths)
    assert sorted((tmp_path / "count").read_text().split()) == sorted(tool.package for tool in TOOLS)


def test_a_build_of_the_wrong_version_does_not_enter_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    go = tmp_path / "go"
    go.write_text(FAKE_GO)
    go.chmod(0o755)
    monkeypatch.setenv("COUNT", str(tmp_path / "count"))
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    impossible = Tool("kwok", TOOL["kwok"].package, ("--version",), (0, 9, 0), (1, 0, 0), 1)
    monkeypatch.setattr(build, "MODULES", (replace(build.CONTROL_PLANE, tools=(impossible,)),))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    with pytest.raises(ControlPlaneError, match=r"kwok was built, but it is version 0\.8\.0"):
        build.ensure(lambda _: None, ("kwok",))
    assert not (build.cache_folder() / "kwok").exists()


def test_a_failing_build_shows_what_the_compiler_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    go = tmp_path / "go"
    go.write_text(
        textwrap.dedent(
            """\
            #!/bin/sh
            [ "$1" = env ] && { echo go1.26.8; exit; }
            echo 'main.go:1: syntax error' >&2
            exit 1
            """
        )
    )
    go.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    with pytest.raises(ControlPlaneError, match=r"building kwok failed:\nmain\.go:1: syntax error"):
        build.ensure(lambda _: None, ("kwok",))
