"""The page that switches TLS on: its commands make certificates, with which servers serve and commands call."""

from __future__ import annotations

import os
import subprocess
import sys
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import pytest

from crosskey import Tls
from crosskey.router.access import Access, UnfitAccessFile
from tests.docs.examples import ROOT, fences
from tests.fresh_cluster import FreshClusters

PAGE = ROOT / "docs" / "security.md"
SCHEMA = "CREATE TABLE users (id bigint PRIMARY KEY); COMMENT ON TABLE users IS '@shard_by id'"


def test_the_page_leads_to_a_cluster_with_tls(fresh_cluster: FreshClusters, tmp_path: Path) -> None:
    certificates, node, router, count = [code for language, code in fences(PAGE) if language == "sh"][:4]
    subprocess.run(["bash", "-ec", certificates], cwd=tmp_path, check=True, capture_output=True)
    cluster = fresh_cluster(
        SCHEMA,
        shards=1,
        node_environment=settings_of(node, tmp_path),
        router_environment=settings_of(router, tmp_path),
        tls=Tls(tmp_path / "servers.pem", tmp_path / "router-to-nodes.pem", tmp_path / "router-to-nodes.key"),
    )
    command = count.replace("localhost:7400", cluster.address.replace("127.0.0.1", "localhost"))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-ec", command], cwd=tmp_path, env={**os.environ, "PATH": path}, capture_output=True, check=False
    )
    assert (done.stdout, done.stderr) == (b"0\n", b"")


def test_the_file_of_rights_on_the_page_is_one(tmp_path: Path) -> None:
    [rights] = [code for language, code in fences(PAGE) if language == "toml"]
    file = tmp_path / "rights.toml"
    file.write_text(rights)
    with pytest.raises(UnfitAccessFile, match='the sha256 of the token "shop" is not 64 hexadecimal digits'):
        Access(file)
    file.write_text(rights.replace("THE 64 DIGITS THAT sha256sum PRINTS", sha256(b"token").hexdigest()))
    Access(file)


def settings_of(command: str, folder: Path) -> dict[str, str]:
    """What a command on the page says about TLS, as settings in the environment."""
    words = command.replace("\\\n", " ").split()
    flags = {flag: value for flag, value in pairwise(words) if flag.startswith("--")}
    files = {flag: str(folder / value) for flag, value in flags.items() if value.endswith((".pem", ".key"))}
    names = {"--router-names": flags["--router-name"]} if "--router-name" in flags else {}
    return {"CROSSKEY_" + flag[2:].replace("-", "_").upper(): value for flag, value in {**files, **names}.items()}
