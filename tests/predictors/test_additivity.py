"""The audit of additivity on a scripted device whose non-additive pairs and blocks are known."""

import itertools
import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from click.testing import CliRunner

from benchmarks.additivity import curve
from hilnas.cli import cli
from hilnas.errors import UsageError
from predictors._audit import audit
from predictors._coefficients import block_coefficients
from predictors._entries import BlockEntry
from predictors._errors import MissingEntries
from predictors._graph_choice import shared_calls
from predictors._pairs import (
    adjacent_blocks,
    call_entry,
    judge_pairs,
    keys_to_measure,
    pair_workloads,
    pairs_to_measure,
)
from predictors._samples import Samples
from profiler._plan import (
    BLOCK_REPEAT,
    architecture_workload,
    block_copies,
    block_workloads,
    workload_module,
    workload_onnx,
)
from profiler._workspace import Workspace
from search_spaces._blocks import block_graph, lookup_counts, pair_block, pair_key
from search_spaces._costs import block_costs, static_costs
from search_spaces._errors import NoBlocks
from search_spaces.nasbench201 import NasBench201

SPACE = NasBench201(width=4, depth=1, resolution=8)
BLOCKS = {block.key: block for block in SPACE.blocks()}
TIMES = {
    key: 1e-5 + 1e-10 * block_costs(block).macs + 1e-9 * block_costs(block).activation_bytes
    for key, block in BLOCKS.items()
}
CALL = 2e-5
OPTIONS = ["--space-option", "width=4", "--space-option", "depth=1", "--space-option", "resolution=8"]


def key(kind, stage):
    """Return the key of a block of a stage by its kind."""
    return [item for item in BLOCKS if item.startswith(f"{kind}/")][stage]


#: What is saved when the second reads the first: a convolution that takes over a sum, a pooling that costs more
#: beside a convolution, and a stem that runs on into a convolution.
PLANTED = {
    (key("nor_conv_3x3", 0), key("sum2", 0)): 8e-6,
    (key("nor_conv_1x1", 1), key("avg_pool_3x3", 1)): -6e-6,
    (key("stem", 0), key("nor_conv_3x3", 0)): 7e-6,
}


def saved_s(first, second):
    """Return what two neighbours save, whichever of them comes first where they can be chained."""
    return PLANTED.get((first, second), PLANTED.get((second, first), 0.0) if not first.startswith("stem") else 0.0)


def copies(block):
    return BLOCK_REPEAT if all(spec == block.output for spec in block.inputs) else 1


def script():
    """Return the latencies of every workload an audit measures, but for the networks."""
    found = {}
    for name, block in BLOCKS.items():
        found[name] = CALL + copies(block) * TIMES[name]
    for first, second in itertools.product(BLOCKS.values(), repeat=2):
        if second.inputs[0] == first.output:
            together = TIMES[first.key] + TIMES[second.key] - saved_s(first.key, second.key)
            found[pair_key(first, second)] = CALL + copies(pair_block(first, second)) * together
    return {f"block:nasbench201:{name}": value for name, value in found.items()}


def network_s(architecture, scale=None):
    """Return the time of a network: its blocks, less what neighbours save in the direction they are planted."""
    calls = shared_calls(SPACE.graph(architecture).live())
    blocks = {call.name: call.block.key for call in calls}
    total = CALL + sum((scale or {}).get(name, 1.0) * TIMES[name] for name in blocks.values())
    for call in calls:
        for writer in {blocks[name] for name in call.inputs if name in blocks}:
            total -= PLANTED.get((writer, call.block.key), 0.0)
    return total


NETWORKS = SPACE.sample_distinct(40, seed=3)


@pytest.fixture
def hilnas(tmp_path):
    """Give the command line with the scripted device `board`."""
    configs = tmp_path / "configs"
    configs.mkdir()
    latencies = script() | {item.text: network_s(item) for item in SPACE.sample_distinct(60, seed=0)}
    lines = ['kind = "fake"', "[fake]", "noise = 0.002", "between = 0.002", "[fake.latencies]"]
    lines += [f"{json.dumps(name)} = {value!r}" for name, value in latencies.items()]
    (configs / "board.toml").write_text("\n".join(lines))

    def call(*arguments):
        return CliRunner().invoke(
            cli, ["--workspace", str(tmp_path / "w"), "--configs", str(configs), *arguments, *OPTIONS]
        )

    return call


def answer(result):
    assert result.exception is None, result.output
    return json.loads(result.stdout)


