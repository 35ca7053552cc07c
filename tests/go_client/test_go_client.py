"""The Go module: its stubs are those of the protos, its helpers pass their tests, and its example runs."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

from crosskey.v1 import admin_pb2, error_reason_pb2, router_pb2, rows_pb2
from tests.fresh_cluster import FreshClusters

ROOT = Path(__file__).parents[2]
MODULE = ROOT / "clients" / "go"
SCHEMA = ROOT / "examples" / "messenger" / "schema.sql"
# Modules are fetched and built the first time.
BUILD_SECONDS = 540

ANSWER = """Javert follows with weight 3
she is Fantine
FOREIGN_KEY_VIOLATION follows_followee_id_fkey retryable: false
undone: NOT_NULL_VIOLATION
she was Fantine and is Fantine Thibault
UNKNOWN_TABLE: relation "user" does not exist (Perhaps you meant "users".)
"""

pytestmark = [pytest.mark.processes, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def go() -> str:
    """The Go command. Without one the tests fail in CI, and are skipped elsewhere."""
    found = shutil.which("go")
    if found is None:
        message = "there is no Go here: install it, or leave clients/go to CI"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return found


def run(*command: str | Path, **environment: str) -> str:
    done = subprocess.run(
        command,
        cwd=MODULE,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=BUILD_SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_stubs_and_helpers(go: str, tmp_path: Path) -> None:
    descriptors = tmp_path / "descriptors"
    files = [FileDescriptorProto() for _ in range(4)]
    for file, module in zip(files, (admin_pb2, error_reason_pb2, router_pb2, rows_pb2), strict=True):
        module.DESCRIPTOR.CopyToProto(file)
    descriptors.write_bytes(FileDescriptorSet(file=files).SerializeToString())
    run(go, "vet", "./...")
    assert "ok" in run(go, "test", "-count=1", ".", CROSSKEY_DESCRIPTORS=str(descriptors))


def test_the_code_is_formatted(go: str) -> None:
    assert run(Path(go).resolve().with_name("gofmt"), "-l", ".") == ""


def test_the_example_runs(go: str, tmp_path: Path, fresh_cluster: FreshClusters) -> None:
    cluster = fresh_cluster(SCHEMA.read_text(encoding="utf-8"))
    example = tmp_path / "example"
    run(go, "build", "-o", str(example), "./example")
    assert run(example, cluster.address) == ANSWER
