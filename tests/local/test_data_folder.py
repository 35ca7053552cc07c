"""The data folder of `crosskey up`: one cluster at a time, and of one shape for good."""

from pathlib import Path

import pytest

from crosskey.local_cluster.data_folder import DataFolderError, claimed

pytestmark = pytest.mark.processes


def test_a_folder_can_be_claimed_again_after_it_was_let_go(tmp_path: Path) -> None:
    for _ in range(2):
        with claimed(tmp_path / "data", shards=3):
            pass


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    with (
        claimed(tmp_path, shards=3),
        pytest.raises(DataFolderError, match="another cluster runs"),
        claimed(tmp_path, shards=3),
    ):
        pass


def test_data_of_another_number_of_shards_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with claimed(tmp_path, shards=3):
        pass
    with pytest.raises(DataFolderError, match=r"of 3 shards, not 2.*--shards 3"), claimed(tmp_path, shards=2):
        pass