def test_the_audit_finds_exactly_the_planted_pairs(hilnas, tmp_path):
    found = answer(hilnas("compare", "board", "--additivity", "--n", "30", "--pairs", "500", "--json"))
    assert (found["n"], found["n_networks_measured"], found["n_blocks_measured"]) == (30, 30, 19)
    assert found["pairs_missing"] == 0
    verdicts = {(item["first"], item["second"]): item for item in found["pairs"]}
    wrong = {pair: item["verdict"] for pair, item in verdicts.items() if item["verdict"] != "additive"}
    expected = {pair: "fused" if saving > 0 else "dearer" for pair, saving in PLANTED.items()}
    assert {frozenset(pair): verdict for pair, verdict in wrong.items()} == {
        frozenset(pair): verdict for pair, verdict in expected.items()
    }
    for pair in wrong:
        item, saving = verdicts[pair], PLANTED.get(pair, PLANTED.get(pair[::-1]))
        assert item["lower_s"] <= saving <= item["upper_s"]
    assert len(found["fused_pairs"]) == 2
    assert found["call_s"] == pytest.approx(CALL, abs=3e-6)
    with Workspace.open(tmp_path / "w") as workspace:
        n_campaigns = len(workspace.store.campaigns())
    again = answer(hilnas("compare", "board", "--additivity", "--pairs", "500", "--json"))
    assert again["pairs"] == found["pairs"]
    assert (again["n_networks_measured"], again["n_blocks_measured"], again["n_pairs_measured"]) == (0, 0, 0)
    with Workspace.open(tmp_path / "w") as workspace:
        assert len(workspace.store.campaigns()) == n_campaigns
    stored = json.loads((tmp_path / "w" / "comparisons" / f"{found['comparison_id']}.json").read_text())
    assert stored["fused_pairs"] == found["fused_pairs"]
    text = hilnas("compare", "board", "--additivity", "--recorded", "--pairs", "500").stdout
    assert "3 of" in text and "do not add up" in text and found["pairs"][0]["first"] in text.replace("\n", "")


def test_records_alone_name_what_to_measure(hilnas):
    result = hilnas("compare", "board", "--additivity", "--recorded")
    assert isinstance(result.exception, UsageError)
    assert "hilnas profile board --space nasbench201 --samples 30" in result.exception.remedy
    answer(hilnas("profile", "board", "--space", "nasbench201", "--samples", "12", "--json"))
    result = hilnas("compare", "board", "--additivity", "--recorded")
    assert isinstance(result.exception, MissingEntries)
    assert "hilnas profile board --space nasbench201 --blocks" in result.exception.remedy
    answer(hilnas("profile", "board", "--space", "nasbench201", "--blocks", "--json"))
    found = answer(hilnas("compare", "board", "--additivity", "--recorded", "--json"))
    assert (found["n"], found["pairs"]) == (12, [])
    assert found["pairs_missing"] > 0
    assert "hilnas compare board --additivity" in found["next"]
    assert found["layers"] is None


@pytest.mark.parametrize(
    "arguments", [["--predictor", "lookup_table"], ["--gate", "mape<1"]], ids=["predictor", "gate"]
)
def test_an_audit_has_no_predictor(hilnas, arguments):
    assert isinstance(hilnas("compare", "board", "--additivity", *arguments).exception, UsageError)


def test_a_table_cannot_be_audited(hilnas):
    result = hilnas("compare", "table:a/b", "--additivity")
    assert isinstance(result.exception, UsageError)
    assert "whole networks" in result.exception.what


def test_a_space_without_blocks_stops_before_anything_is_measured(hilnas, tmp_path):
    family = Path(__file__).parents[1] / "fixtures" / "families" / "plain.toml"
    found = CliRunner().invoke(
        cli, ["--workspace", str(tmp_path / "v"), "compare", "fake", "--additivity", "--space", str(family)]
    )
    assert isinstance(found.exception, NoBlocks)
    with Workspace.open(tmp_path / "v") as workspace:
        assert workspace.store.campaigns() == []


def entry(value, half=0.002):
    return BlockEntry(value, value * half, 0.9375, 5)


def samples(times, architectures=NETWORKS):
    return Samples(tuple(architectures), np.array(times), ((),) * len(architectures))


def findings(times, architectures=NETWORKS):
    entries = {name: entry(value).to_json() for name, value in TIMES.items()}
    return audit(SPACE, entries, samples(times, architectures), [], {}, {}, seed=0)


NAMES = list(BLOCKS)
COUNTS = np.array([[lookup_counts(SPACE.graph(item)).get(name, 0) for name in NAMES] for item in NETWORKS], float)


def additive_s(scale=None, noise=0.003, seed=0):
    """Return the times of NETWORKS on a device where blocks add up, some of them scaled."""
    true = np.array([(scale or {}).get(name, 1.0) * TIMES[name] for name in NAMES])
    return (CALL + COUNTS @ true) * np.exp(np.random.default_rng(seed).normal(0, noise, len(COUNTS)))


