"""`hilnas compare`: bands, bias, what may explain an error, and what to measure next."""

import json
import shlex

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import bootstrap

from devices._config import parse_config
from hilnas.cli import cli
from hilnas.records import Environment, MeasurementProtocol, Reading, Run
from predictors._comparing import Bands, costed_graph
from predictors._reasons import half_widths, rare_blocks, reasons, unseen_features
from predictors._samples import Samples
from predictors._suggesting import command, space_options, suggest
from predictors._views import views_of
from predictors.gradient_boosting import GradientBoosting
from predictors.lookup_table import LookupTable
from profiler._conditions import Conditions, differences
from profiler._plan import architecture_workload
from profiler._workspace import Workspace
from search_spaces.nasbench201 import NasBench201

SPACE = NasBench201(width=4, depth=1, resolution=8)
OPTIONS = ["--space-option", "width=4", "--space-option", "depth=1", "--space-option", "resolution=8"]


def samples(architectures, medians=None):
    n = len(architectures)
    return Samples(tuple(architectures), np.full(n, 1e-3), medians or ((),) * n)


# ---- bands


def test_bands_by_hand():
    found = Bands.of([0.04, -0.04, 0.09, -0.15, 0.3])
    assert found.within == {"within_5": 0.4, "within_10": 0.6, "within_20": 0.8}
    assert found.bias == pytest.approx(0.048)
    low, high = found.bias_interval
    assert low < 0 < high


def test_the_interval_of_the_bias_is_that_of_a_mean():
    errors = np.random.default_rng(0).normal(0.02, 0.05, 200)
    found = Bands.of(errors.tolist())
    drawn = bootstrap((errors,), np.mean, rng=np.random.default_rng(1)).confidence_interval
    assert found.bias_interval == pytest.approx((drawn.low, drawn.high), abs=0.001)


@given(st.lists(st.floats(-0.9, 5), min_size=1, max_size=30))
def test_bands_are_nested_shares(errors):
    found = Bands.of(errors)
    shares = list(found.within.values())
    assert shares == sorted(shares)
    assert shares[0] >= 0 and shares[-1] <= 1
    assert (found.bias_interval is None) == (len(errors) < 2)
    json.dumps(found.to_json(), allow_nan=False)


# ---- reasons


def test_reasons_name_what_is_unusual():
    found = reasons(0.05, ["clock: 2.40 -> 1.50 GHz"], ["sum3 (in 0 of 9)"], ["n_add", "macs", "depth", "n_pool"])
    assert found[0] == "measured to ± 5.0% only"
    assert found[1] == "the device was different: clock: 2.40 -> 1.50 GHz"
    assert found[2] == "rare blocks: sum3 (in 0 of 9)"
    assert found[3] == "beyond anything trained on: n_add, macs, depth"
    assert reasons(0.01, [], [], []) == reasons(None, [], [], []) == ()


def test_half_widths_come_from_the_invocations():
    found = half_widths(samples(SPACE.sample_distinct(3, 0), ((1.0, 1.1, 0.9, 1.0, 1.0), (1.0,), ())))
    assert found == [pytest.approx(0.1), None, None]


def test_blocks_that_hardly_any_network_had_are_rare():
    plain = SPACE.parse("|nor_conv_1x1~0|+|none~0|skip_connect~1|+|none~0|none~1|skip_connect~2|")
    pooled = SPACE.parse("|nor_conv_1x1~0|+|none~0|avg_pool_3x3~1|+|none~0|none~1|skip_connect~2|")
    trained = [plain] * 39 + [pooled]
    nothing, rare = rare_blocks(SPACE, trained, samples([plain, pooled]))
    assert nothing == ()
    assert len(rare) == 3
    assert all(text.startswith("avg_pool_3x3/") and text.endswith("(in 1 of 40)") for text in rare)
    assert rare_blocks(SPACE, [*trained, pooled, pooled], samples([pooled])) == [()]


