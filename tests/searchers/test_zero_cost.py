"""The indicators against their definitions, and the cache under kills."""

import gzip
import json

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from hilnas.errors import UnknownName
from search_spaces._costs import static_costs
from search_spaces._torch import to_module
from search_spaces.nasbench201 import NasBench201
from searchers.evaluators._base import Score
from searchers.evaluators.zero_cost import ZeroCost
from searchers.evaluators.zero_cost._cache import ScoreCache
from searchers.evaluators.zero_cost._torch import input_batch
from searchers.evaluators.zero_cost.jacov import Jacov
from searchers.evaluators.zero_cost.live_macs import LiveMacs
from searchers.evaluators.zero_cost.macs import Macs
from searchers.evaluators.zero_cost.nwot import Nwot
from searchers.evaluators.zero_cost.skip_span import SkipSpan

CELL = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|skip_connect~0|avg_pool_3x3~1|nor_conv_1x1~2|"
#: Node 2 gets only zeros; the convolution behind it is fed by nothing that depends on the input.
HALF_DEAD = "|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|nor_conv_3x3~2|"
#: The same function without the part that is dead.
SKIP_ONLY = "|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"


@pytest.fixture(scope="module")
def space():
    return NasBench201(width=4, depth=1, resolution=16)


@pytest.fixture(scope="module")
def graph(space):
    return space.graph(space.parse(CELL))


def test_nwot_is_the_log_determinant_of_the_published_kernel(graph):
    """K = x x^T + (1 - x)(1 - x)^T over the codes of every ReLU, straight from the definition."""
    module = to_module(graph, seed=3)
    codes = []
    for layer in module.layers.values():
        if isinstance(layer, nn.ReLU):
            layer.register_forward_hook(lambda _m, _i, out: codes.append((out > 0).flatten(1).double()))
    with torch.no_grad():
        module(input_batch("noise", graph.input.shape, 8, 3))
    x = torch.cat(codes, dim=1)
    expected = torch.linalg.slogdet(x @ x.T + (1 - x) @ (1 - x).T)[1].item()
    assert Nwot(batch=8, inputs="noise", seed=3).score(graph) == pytest.approx(expected, rel=1e-9)


def test_jacov_is_the_published_sum_over_eigenvalues(graph):
    module = to_module(graph, seed=3)
    inputs = input_batch("noise", graph.input.shape, 8, 3).clone().requires_grad_(True)
    module(inputs).backward(torch.ones(8, 10))
    values = np.linalg.eigvalsh(np.corrcoef(inputs.grad.reshape(8, -1).double().numpy()))
    k = 1e-5
    expected = -np.sum(np.log(np.maximum(values, 0) + k) + 1 / (np.maximum(values, 0) + k))
    assert Jacov(batch=8, inputs="noise", seed=3).score(graph) == pytest.approx(expected, rel=1e-3)


def test_dead_parts_do_not_count(space):
    """Relus behind zeros say nothing about the network; an exporter would remove them."""
    half_dead, skip_only = (space.graph(space.parse(text)) for text in (HALF_DEAD, SKIP_ONLY))
    assert Nwot(batch=8).score(half_dead) == pytest.approx(Nwot(batch=8).score(skip_only), rel=1e-6)
    assert LiveMacs().score(half_dead) == LiveMacs().score(skip_only)
    assert Macs().score(half_dead) > Macs().score(skip_only)


def test_the_baselines_are_the_graphs_counts(graph):
    assert Macs().score(graph) == static_costs(graph).macs
    assert LiveMacs().score(graph) == static_costs(graph.live()).macs


@pytest.mark.parametrize("kind", [Nwot, Jacov])
def test_the_seed_and_the_inputs_matter(kind, graph):
    first = kind(batch=8, seed=0).score(graph)
    assert kind(batch=8, seed=0).score(graph) == first
    assert kind(batch=8, seed=1).score(graph) != first
    assert kind(batch=8, seed=0, inputs="noise").score(graph) != first


def test_inputs_have_the_networks_shape_and_are_standardised():
    for kind in ("noise", "digits"):
        batch = input_batch(kind, (1, 3, 16, 16), 24, 0)
        assert batch.shape == (24, 3, 16, 16)
        assert abs(batch.mean().item()) < 0.05
        assert abs(batch.std().item() - 1) < 0.05
    with pytest.raises(UnknownName, match="inputs"):
        input_batch("cifar10", (1, 3, 16, 16), 4, 0)


def test_identical_inputs_have_no_score_but_a_cause(space, monkeypatch):
    """Two equal rows make the determinant 0: the score is missing, not NaN."""
    same = torch.ones(8, 3, 16, 16)
    monkeypatch.setattr("searchers.evaluators.zero_cost._torch.input_batch", lambda *_: same)
    for module in ("nwot", "jacov"):
        (score,) = ZeroCost(space, indicator=module, settings={"batch": 8}).evaluate([space.parse(CELL)])
        assert not np.isnan(score.value)
        assert score.cause is None or "not finite" in score.cause


def isomorphic_pair(space):
    """Return two connected cells with convolutions that share a canonical form."""
    seen = {}
    for item in space.enumerate():
        if not space.graph(item).connected or 3 not in item.decisions:
            continue
        if (other := seen.setdefault(space.canonical(item), item)) is not item:
            return other, item
    raise AssertionError("the space has no two isomorphic cells")


def test_isomorphic_cells_share_one_score_whatever_is_asked_first(space):
    one, other = isomorphic_pair(space)
    first = ZeroCost(space).evaluate([one, other])
    second = ZeroCost(space).evaluate([other, one])
    assert first[0] == first[1] == second[0] == second[1]