def coefficients(times):
    return block_coefficients(NAMES, COUNTS, [entry(TIMES[name]) for name in NAMES], times)


@pytest.mark.parametrize("kind", ["nor_conv_3x3", "avg_pool_3x3"])
def test_a_block_that_costs_more_inside_networks_is_named(kind):
    scale = {name: 1.4 for name in BLOCKS if name.startswith(kind)}
    blocks, constant = coefficients(additive_s(scale))
    assert [set(item.blocks) for item in blocks if item.breaks] == [set(scale)]
    assert blocks[0].lower < 1.4 < blocks[0].upper
    assert blocks[0].contribution == pytest.approx(0.4 * blocks[0].share, rel=0.2)
    assert all(item.lower < 1 < item.upper for item in blocks[1:])
    assert set(constant) == {name for name in BLOCKS if name.split("/")[0] in ("stem", "reduction", "head")}


def test_an_additive_device_is_called_additive():
    found = findings(additive_s())
    assert not [item for item in found.blocks if item.breaks]
    assert found.slope_interval[0] < 1 < found.slope_interval[1]
    assert found.intercept_interval_s[0] < CALL < found.intercept_interval_s[1]
    assert found.held_out["additive"].within_10 == 1
    assert found.parameters["correction"] == "none"
    json.dumps(found.to_json(), allow_nan=False)


def test_the_correction_shows_in_held_out_networks():
    """A device that saves a fixed time whenever a sum reads a convolution: the sum of the blocks does not know that."""

    def latency_s(item):
        calls = SPACE.graph(item).live().calls
        kinds = {call.name: call.block.kind for call in calls}
        reads = [kinds.get(name, "") for call in calls if call.block.kind.startswith("sum") for name in call.inputs]
        return CALL + sum(TIMES[call.block.key] for call in calls) - 6e-6 * sum("conv" in kind for kind in reads)

    found = findings([latency_s(item) for item in NETWORKS])
    assert found.parameters["correction"] != "none"
    assert found.held_out["additive_residual"].mape < 0.5 * found.held_out["additive"].mape
    assert found.held_out["additive_residual"].within_10 > found.held_out["additive"].within_10


def test_wild_networks_do_not_break_blocks():
    times = additive_s()
    times[[4, 11]] *= 3
    assert not [item for item in coefficients(times)[0] if item.breaks]


def test_coefficients_hold_what_they_promise():
    """Over many additive devices at most one in twenty names any block; the allowance is for 60 draws."""
    false = 0
    for seed in range(60):
        rng = np.random.default_rng(1000 + seed)
        measured = np.array([TIMES[name] for name in NAMES]) * np.exp(rng.normal(0, 0.003, len(NAMES)))
        entries = [BlockEntry(value, value * 0.003 * 1.863, 0.9375, 5) for value in measured]
        blocks, _ = block_coefficients(NAMES, COUNTS, entries, additive_s(noise=0.01, seed=seed))
        false += any(item.breaks for item in blocks)
    assert false <= 7


def test_networks_that_are_all_alike_tell_nothing_apart():
    entries = [entry(TIMES[name]) for name in NAMES]
    assert block_coefficients(NAMES, np.ones((10, len(NAMES))), entries, np.full(10, 1e-3)) == ([], tuple(NAMES))


def test_pairs_are_judged_as_honestly_as_they_are_measured():
    """Over many devices where everything adds up, hardly any pair is called fused."""
    uses = adjacent_blocks([SPACE.graph(item) for item in NETWORKS])
    pairs = pairs_to_measure(uses, {name: entry(value) for name, value in TIMES.items()}, 500)
    keys = [*BLOCKS, *keys_to_measure(pairs)]
    rng = np.random.default_rng(0)
    false = 0
    for _ in range(20):
        measured = {}
        for name in keys:
            first, _, second = name.partition(">")
            block = pair_block(BLOCKS[first], BLOCKS[second]) if second else BLOCKS[first]
            whole = CALL + copies(block) * sum(TIMES[part] for part in name.split(">"))
            medians = np.sort(whole * np.exp(rng.normal(0, 0.004, 5))) / copies(block)
            measured[name] = BlockEntry(float(medians[2]), float(medians[4] - medians[0]) / 2, 0.9375, 5)
        false += any(item.verdict != "additive" for item in judge_pairs(pairs, uses, measured, 1e-3))
    assert false <= 3


