"""A toy router for each test."""

from collections.abc import Iterator

import pytest

from tests.client.toy_router import RunningRouter


@pytest.fixture
def toy() -> Iterator[RunningRouter]:
    with RunningRouter().running() as toy:
        yield toy
