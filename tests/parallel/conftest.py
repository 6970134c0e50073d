"""Process groups of 1 to 4 ranks on this machine, each started once for all tests."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

pytest.importorskip("torch.distributed")


@pytest.fixture(scope="session")
def pools():
    from rank_pool import Pools

    with Pools() as every:
        yield every


@pytest.fixture(scope="session", params=[1, 2, 3, 4], ids=lambda size: f"{size} ranks")
def pool(request, pools):
    return pools[request.param]