def test_counts_are_those_of_the_architecture_and_not_of_its_form(space):
    """The same function may be computed with dead branches, or twice instead of once."""
    for name in ("macs", "live_macs"):
        evaluator = ZeroCost(space, indicator=name)
        for item in space.sample_distinct(60, seed=1):
            graph = space.graph(item) if name == "macs" else space.graph(item).live()
            assert evaluator.evaluate([item])[0].value == static_costs(graph).macs


def test_the_scored_network_is_shallow_unless_asked_otherwise():
    deep = NasBench201(width=4, depth=3, resolution=16)
    assert ZeroCost(deep, indicator="nwot").describe()["space_options"]["depth"] == 1
    assert ZeroCost(deep, indicator="nwot", proxy={"depth": 2}).describe()["space_options"]["depth"] == 2
    assert ZeroCost(deep, indicator="macs").describe()["space_options"]["depth"] == 3


def test_scores_are_found_again_on_disk(space, tmp_path, monkeypatch):
    architectures = space.sample_distinct(3, seed=0)
    first = ZeroCost(space, cache=tmp_path).evaluate(architectures)
    monkeypatch.setattr(Nwot, "score", lambda *_: pytest.fail("it is in the cache"))
    assert ZeroCost(space, cache=tmp_path).evaluate(architectures) == first


def test_other_settings_have_another_file(space, tmp_path):
    architectures = space.sample_distinct(1, seed=0)
    for settings in ({"seed": 0}, {"seed": 1}, {"batch": 16}):
        ZeroCost(space, settings=settings, cache=tmp_path).evaluate(architectures)
    assert len(list(tmp_path.glob("nwot-*.jsonl"))) == 3


def test_a_killed_writer_leaves_a_cache_that_works(tmp_path):
    settings = {"score": "x"}
    cache = ScoreCache(tmp_path, settings)
    cache.put("a", Score(1.5))
    cache.put("b", Score.missing("dead"))
    (path,) = tmp_path.glob("x-*.jsonl")
    path.write_bytes(path.read_bytes() + b'["c", 2.')
    torn = ScoreCache(tmp_path, settings)
    assert (torn.get("a"), torn.get("b"), torn.get("c")) == (Score(1.5), Score.missing("dead"), None)
    torn.put("c", Score(2.5))
    assert ScoreCache(tmp_path, settings).get("c") == Score(2.5)
    assert json.loads(path.read_text().splitlines()[0]) == ["a", 1.5, None]


#: Between the cells of one a stage: stem 1, reductions 2 each, classifier 1.
LAYERS_AROUND = 6


@pytest.mark.parametrize(
    ("cell", "span", "layers"),
    [
        ("|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|skip_connect~2|", 2, 2),
        # The skip lies within the cell, over two of its three layers.
        ("|nor_conv_3x3~0|+|skip_connect~0|avg_pool_3x3~1|+|none~0|nor_conv_1x1~1|nor_conv_3x3~2|", 2, 3),
        ("|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|none~0|none~1|nor_conv_1x1~2|", 0, 3),
        # Nothing is bridged where nothing lies beside the skips, nor by what is dead.
        ("|skip_connect~0|+|skip_connect~0|none~1|+|none~0|none~1|nor_conv_1x1~2|", 0, 1),
        ("|nor_conv_3x3~0|+|skip_connect~0|nor_conv_1x1~1|+|nor_conv_3x3~0|none~1|none~2|", 0, 1),
    ],
)
def test_skips_span_the_layers_that_lie_beside_them(cell, span, layers):
    space = NasBench201(depth=1)
    found = SkipSpan().score(space.graph(space.parse(cell)))
    assert found == pytest.approx(span / (3 * layers + LAYERS_AROUND))


def test_skips_of_different_length_count_alike():
    space = NasBench201(depth=1)
    cell = "|nor_conv_3x3~0|+|skip_connect~0|nor_conv_3x3~1|+|skip_connect~0|none~1|nor_conv_3x3~2|"
    # The first sum is bridged over two layers, the second over three.
    assert SkipSpan().score(space.graph(space.parse(cell))) == pytest.approx(2.5 / (9 + LAYERS_AROUND))


def test_isomorphic_cells_have_skips_of_one_span():
    space = NasBench201(depth=1)
    spans = {}
    for cell in space.sample_distinct(60, seed=3) + list(space.enumerate())[::37]:
        if space.connected(cell):
            spans.setdefault(space.canonical(cell), set()).add(round(SkipSpan().score(space.graph(cell)), 12))
    assert len(spans) > 200
    assert all(len(found) == 1 for found in spans.values())


def test_live_macs_are_those_of_the_reference_table(reference_data):
    import csv

    space = NasBench201()
    with gzip.open(reference_data / "nb201_cost.csv.gz", "rt") as file:
        rows = list(csv.DictReader(file))[::400]
    difference = {
        LiveMacs().score(space.graph(space.parse(row["arch_str"]))) - int(row["macs_live_cifar10"])
        for row in rows
        if row["connected"] == "1"
    }
    assert len(difference) == 1, "one constant, the counting of the head's bias, is all they may differ by"
    assert abs(difference.pop()) <= 10


def test_indicators_rank_trained_accuracy(reference_data):
    """A loose floor on few cells: what is measured in earnest stands in docs/searchers.md."""
    import csv

    with gzip.open(reference_data / "nb201_accuracy.csv.gz", "rt") as file:
        accuracy = {row["arch_str"]: float(row["cifar10"]) for row in csv.DictReader(file)}
    space = NasBench201()
    architectures = space.sample_distinct(40, seed=2)
    trained = [accuracy[item.text.removeprefix("nasbench201:")] for item in architectures]
    for name in ("nwot", "jacov", "live_macs"):
        scores = [score.value for score in ZeroCost(space, indicator=name).evaluate(architectures)]
        assert spearmanr(scores, trained).statistic > 0.45, name