def test_what_was_never_trained_on_is_named():
    small = SPACE.parse("|nor_conv_1x1~0|+|none~0|skip_connect~1|+|none~0|none~1|skip_connect~2|")
    large = SPACE.parse("|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|none~1|nor_conv_3x3~2|")
    inside, outside = unseen_features(SPACE, [small], samples([small, large]))
    assert inside == ()
    assert {"macs", "n_conv3x3", "depth"} <= set(outside)


def test_conditions_differ_by_more_than_they_may():
    before = Conditions({"runtime.version": "1"}, {"cpu.current_hz": 2.0e9, "t.max_celsius": 50.0, "old.arm_hz": 1e9})
    same = Conditions({"runtime.version": "1"}, {"cpu.current_hz": 2.03e9, "t.max_celsius": 58.0, "new.arm_hz": 2e9})
    other = Conditions({"runtime.version": "2"}, {"cpu.current_hz": 1.5e9, "t.max_celsius": 75.0})
    assert differences(before, same) == []
    assert differences(before, other) == [
        "runtime.version: 1 -> 2",
        "cpu.current_hz: 2.00 GHz -> 1.50 GHz",
        "t.max_celsius: 50 C -> 75 C",
    ]
    assert differences(before, Conditions({}, {})) == ["runtime.version: 1 -> none"]


def test_conditions_are_read_from_the_records(tmp_path):
    """Clocks of all cores and the hottest zone after the timed calls; what is no number does no harm."""
    config = parse_config({"name": "board", "kind": "fake"}, "test")
    (architecture,) = SPACE.sample_distinct(1, 0)
    workload = architecture_workload(SPACE, architecture)
    states = [
        {"cpu_clock": {"current_hz": [1e9, 3e9, None], "governors": ["x"]}, "temperature": {"max_celsius": 40.0}},
        {"cpu_clock": {"current_hz": [4e9]}, "temperature": {"unavailable": "none"}, "gpu": {"a": {"current_hz": 5e8}}},
        {"cpu_clock": "nonsense", "temperature": {"max_celsius": True}},
    ]
    with Workspace.open(tmp_path / "w") as workspace:
        store = workspace.store
        run_id = store.create_campaign(
            "board", config.model_dump(mode="json"), SPACE.name, MeasurementProtocol(), 0, [workload]
        )
        environment = Environment({"runtime": {"name": "r", "version": "1"}, "cores": [0, 1]})
        store.set_state(run_id, "running", environment)
        for i, state in enumerate(states):
            run = Run(workload, "ok", (Reading("latency_s", (1e-3,)),), state={"before": {}, "after": state})
            store.add_run(
                run_id,
                run,
                sequence=i,
                attempt=1,
                role="workload",
                artifact=None,
                environment=environment.key,
                elapsed_s=0.1,
            )
        found = store.conditions([run_id])
        assert found == store.conditions([run_id], workload.key)
        assert store.conditions([run_id], "another").readings == {}
    assert found.facts == {"runtime.name": "r", "runtime.version": "1", "cores": "[0, 1]"}
    assert found.readings == {"cpu_clock.current_hz": 3e9, "temperature.max_celsius": 40.0, "gpu.current_hz": 5e8}
    assert str(found) == "cpu_clock.current_hz 3.00 GHz, gpu.current_hz 0.50 GHz, temperature.max_celsius 40 C"


# ---- what to measure next


def without(operation, n, seed):
    found = [item for item in SPACE.sample_distinct(400, seed) if operation not in item.text]
    return found[:n]


def test_what_was_never_seen_is_suggested_first():
    known = without("avg_pool", 40, seed=0)
    found = suggest(SPACE, known, 5, seed=1)
    assert len({SPACE.canonical(item) for item in found}) == 5
    assert not {SPACE.canonical(item) for item in found} & {SPACE.canonical(item) for item in known}
    assert "avg_pool" in found[0].text
    assert found == suggest(SPACE, known, 5, seed=1)
    assert found[:2] == suggest(SPACE, known, 2, seed=1)