def test_pairs_that_matter_most_come_first():
    uses = adjacent_blocks([SPACE.graph(item) for item in NETWORKS])
    entries = {name: entry(value) for name, value in TIMES.items()}
    everything = pairs_to_measure(uses, entries, 500)
    assert everything[:7] == pairs_to_measure(uses, entries, 7)
    assert pairs_to_measure(uses, entries, 0) == []
    assert len({frozenset(map(id, pair)) for pair in everything}) == len(everything)
    occurring = {frozenset((a.key, b.key)) for a, b in uses if a is not b}
    assert {frozenset((a.key, b.key)) for a, b in everything} == occurring


def test_a_spread_that_is_not_known_is_unclear():
    pair = (BLOCKS[key("nor_conv_3x3", 0)], BLOCKS[key("sum2", 0)])
    measured = {name: BlockEntry(TIMES[name]) for name in TIMES}
    measured |= {pair_key(block, block): BlockEntry(2 * TIMES[block.key]) for block in pair}
    measured[pair_key(*pair)] = BlockEntry(0.5 * sum(TIMES[block.key] for block in pair))
    (found,) = judge_pairs([pair], {pair: 1.0}, measured, 1e-3)
    assert found.verdict == "unclear"


def test_without_the_cost_of_a_call_single_pairs_are_unclear():
    """Two blocks that cannot be chained have one call too many; without a chain nobody knows what it costs."""
    pair = (BLOCKS[key("stem", 0)], BLOCKS[key("reduction", 0)])
    measured = {name: entry(TIMES[name]) for name in TIMES} | {pair_key(*pair): entry(0.5e-5)}
    assert call_entry(pair, measured) is None
    assert judge_pairs([pair], {pair: 1.0}, measured, 1e-3)[0].verdict == "unclear"


def test_the_cost_of_a_call_comes_from_chains():
    blocks = [BLOCKS[key(kind, 0)] for kind in ("sum2", "nor_conv_3x3", "stem")]
    measured = {block.key: entry(CALL / copies(block) + TIMES[block.key], 0.001) for block in blocks}
    measured |= {pair_key(b, b): entry(CALL / 8 + 2 * TIMES[b.key], 0.001) for b in blocks if copies(b) > 1}
    found = call_entry(blocks, measured)
    assert found.latency_s == pytest.approx(CALL)
    assert 0 < found.standard_error_s < CALL / 10


def test_a_pair_is_its_two_blocks():
    for first, second in itertools.product(BLOCKS.values(), repeat=2):
        if second.inputs[0] != first.output:
            with pytest.raises(ValueError, match="cannot read"):
                pair_block(first, second)
            continue
        both = pair_block(first, second)
        assert (both.inputs[0], both.output) == (first.inputs[0], second.output)
        assert block_costs(both).macs == block_costs(first).macs + block_costs(second).macs
        assert block_costs(both).params == block_costs(first).params + block_costs(second).params


def test_pairs_are_workloads_like_blocks():
    first, second = BLOCKS[key("nor_conv_3x3", 0)], BLOCKS[key("sum3", 0)]
    chained, single = pair_workloads(SPACE, [pair_key(first, second), pair_key(BLOCKS[key("stem", 0)], second)])
    assert (block_copies(chained), block_copies(single)) == (BLOCK_REPEAT, 1)
    graph = block_graph(pair_block(first, second), BLOCK_REPEAT)
    assert static_costs(graph).macs == BLOCK_REPEAT * block_costs(first).macs
    assert chained.options == block_workloads(SPACE)[0].options
    assert architecture_workload(SPACE, NETWORKS[0]).kind != chained.kind


def test_pairs_run_as_their_module_does():
    """What is measured is what torch computes of the same graph, chained or not."""
    stage = BLOCKS[key("nor_conv_3x3", 0)], BLOCKS[key("sum3", 0)]
    for first, second in (stage, (BLOCKS[key("stem", 0)], BLOCKS[key("sum2", 0)])):
        (workload,) = pair_workloads(SPACE, [pair_key(first, second)])
        model, _ = workload_onnx(workload)
        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        x = np.random.default_rng(0).standard_normal(workload.input_shape).astype(np.float32)
        (found,) = session.run(None, {session.get_inputs()[0].name: x})
        with torch.no_grad():
            expected = workload_module(workload)(torch.from_numpy(x)).numpy()
        np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_the_benchmark_compares_on_the_same_networks():
    entries = {name: entry(value).to_json() for name, value in TIMES.items()}
    points = curve(SPACE, entries, samples(additive_s()), (8, 20), 15, seed=0)
    assert [(point.kind, point.n_train, point.scores.n) for point in points] == [
        (kind, n, 15) for kind in ("additive", "additive_residual") for n in (8, 20)
    ]
    assert all(point.scores.within_10 == 1 for point in points)
    json.dumps([point.to_json() for point in points], allow_nan=False)
