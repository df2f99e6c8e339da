"""Seeded weights: sizes, statistics, the same bits everywhere."""

import hashlib

import numpy as np
import torch

from search_spaces._graph import Block, Call, Graph, Operator, TensorSpec
from search_spaces._torch import to_module
from search_spaces._weights import make_weights
from search_spaces.nasbench201 import NasBench201

SPACE = NasBench201()
FULL = SPACE.graph(SPACE.architecture((3,) * 6))


def test_convolutions_are_he_normal():
    weights = make_weights(FULL, seed=4)
    values = np.concatenate([(w * np.sqrt(w[0].size / 2)).ravel() for w in weights.values() if w.ndim == 4])
    assert values.size > 1_000_000
    assert abs(values.mean()) < 0.01
    assert abs(values.std() - 1) < 0.01
    assert abs((values**4).mean() - 2.85) < 0.05  # the sum of eight uniform values: 3 - 1.2 / 8


def test_normalisation_starts_as_torch_does_but_for_its_variance():
    for name, values in make_weights(FULL).items():
        if name.endswith(("bn.weight", "bias", "running_mean")):
            assert set(np.unique(values)) == {1.0 if name.endswith("weight") else 0.0}


def test_activations_of_deep_networks_stay_near_one():
    x = np.random.default_rng(0).standard_normal(SPACE.input_shape, dtype=np.float32)
    for architecture in SPACE.sample_distinct(12, seed=3):
        with torch.no_grad():
            output = to_module(SPACE.graph(architecture)).eval()(torch.from_numpy(x)).numpy()
        assert 1e-3 < np.abs(output).max() < 30


def test_no_subnormal_numbers():
    for values in make_weights(FULL, seed=1).values():
        sizes = np.abs(values[values != 0])
        assert not sizes.size or sizes.min() > 1e-7


def test_values_depend_on_seed_and_name_alone():
    first, again, other = make_weights(FULL, seed=1), make_weights(FULL, seed=1), make_weights(FULL, seed=2)
    one, two = "s0c0e01.conv.weight", "s0c0e02.conv.weight"
    assert np.array_equal(first[one], again[one])
    assert not np.array_equal(first[one], other[one])
    assert not np.array_equal(first[one], first[two])
    alone = make_weights(SPACE.graph(SPACE.architecture((3, 0, 0, 0, 0, 0))), seed=1)
    assert np.array_equal(first[one], alone[one])


def test_bits_are_the_same_on_every_machine():
    values = make_weights(FULL, seed=0)["s1c2e13.conv.weight"]
    digest = hashlib.sha256(values.astype("<f4").tobytes()).hexdigest()
    assert digest == "c8c84f0f9d01f6aa2a415b8c6e673a71d38271fc577a706c71570a6b3b5cd37d"


def test_layers_larger_than_the_pool():
    before, after = TensorSpec((1, 1280)), TensorSpec((1, 1000))
    block = Block("head", (before,), (Operator("fc", "linear", ("in0",), before, after),))
    weight = make_weights(Graph(before, (Call("head", block, ("input",)),)))["head.fc.weight"]
    assert weight.shape == (1000, 1280)
    assert abs(weight.std() / np.sqrt(2 / 1280) - 1) < 0.01
