"""The table of counts: who agrees, who has a reason, who has none."""

from dataclasses import replace

import pytest

from benchmarks._count_table import count, networks
from benchmarks._more_networks import NETWORKS

BY_NAME = {network.name: network for network in NETWORKS}


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("sound", "exact"),
        ("vit_block", "exact"),
        ("vit_baddbmm", "ours agree; fvcore does not count baddbmm"),
        ("vit_fused", "ours agree; fvcore does not count fused attention"),
    ],
)
def test_counts_agree_or_have_a_reason(name, verdict):
    row = count(BY_NAME[name], None)
    assert row.verdict == verdict and not row.uncounted
    assert replace(row, onnx=row.onnx + 1).verdict == "MISMATCH"
    assert replace(row, fvcore=row.fvcore + 1, differs="").verdict == "MISMATCH"
    assert replace(row, graph=row.module + 1).verdict == "MISMATCH"


def test_samples_of_the_spaces_stand_beside_the_networks():
    found = list(networks(seed=0, n_samples=2))
    assert len(found) == len(NETWORKS) + 5 and sum(macs is not None for _, macs in found) == 5
    names = [network.name for network, _ in networks(seed=0, n_samples=12)]
    assert len(set(names)) == len(names) >= 30