def test_suggestions_lower_the_variance_more_than_chance():
    """Of a model that is linear in the features they are chosen for, over architectures of another seed."""
    views = views_of(SPACE)
    pool = SPACE.sample_distinct(200, seed=4)
    rows = views.matrix("runtime", pool)
    center, spread = rows.mean(axis=0), rows.std(axis=0)
    varying = spread > 0

    def scaled(architectures):
        return ((views.matrix("runtime", architectures) - center) / np.where(varying, spread, 1))[:, varying]

    def mean_variance(architectures):
        seen, others = scaled(architectures), scaled(pool)
        covariance = np.linalg.inv(np.eye(others.shape[1]) + seen.T @ seen / 0.1)
        return np.einsum("ij,jk,ik->i", others, covariance, others).mean()

    known = pool[:10]
    rng = np.random.default_rng(0)
    drawn = [mean_variance([*known, *(pool[i] for i in rng.permutation(np.arange(10, 200))[:8])]) for _ in range(30)]
    assert mean_variance([*known, *suggest(SPACE, known, 8, seed=9)]) < np.quantile(drawn, 0.05)


def test_the_command_measures_what_is_suggested():
    found = suggest(SPACE, [], 2, seed=0)
    words = shlex.split(command(SPACE, "pi5", found))
    assert words[:5] == ["hilnas", "profile", "pi5", "--space", "nasbench201"]
    assert [words[i + 1] for i, word in enumerate(words) if word == "--architecture"] == [item.text for item in found]
    assert "width=4" in words
    assert space_options(NasBench201()) == []


def test_a_predictor_says_which_graph_it_costs():
    times = {block.key: 1e-5 for block in SPACE.blocks()}
    cells = SPACE.sample_distinct(12, 0)
    y = np.random.default_rng(0).uniform(1e-3, 2e-3, 12)
    assert costed_graph(LookupTable(SPACE, entries=times, graph="shared").fit(cells, y)) == "shared"
    assert costed_graph(GradientBoosting(SPACE, view="runtime").fit(cells, y)) == "runtime"


# ---- the command


@pytest.fixture
def hilnas(tmp_path):
    def call(*arguments):
        folders = ["--workspace", str(tmp_path / "w"), "--configs", str(tmp_path)]
        return CliRunner().invoke(cli, [*folders, *arguments, *OPTIONS])

    return call


def answer(result):
    assert result.exception is None, result.output
    return json.loads(result.stdout)


def write_config(folder, noise):
    (folder / "board.toml").write_text(f'kind = "fake"\n[fake]\nnoise = {noise}\n')


def test_a_comparison_says_what_is_different_and_what_is_next(hilnas, tmp_path):
    write_config(tmp_path, 0.01)
    answer(hilnas("fit", "board", "--predictor", "lookup_table", "--budget", "12", "--json"))
    found = answer(hilnas("compare", "board", "--n", "4", "--json"))
    assert found["different"] == []
    assert found["graph"] in ("live", "shared", "fused", "as_trained")
    assert set(found["bands"]) == {"within_5", "within_10", "within_20", "bias", "bias_interval"}
    assert found["bands"]["within_10"] == found["scores"]["within_10"]
    assert found["bands"]["bias"] == pytest.approx(found["scores"]["bias"])
    assert len(found["next"]["architectures"]) == 5
    assert all(0 < row["measured_half_width"] < 0.05 for row in found["rows"])
    write_config(tmp_path, 0.02)
    changed = answer(hilnas("compare", "board", "--n", "4", "--json"))
    assert changed["different"] == ["script.noise: 0.01 -> 0.02"]
    text = hilnas("compare", "board", "--n", "4").stdout
    assert "different from when it was fitted: script.noise: 0.01 -> 0.02" in text
    assert "graph that is costed" in text and "what may explain it" in text
    result = hilnas(*shlex.split(changed["next"]["command"])[1:])
    assert result.exception is None


def test_pairs_belong_to_an_audit(hilnas, tmp_path):
    write_config(tmp_path, 0.01)
    assert "--additivity" in hilnas("compare", "board", "--pairs", "3").output
