"""``residency render``: the policies as files, for API servers that read them when they start."""

import argparse
import os
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from residency import __version__
from residency.api.names import FIELD_MANAGER, Mode
from residency.cli import manifests
from residency.cli.arguments import add_settings, settings
from residency.core.storage import default_class
from residency.core.surroundings import Surroundings
from residency.policy.compile import DoesNotFit, compile_policies
from residency.policy.static import MUTATING, VALIDATING, admission_configuration, static_set

if TYPE_CHECKING:
    from residency.cli.arguments import Commands

_ACCOUNT: Final = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
# One file in each folder, replaced as a whole: the API server never reads half of a set.
_FILE: Final = "residency.yaml"
_CONFIGURATION: Final = "admission-configuration.yaml"

_DIFFERS: Final = 1
_USAGE: Final = 2


def add_to(commands: "Commands") -> None:
    """Describe the command."""
    parser = commands.add_parser(
        "render",
        help="write policies as files that API servers read when they start (Kubernetes 1.37)",
        description="Writes a folder for kube-apiserver --admission-control-config-file (Kubernetes 1.37 and newer): a "
        "policy that lets only the controller write Residency's own policies and, where asked, all policies "
        "compiled from classifications, in force from the first request.",
    )
    add = parser.add_argument
    add(
        "--static",
        type=Path,
        required=True,
        metavar="DIRECTORY",
        help="where to write; what is there of an earlier run is replaced",
    )
    add(
        "--api-server-path",
        type=_absolute,
        metavar="DIRECTORY",
        help="where API servers find that directory, if not at the same path",
    )
    add(
        "--with-policies",
        action="store_true",
        help="write the policies compiled from --classifications too",
    )
    add(
        "--classifications",
        type=Path,
        nargs="+",
        default=[],
        metavar="PATH",
        help="files with DataClassifications and with the StorageClasses that they ask something of, or folders of "
        "such files",
    )
    add(
        "--service-account",
        type=_account,
        # The chart's default, and the name under which the controller writes.
        default=FIELD_MANAGER,
        metavar="NAME",
        help="the controller's ServiceAccount, in --namespace; default: %(default)s",
    )
    add(
        "--check",
        action="store_true",
        help=f"write nothing; exit with {_DIFFERS} if a file differs from what would be written",
    )
    add_settings(parser)


def run(options: argparse.Namespace) -> int:
    """Write the files, or compare them."""
    try:
        files = _files(options)
        return _check(files) if options.check else _write_all(files)
    except (manifests.BadManifest, DoesNotFit) as error:
        sys.stderr.write(f"residency render: {error}\n")
    except OSError as error:
        sys.stderr.write(f"residency render: {error.filename}: {error.strerror}\n")
    return _USAGE


def _files(options: argparse.Namespace) -> dict[Path, str | None]:
    """What is to be in which file, in the order in which to write; None: the file is not to be there."""
    if options.with_policies != bool(options.classifications):
        raise manifests.BadManifest("--with-policies and --classifications belong together: give both, or neither")
    rendered = static_set(settings(options), options.service_account, _compiled(options))
    root: Path = options.static.absolute()
    seen_at = str(options.api_server_path or PurePosixPath(root))
    configuration = manifests.dump([admission_configuration(seen_at)], _remark())
    folders = {
        # Mutations first when there are some, last when they go: a guard without them would refuse what they place.
        MUTATING: rendered.mutating,
        VALIDATING: rendered.validating,
    }
    order = folders if rendered.mutating else reversed(folders)
    contents = {root / name / _FILE: _content(folders[name]) for name in order}
    return {**contents, root / _CONFIGURATION: configuration}


def _compiled(options: argparse.Namespace) -> tuple[dict[str, Any], ...]:
    if not options.with_policies:
        return ()
    found = manifests.read(options.classifications)
    for other in found.left_out:
        sys.stdout.write(f"left out, neither a DataClassification nor a StorageClass: {other}\n")
    # The files do not know which namespaces will be lowered, nor which claims there will be from before.
    surroundings = Surroundings(default_class(found.storage_classes), lowered=frozenset({Mode.WARN, Mode.AUDIT}))
    return compile_policies(found.catalogue, settings(options), surroundings).objects


def _content(objects: Sequence[Mapping[str, Any]]) -> str | None:
    return manifests.dump(objects, _remark()) if objects else None


def _remark() -> str:
    return f"Written by `residency render --static` {__version__}; to change it, run that again."


def _check(files: Mapping[Path, str | None]) -> int:
    different = [path for path, content in files.items() if _read(path) != content]
    for path in different:
        sys.stdout.write(f"differs: {path}\n")
    return _DIFFERS if different else 0


def _read(path: Path) -> str | None:
    try:
        return path.read_bytes().decode(errors="replace")
    except FileNotFoundError:
        return None


def _write_all(files: Mapping[Path, str | None]) -> int:
    for path, content in files.items():
        # A folder that the configuration names has to be there, also with nothing in it.
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is not None:
            _replace(path, content)
            sys.stdout.write(f"wrote {path}\n")
        elif path.exists():
            path.unlink()
            sys.stdout.write(f"removed {path}: without --with-policies there is nothing to be in it\n")
    return 0


def _replace(path: Path, content: str) -> None:
    """Write beside and rename, so that a reader finds the old file or the new one, also after a crash."""
    # API servers read .yaml, .yml and .json only.
    descriptor, beside = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".new", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            # There is nothing secret in it, and not every API server runs as root.
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())
        Path(beside).replace(path)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _absolute(text: str) -> str:
    if not PurePosixPath(text).is_absolute():
        raise argparse.ArgumentTypeError(f"{text!r} is not an absolute path, such as /etc/kubernetes/residency")
    return text


def _account(text: str) -> str:
    if not _ACCOUNT.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not the name of a ServiceAccount, such as residency-controller")
    return text
