"""The ground of all attacks starts once for the whole folder, and nothing of it is left behind."""

from collections.abc import Iterator

import pytest

from tests.attacks import ground
from tests.attacks.ground import Site


@pytest.fixture(scope="package")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with ground.running(tmp_path_factory.mktemp("attacks")) as found:
        yield found
