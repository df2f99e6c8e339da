"""Lookup tables: what is chosen on devices whose law is known, what entries say, which graph is costed."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices._config import parse_config
from predictors._entries import BlockEntry, one_environment, runtime_text
from predictors._graph_choice import GRAPHS, costed_blocks, shared_calls
from predictors._graph_features import MODES
from predictors._linear import fit_line
from predictors._samples import block_entries
from predictors._table_choices import CORRECTIONS, held_out_errors, left_out, simplest
from predictors._views import views_of
from predictors.lookup_table import LookupTable
from profiler._campaign import measure
from profiler._plan import BLOCK_REPEAT, block_workloads
from profiler._workspace import Workspace
from search_spaces._blocks import lookup_counts
from search_spaces._costs import block_costs
from search_spaces.fbnet import FBNet
from search_spaces.nasbench201 import NasBench201

SPACE = NasBench201(width=4, depth=1, resolution=8)
TIMES = {
    block.key: 1e-5 + 1e-10 * block_costs(block).macs + 1e-9 * block_costs(block).activation_bytes
    for block in SPACE.blocks()
}
CELLS = SPACE.sample_distinct(45, seed=1)
TEST = SPACE.sample_distinct(30, seed=2, exclude=frozenset(map(SPACE.canonical, CELLS)))


def cell(text):
    return SPACE.graph(SPACE.parse(text))


def sum_s(architecture, graph):
    return sum(n * TIMES[block.key] for block, n in costed_blocks(SPACE.graph(architecture))[graph].items())


def noisy(times, noise, seed=0):
    return np.array(times) * np.exp(np.random.default_rng(seed).normal(0, noise, len(times)))


# ---- which graph is costed


def test_a_pooling_of_the_same_tensor_is_paid_once():
    graph = cell("|avg_pool_3x3~0|+|avg_pool_3x3~0|none~1|+|nor_conv_3x3~0|skip_connect~1|skip_connect~2|")
    kinds = {name: {} for name in GRAPHS}
    for name, found in kinds.items():
        for block, n in costed_blocks(graph)[name].items():
            found[block.kind] = found.get(block.kind, 0) + n
    assert kinds["live"]["avg_pool_3x3"] == kinds["as_trained"]["avg_pool_3x3"] == 6
    assert kinds["shared"]["avg_pool_3x3"] == kinds["fused"]["avg_pool_3x3"] == 3
    # The sum of three reads a convolution that nothing else reads: one of its two additions is taken over.
    assert kinds["shared"]["sum3"] == 3
    assert kinds["fused"]["sum3"] == pytest.approx(1.5)


def test_what_constants_feed_is_paid_for_until_they_are_folded():
    """The convolution reads a node without operations; the pooling reaches no output."""
    graph = cell("|none~0|+|avg_pool_3x3~0|none~1|+|skip_connect~0|nor_conv_1x1~1|none~2|")
    kinds = {
        name: {block.kind for block in costed_blocks(graph)[name]} & {"nor_conv_1x1", "avg_pool_3x3", "zeros"}
        for name in GRAPHS
    }
    assert kinds["as_trained"] == {"nor_conv_1x1", "avg_pool_3x3"}
    assert kinds["without_dead"] == {"nor_conv_1x1"}
    assert kinds["live"] == kinds["shared"] == kinds["fused"] == set()
    assert set(MODES) < set(GRAPHS)


def test_equal_convolutions_are_not_shared():
    """They have weights of their own."""
    graph = cell("|nor_conv_1x1~0|+|nor_conv_1x1~0|none~1|+|none~0|skip_connect~1|skip_connect~2|")
    counts = {block.kind: n for block, n in costed_blocks(graph)["fused"].items()}
    assert counts["nor_conv_1x1"] == 2


def test_a_convolution_that_two_read_takes_nothing_over():
    graph = cell("|nor_conv_1x1~0|+|none~0|skip_connect~1|+|skip_connect~0|avg_pool_3x3~1|skip_connect~2|")
    assert costed_blocks(graph)["fused"] == costed_blocks(graph)["shared"]


def test_what_follows_a_shared_result_is_shared_too():
    graph = cell("|avg_pool_3x3~0|+|avg_pool_3x3~0|none~1|+|none~0|avg_pool_3x3~1|avg_pool_3x3~2|")
    pools = sum(n for block, n in costed_blocks(graph)["shared"].items() if block.kind == "avg_pool_3x3")
    assert pools == 2 * 3


@given(st.integers(0, 2**32 - 1))
def test_graphs_cost_less_and_less(seed):
    graph = SPACE.graph(SPACE.sample(np.random.default_rng(seed)))
    costs = {name: sum(n * TIMES[block.key] for block, n in costed_blocks(graph)[name].items()) for name in GRAPHS}
    assert costs["as_trained"] >= costs["without_dead"] >= costs["live"] >= costs["shared"] - 1e-15
    assert costs["shared"] >= costs["fused"] - 1e-15
    assert {block.key: n for block, n in costed_blocks(graph)["live"].items()} == dict(lookup_counts(graph))
    names = {"input"}
    for call in shared_calls(graph.live()):
        assert names.issuperset(call.inputs)
        names.add(call.name)


def test_an_unknown_graph_is_refused():
    with pytest.raises(ValueError, match="graph must be auto"):
        LookupTable(SPACE, entries=TIMES, graph="pruned").fit(CELLS[:9], [1e-3] * 9)


@pytest.mark.parametrize("graph", GRAPHS)
def test_the_graph_that_runs_is_chosen(graph):
    times = noisy([2e-5 + 0.9 * sum_s(item, graph) for item in CELLS], 0.005)
    found = LookupTable(SPACE, entries=TIMES).fit(CELLS, times).parameters()
    assert found["graph"] == graph
    assert found["b"] == pytest.approx(0.9, abs=0.03)


def test_few_networks_choose_no_graph():
    times = [2e-5 + sum_s(item, "as_trained") for item in CELLS[:7]]
    found = LookupTable(SPACE, entries=TIMES).fit(CELLS[:7], times).parameters()
    assert (found["graph"], found["correction"]) == ("live", "none")
    forced = LookupTable(SPACE, entries=TIMES, graph="as_trained").fit(CELLS[:7], times).parameters()
    assert forced["graph"] == "as_trained"
    assert forced["b"] == pytest.approx(1, rel=1e-6)


def test_every_block_of_every_space_with_blocks_is_costed():
    space = FBNet()
    views = views_of(space)
    row = views.matrix("costed", [space.sample(np.random.default_rng(0))]).reshape(len(GRAPHS), -1)
    assert row.shape[1] == len(space.blocks())
    assert (row.sum(axis=1) > 20).all()


# ---- intercept, correction


def test_an_intercept_only_where_leaving_out_prefers_it():
    sums = np.array([sum_s(item, "live") for item in CELLS])
    proportional = LookupTable(SPACE, entries=TIMES).fit(CELLS[:2], 0.8 * sums[:2])
    assert proportional.parameters()["intercept"] is False
    np.testing.assert_allclose(
        proportional.predict(TEST).mean_s, [0.8 * sum_s(item, "live") for item in TEST], rtol=1e-6
    )
    same = LookupTable(SPACE, entries=TIMES).fit([CELLS[0]] * 2, [1e-3, 1e-3])
    np.testing.assert_allclose(same.predict(TEST).mean_s, 1e-3, rtol=1e-6)
    shifted = LookupTable(SPACE, entries=TIMES).fit(CELLS[:12], 3e-4 + sums[:12])
    assert shifted.parameters()["intercept"] is True
    assert shifted.parameters()["a_s"] == pytest.approx(3e-4, rel=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_two_networks_give_no_line(seed):
    """A line through two noisy points may fall or rise anyhow; their ratio to the sums does not."""
    i = np.random.default_rng(seed).permutation(len(CELLS))[:2]
    cells = [CELLS[place] for place in i]
    table = LookupTable(SPACE, entries=TIMES).fit(cells, noisy([sum_s(item, "live") for item in cells], 0.05, seed))
    np.testing.assert_allclose(table.predict(TEST).mean_s, [sum_s(item, "live") for item in TEST], rtol=0.2)


@pytest.mark.parametrize("n", [8, 20])
def test_noise_is_not_corrected(n):
    """Over ten draws of noise without structure."""
    on = 0
    for seed in range(10):
        times = noisy([2e-5 + sum_s(item, "live") for item in CELLS[:n]], 0.03, seed)
        found = LookupTable(SPACE, entries=TIMES, graph="live").fit(CELLS[:n], times)
        on += found.parameters()["correction"] != "none"
    assert on <= 3


def test_what_is_fused_is_corrected_on_networks_not_seen():
    """Each sum that reads a convolution saves a fixed time: no graph has that, pairs of kernels do."""

    def latency_s(item):
        calls = SPACE.graph(item).live().calls
        kinds = {call.name: call.block.kind for call in calls}
        reads = [kinds.get(name, "") for call in calls if call.block.kind.startswith("sum") for name in call.inputs]
        return 5e-5 + sum(TIMES[call.block.key] for call in calls) - 6e-6 * sum("conv" in kind for kind in reads)

    truth = np.array([latency_s(item) for item in TEST])
    found = {}
    for correction in (False, None):
        table = LookupTable(SPACE, entries=TIMES, correction=correction)
        guess = table.fit(CELLS, noisy([latency_s(item) for item in CELLS], 0.003)).predict(TEST)
        found[correction] = float(np.abs(guess.mean_s / truth - 1).mean())
    assert table.parameters()["correction"] in CORRECTIONS
    assert set(guess.provenance) == {"model"}
    assert found[None] < 0.7 * found[False]


def test_a_forced_correction_is_made():
    times = [2e-5 + sum_s(item, "live") for item in CELLS[:5]]
    assert LookupTable(SPACE, entries=TIMES, correction=True).fit(CELLS[:5], times).choices_["correction"] != "none"
    same = LookupTable(SPACE, entries=TIMES, correction=True).fit([CELLS[0]] * 4, [1e-3] * 4)
    np.testing.assert_allclose(same.predict(TEST).mean_s, 1e-3, rtol=1e-6)


def test_samples_of_equal_rows_are_left_out_together():
    rows = np.array([[1.0, 2.0], [3.0, 4.0], [1.0, 2.0]])
    folds = left_out(rows, np.zeros(3, np.intp))
    assert folds[0] == folds[2] != folds[1]
    many = np.arange(120.0).reshape(60, 2)
    np.testing.assert_array_equal(left_out(many, np.arange(60) % 7), np.arange(60) % 7)


def test_errors_are_of_what_was_not_seen():
    inputs = np.array([[1.0], [2.0], [3.0], [4.0]])
    seen = []

    def fit(rows, y):
        seen.append(sorted(y.tolist()))
        return lambda other: np.full(len(other), np.exp(np.log(y).mean()))

    y = np.array([1.0, 2.0, 3.0, 4.0])
    errors = held_out_errors(fit, inputs, y, np.arange(4))
    assert seen == [[2, 3, 4], [1, 3, 4], [1, 2, 4], [1, 2, 3]]
    assert errors[0] == pytest.approx(np.log([2, 3, 4]).mean())


def test_the_simpler_wins_a_draw():
    rng = np.random.default_rng(0)
    errors = rng.uniform(0.01, 0.02, 40)
    assert simplest([errors, errors]) == 0
    assert simplest([errors, errors - 0.005]) == 1
    assert simplest([errors, errors + rng.normal(-1e-5, 0.005, 40)]) == 0
    assert simplest([errors + 0.01, errors + 0.002, errors]) == 2


@given(st.integers(0, 999), st.sampled_from([1e-9, 1e-3, 1.0]))
def test_a_line_through_the_origin_has_the_robust_slope(seed, unit):
    rng = np.random.default_rng(seed)
    x = rng.uniform(1, 9, 25)[:, None]
    y = 0.7 * x[:, 0] * np.exp(rng.normal(0, 0.01, 25)) * unit
    y[3] *= 6
    line = fit_line(x, y, intercept=False)
    assert line.intercept == 0
    assert line.coefficients[0] == pytest.approx(0.7 * unit, rel=0.02)


# ---- entries


def test_the_spread_of_entries_reaches_the_parameters():
    plain = LookupTable(SPACE, entries=TIMES).fit(CELLS[:10], [sum_s(item, "live") for item in CELLS[:10]])
    assert plain.parameters()["table_half_width"] == plain.parameters()["entry_half_width"] == 0
    entries = {key: BlockEntry(value, 0.02 * value, 0.9, 5).to_json() for key, value in TIMES.items()}
    found = LookupTable(SPACE, entries=entries).fit(CELLS[:10], [sum_s(item, "live") for item in CELLS[:10]])
    assert found.parameters()["entry_half_width"] == pytest.approx(0.02)
    expected = [
        np.sqrt(sum((n * 0.02 * TIMES[key]) ** 2 for key, n in lookup_counts(SPACE.graph(item)).items()))
        / sum_s(item, "live")
        for item in CELLS[:10]
    ]
    assert found.parameters()["table_half_width"] == pytest.approx(np.median(expected))
    np.testing.assert_array_equal(found.predict(TEST).mean_s, plain.predict(TEST).mean_s)


@pytest.mark.parametrize(
    "bad",
    [
        {"latency_s": -1.0},
        {"latency_s": float("nan")},
        {"latency_s": 1e-3, "half_width_s": -1e-3},
        {"latency_s": 1e-3, "half_width_s": float("inf")},
        {"latency_s": 1e-3, "colour": "red"},
        {"half_width_s": 1e-3},
        {},
    ],
)
def test_what_is_no_entry_is_refused(bad):
    with pytest.raises(ValueError):
        BlockEntry.of(bad)


@given(st.floats(1e-9, 10), st.floats(0, 1), st.integers(0, 99))
def test_entries_come_back_from_json(seconds, half, n):
    entry = BlockEntry(seconds, half, 0.9375, n, "run", "environment", "runtime 1", "clock 2 GHz")
    assert BlockEntry.of(json.loads(json.dumps(entry.to_json()))) == entry
    assert BlockEntry.of(seconds).latency_s == seconds


def test_entries_of_two_machines_are_never_added():
    entries = {key: BlockEntry(value, environment="one").to_json() for key, value in TIMES.items()}
    key = next(iter(entries))
    entries[key] = BlockEntry(TIMES[key], environment="two").to_json()
    with pytest.raises(ValueError, match="different machines"):
        LookupTable(SPACE, entries=entries).fit(CELLS[:3], [1e-3, 2e-3, 3e-3])
    assert one_environment([BlockEntry(1.0), BlockEntry(1.0, environment="one", runtime="ort")]) == "ort"


def test_a_runtime_is_named_with_its_options():
    facts = {"runtime": {"name": "onnxruntime", "version": "1.31"}, "options": {"threads": 2, "affinity": []}}
    assert runtime_text(facts) == "onnxruntime 1.31, threads=2"
    assert runtime_text({"kind": "fake"}) == "fake"


def test_measured_blocks_are_entries_with_provenance(tmp_path):
    workloads = block_workloads(SPACE)
    latencies = {item.subject: 1e-4 * (i + 1) for i, item in enumerate(workloads)}
    config = parse_config({"name": "board", "kind": "fake", "fake": {"latencies": latencies}}, "test")
    with Workspace.open(tmp_path / "w") as workspace:
        done = measure(workspace, config, workloads)
        found = {key: BlockEntry.of(value) for key, value in block_entries(workspace, "board", SPACE).items()}
    assert set(found) == set(TIMES)
    for block, workload in zip(SPACE.blocks(), workloads, strict=True):
        copies = BLOCK_REPEAT if all(spec == block.output for spec in block.inputs) else 1
        entry = found[block.key]
        assert entry.latency_s == pytest.approx(latencies[workload.subject] / copies, rel=0.03)
        assert 0 < entry.half_width_s < 0.05 * entry.latency_s
        assert (entry.run_id, entry.runtime) == (done.run_id, "fake")
        assert entry.n >= 5 and entry.confidence >= 0.9 and entry.environment
    assert len({entry.environment for entry in found.values()}) == 1


def test_standard_errors_come_from_intervals():
    entry = BlockEntry(1.0, 0.1645, 0.9, 9)
    assert entry.standard_error_s == pytest.approx(0.1, rel=1e-3)
    assert BlockEntry(1.0).standard_error_s == 0


def test_corrections_name_columns_of_the_view():
    n = views_of(SPACE).matrix("runtime", CELLS[:1]).shape[1]
    assert set(itertools.chain.from_iterable(CORRECTIONS.values())) == set(range(n))
    assert 10 < len(CORRECTIONS["pairs"]) < n
