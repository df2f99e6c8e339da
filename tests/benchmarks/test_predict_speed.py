"""The peer is what it claims to be, and every way of asking is timed on the same networks."""

import numpy as np
import pytest

from benchmarks._kernel_forests import KernelForests
from benchmarks.predict_speed import LAWS, batches_of, block_s, compare, network_s
from predictors.macs_baseline import MacsBaseline
from search_spaces._blocks import lookup_counts
from search_spaces.nasbench201 import NasBench201

SPACE = NasBench201(width=4, depth=1, resolution=8)
CELLS = SPACE.sample_distinct(20, seed=0)


@pytest.fixture(scope="module")
def forests():
    sizes = [SPACE, *(NasBench201(width=width, resolution=side) for width in (4, 6, 8) for side in (8, 12, 16))]
    blocks = [block for space in sizes for block in space.blocks()]
    return KernelForests(SPACE, blocks, [block_s(block, LAWS[0]) for block in blocks], seed=0)


def test_a_network_is_the_sum_of_its_kernels(forests):
    of_block = {
        block.key: float(forests._forests[block.kind].predict([forests._features[block]])[0])
        for block in SPACE.blocks()
    }
    expected = [sum(n * of_block[key] for key, n in lookup_counts(SPACE.graph(item)).items()) for item in CELLS]
    np.testing.assert_allclose(forests.predict(CELLS), expected, rtol=1e-12)
    np.testing.assert_array_equal(forests.predict_kernels(forests.kernels(CELLS)), forests.predict(CELLS))


def test_the_forests_have_learned_the_law(forests):
    noiseless = [sum(block_s(call.block, LAWS[0]) for call in SPACE.graph(item).live().calls) for item in CELLS]
    np.testing.assert_allclose(forests.predict(CELLS), noiseless, rtol=0.2)
    assert np.std(np.log(np.array(network_s(SPACE, CELLS, LAWS[0], 1)) / noiseless)) == pytest.approx(0.02, rel=0.5)


def test_every_architecture_is_in_one_batch():
    batches = batches_of(CELLS, 4)
    assert [len(batch) for batch in batches] == [5] * 4
    assert {item.text for batch in batches for item in batch} == {item.text for item in CELLS}


def test_every_way_is_timed_in_architectures(forests):
    fitted = MacsBaseline(SPACE).fit(CELLS, network_s(SPACE, CELLS, LAWS[0], 0))
    rows = [row.to_json() for row in compare("macs_baseline", fitted, forests, batches_of(CELLS, 4))]
    assert [row["way"] for row in rows] == ["first", "again", "codes"]
    for row in rows:
        assert row["n"] == 4
        assert row["per_s"] > 0 and row["ratio"]["median"] > 0
        low, high = row["per_s_quartiles"]
        assert low <= row["per_s"] <= high
