"""The distribution: one package, with every module of every folder in it, and what each extra brings."""

import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "clients/crosskey"
BUILD_SECONDS = 60

HIDE = """
import importlib, pkgutil, runpy, sys

class NotInstalled:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in hidden:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

hidden = set(sys.argv.pop(1).split(","))
sys.meta_path.insert(0, NotInstalled())
"""
"""Some names, in the first argument, cannot be imported."""

IMPORT_ALL = f"""{HIDE}
for name in sys.argv[1].split(","):
    package = importlib.import_module(name)
    for module in pkgutil.walk_packages(getattr(package, "__path__", []), f"{{name}}."):
        importlib.import_module(module.name)
"""
"""Imports packages with everything below them, where some names cannot be imported."""

RUN = f"{HIDE}\nrunpy.run_module(sys.argv.pop(1), run_name='__main__')"
"""Runs a package as `python -m` does, where some names cannot be imported."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source distribution."""
    folder = tmp_path_factory.mktemp("built")
    source = folder / "source"
    files = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for file in filter(None, files.split("\0")):
        _copy(ROOT / file, source / file)
    for kind in ("wheel", "sdist"):
        code = f"import sys; from setuptools import build_meta; build_meta.build_{kind}(sys.argv[1])"
        command = [sys.executable, "-W", "ignore", "-c", code, str(folder)]
        done = subprocess.run(command, cwd=source, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False)
        assert done.returncode == 0, done.stderr
    return folder


def test_the_wheel_is_one_package_with_every_module(built: Path) -> None:
    [wheel] = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as files:
        names = {name for name in files.namelist() if ".dist-info/" not in name}
        assert not [name for name in names if files.getinfo(name).external_attr >> 28 == 0xA]
    assert names == set(_files_of_package())


def test_the_source_distribution_holds_files_and_no_links(built: Path) -> None:
    [archive] = built.glob("*.tar.gz")
    with tarfile.open(archive) as files:
        members = {member.name.partition("/")[2]: member for member in files.getmembers()}
    assert {f"clients/{name}" for name in _files_of_package()} <= set(members)
    assert not [name for name, member in members.items() if member.issym() or member.islnk()]


@pytest.mark.parametrize(
    ("extra", "packages"),
    [
        ("", ["crosskey.client", "crosskey.v1"]),
        ("server", ["crosskey.router", "crosskey.shard_node", "crosskey.serving"]),
        ("local", ["crosskey.cli", "crosskey.local_cluster", "crosskey.advice"]),
        ("cli", ["crosskey.cli.commands", "crosskey.cli.administration", "crosskey.cli.data", "crosskey.cli.transact"]),
    ],
)
def test_an_extra_brings_what_its_packages_import(extra: str, packages: list[str]) -> None:
    hidden = _hidden_where_installed(extra)
    assert {"pytest", "psycopg"} - hidden == ({"psycopg"} if extra in {"server", "local"} else set())
    done = _python(IMPORT_ALL, ",".join(hidden), ",".join(packages))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("extra", "command"),
    [
        ("", ["crosskey.cli"]),
        ("", ["crosskey.router"]),
        ("", ["crosskey.shard_node"]),
        ("cli", ["crosskey.cli", "up"]),
        ("cli", ["crosskey.router", "serve"]),
        ("cli", ["crosskey.shard_node", "inspect"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value or "client",
)
def test_a_command_line_says_what_to_install(extra: str, command: list[str]) -> None:
    hidden = _hidden_where_installed(extra)
    done = _python(RUN, ",".join(hidden), *command)
    assert (done.returncode, done.stdout) == (1, "")
    said = re.fullmatch(r"Error: (\w+) is not installed: pip install 'crosskey\[.*\n", done.stderr)
    assert said is not None, done.stderr
    assert said[1] in hidden


def _python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)


def _hidden_where_installed(extra: str) -> set[str]:
    """The names of what is installed here, and is not where only an extra of crosskey is installed."""
    brought = set(_brought_by("crosskey", extra))
    return {
        name for name, of in metadata.packages_distributions().items() if not brought & set(map(canonicalize_name, of))
    }


def _copy(source: Path, target: Path) -> None:
    """Copies a file, and a link as it is."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_symlink():
        target.symlink_to(source.readlink())
    else:
        target.write_bytes(source.read_bytes())


def _files_of_package() -> Iterator[str]:
    """The files that users get, as they are named in the wheel."""
    for folder in (PACKAGE, *(one for one in PACKAGE.iterdir() if one.is_symlink())):
        for file in folder.rglob("*"):
            if file.suffix in {".py", ".pyi", ".sql"} or file.name == "py.typed":
                yield str(file.relative_to(PACKAGE.parent))


def _brought_by(distribution: str, extra: str = "") -> Iterator[str]:
    """The distributions that pip installs for one, itself among them."""
    yield canonicalize_name(distribution)
    for line in metadata.requires(distribution) or []:
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            for wanted in requirement.extras or {""}:
                yield from _brought_by(requirement.name, wanted)
