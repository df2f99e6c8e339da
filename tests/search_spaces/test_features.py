"""Physical features by hand on small networks."""

import numpy as np

from search_spaces._features import FEATURES, physical_features
from search_spaces.nasbench201 import NasBench201

SPACE = NasBench201(width=4, depth=1, resolution=8, classes=3)
#: Bytes of one tensor of each stage, and of network input, pooled vector and output.
STAGES = (4 * 64 * 4, 8 * 16 * 4, 16 * 4 * 4)


def features(*cell):
    return dict(zip(FEATURES, physical_features(SPACE.graph(SPACE.architecture(cell))), strict=True))


def test_a_cell_of_skips_leaves_the_skeleton():
    """Edge 0->3 alone: the cell is the identity."""
    found = features(0, 0, 0, 1, 0, 0)
    kernels = {"n_conv3x3": 5, "n_conv1x1": 2, "n_pool": 3, "n_add": 2, "n_relu": 5, "n_norm": 1, "n_linear": 1}
    assert {name: found[name] for name in kernels} == kernels
    assert found["macs_linear"] == 16 * 3
    assert found["n_depthwise"] == found["n_conv_other"] == 0
    assert found["relu_tensors"] == 2
    assert found["relu_tensor_bytes"] == STAGES[0] + STAGES[1]
    # stem 2; each reduction two ReLU-convolution-normalisations and a sum; head 4
    assert found["depth"] == 2 + 2 * 7 + 4
    assert found["peak_tensors"] == 2
    assert found["peak_activation_bytes"] == 3 * 64 * 4 + STAGES[0]


def test_a_cell_of_poolings_and_sums():
    found, bare = features(1, 4, 4, 4, 4, 4), features(0, 0, 0, 1, 0, 0)
    assert found["n_pool"] - bare["n_pool"] == 5 * 3
    assert found["n_add"] - bare["n_add"] == 3 * 3
    assert found["bytes_pool"] - bare["bytes_pool"] == 5 * 2 * sum(STAGES)
    assert found["bytes_add"] - bare["bytes_add"] == 3 * 3 * sum(STAGES)
    assert found["macs"] == bare["macs"]
    assert found["depth"] - bare["depth"] == 3 * (1 + 1 + 1 + 2)


def test_readers_of_one_relu_are_counted_once():
    found, bare = features(2, 3, 0, 3, 0, 0), features(0, 0, 0, 3, 0, 0)
    assert found["n_relu"] == bare["n_relu"]
    assert features(2, 2, 0, 3, 1, 1)["relu_tensors"] == bare["relu_tensors"]
    assert features(2, 2, 0, 3, 1, 1)["n_relu"] == bare["n_relu"] + 2 * 3


def test_dead_and_constant_parts_do_not_count():
    assert features(3, 3, 3, 2, 0, 0) == features(0, 0, 0, 2, 0, 0)
    constant, sum_alone = features(0, 0, 3, 2, 0, 1), features(0, 0, 0, 2, 0, 0)
    assert constant["n_conv3x3"] == sum_alone["n_conv3x3"]
    assert constant["n_add"] == sum_alone["n_add"] + 3


def test_intensity_is_macs_per_byte():
    found = features(3, 3, 3, 3, 3, 3)
    assert found["macs"] == sum(value for name, value in found.items() if name.startswith("macs_"))
    assert found["activation_bytes"] == sum(value for name, value in found.items() if name.startswith("bytes_"))
    assert found["arithmetic_intensity"] == found["macs"] / (found["activation_bytes"] + found["weight_bytes"])


def test_a_network_that_ignores_its_input_has_no_features():
    assert not physical_features(SPACE.graph(SPACE.architecture((3, 3, 3, 0, 0, 0)))).any()
    assert np.isfinite(physical_features(SPACE.graph(SPACE.architecture((0,) * 6)))).all()
