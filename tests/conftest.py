"""One thread for torch, and the markers that a file's name gives its tests."""

import pytest
import torch

from cosim import last_run
from cosim.suites import block_names

torch.set_num_threads(1)  # two workers share two cores, and spinning threads cost more than that

FILES = {
    "test_trace_checker": "level3",
    "test_layer_suite": "level3",
    "test_formal": "formal",
    "test_mutation": "mutation",
    "test_faults": "faults",
}


def pytest_collection_modifyitems(items):
    """Mark what a whole file has in common; what single tests have stands beside them."""
    markers = {**FILES, **{f"test_{block}": "block" for block in block_names()}}
    for item in items:
        marker = markers.get(item.path.stem)
        if marker is not None:
            item.add_marker(marker)


@pytest.fixture(autouse=True)
def own_last_run(monkeypatch, tmp_path_factory):
    """Keep red runs of tests apart from what ``cosim --failed`` of this checkout knows."""
    folder = tmp_path_factory.getbasetemp() / "last_run"
    monkeypatch.setattr(last_run, "cache_folder", lambda: folder)
