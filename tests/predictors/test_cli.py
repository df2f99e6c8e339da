"""`hilnas fit`, `hilnas predict` and `hilnas compare` on a scripted device and on a table."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from hilnas.cli import cli
from hilnas.errors import GateFailed, Inconclusive, UnknownName, UsageError
from predictors._errors import NotFitted
from profiler._workspace import Workspace
from search_spaces._blocks import lookup_counts
from search_spaces._costs import block_costs
from search_spaces.nasbench201 import NasBench201

SPACE = NasBench201()
ENTRIES = {
    block.key: 1e-6 + 1e-12 * block_costs(block).macs + 1e-11 * block_costs(block).activation_bytes
    for block in SPACE.blocks()
}
CELL = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|skip_connect~0|none~1|avg_pool_3x3~2|"


def times_ms(architectures, seed=0):
    rng = np.random.default_rng(seed)
    sums = [sum(n * ENTRIES[key] for key, n in lookup_counts(SPACE.graph(item)).items()) for item in architectures]
    return 1e3 * (5e-5 + np.array(sums)) * np.exp(rng.normal(0, 0.005, len(sums)))


@pytest.fixture
def hilnas(tmp_path):
    def call(*arguments):
        return CliRunner().invoke(cli, ["--workspace", str(tmp_path / "w"), *arguments])

    return call


def answer(result):
    assert result.exception is None, result.output
    return json.loads(result.stdout)


@pytest.fixture
def table(hilnas, tmp_path):
    """A table of 240 cells of a device that runs blocks one after the other."""
    cells = SPACE.sample_distinct(240, seed=9)
    rows = [
        f'"{cell.text.removeprefix("nasbench201:")}",{time:.9g},50'
        for cell, time in zip(cells, times_ms(cells), strict=True)
    ]
    path = tmp_path / "board.csv"
    path.write_text("\n".join(["arch_str,board_ms,accuracy", *rows]))
    answer(hilnas("data", "import", str(path), "--as", "t", "--space", "nasbench201", "--unit", "percent", "--json"))
    return "table:t/board_ms"


def test_fit_on_a_table(hilnas, table, tmp_path):
    found = answer(hilnas("fit", table, "--predictor", "gradient_boosting", "--train", "60", "--test", "30", "--json"))
    assert found["predictor"] == "gradient_boosting"
    assert (found["device"], found["space"]) == (table, "nasbench201")
    assert (found["n_train"], found["n_test"], found["n_fitted"]) == (60, 30, 90)
    assert found["scores"]["within_10"] > 0.9
    assert found["scores"]["mape"] < found["baselines"]["macs_baseline"]["mape"]
    assert found["scores"]["mape"] < found["baselines"]["additive"]["mape"]
    assert found["baselines"]["best_source_scaling"].startswith("n/a")
    assert found["noise_ceiling"] is None
    assert found["parameters"]["view"] in ("runtime", "both")
    assert (tmp_path / "w" / "predictors").is_dir()


def test_predict_shows_what_is_known(hilnas, table):
    answer(hilnas("fit", table, "--predictor", "macs_baseline", "--budget", "60", "--json"))
    known = SPACE.sample_distinct(240, seed=9)[0].text
    found = answer(hilnas("predict", table, CELL, known, "--json"))
    first, second = found["predictions"]
    assert first["architecture"] == f"nasbench201:{CELL}"
    assert first["measured_s"] is None
    assert first["provenance"] == first["predicted_from"] == "model"
    assert first["lower_s"] <= first["mean_s"] <= first["upper_s"]
    assert second["provenance"] == "measured"
    assert second["measured_s"] == pytest.approx(times_ms(SPACE.sample_distinct(240, seed=9))[0] / 1e3)
    assert "measured ms" in hilnas("predict", table, CELL, known).stdout


def test_compare_on_a_table_takes_others_than_it_was_fitted_on(hilnas, table, tmp_path):
    answer(hilnas("fit", table, "--predictor", "macs_baseline", "--budget", "60", "--json"))
    found = answer(hilnas("compare", table, "--n", "20", "--gate", "mape<9", "--json"))
    assert found["n"] == len(found["rows"]) == 20
    assert found["source"] == "table"
    assert found["gates"] == [{"gate": "mape<9", "value": found["scores"]["mape"], "holds": True}]
    saved = json.loads(next((tmp_path / "w" / "predictors").rglob("macs_baseline.json")).read_text())
    trained = {SPACE.canonical(SPACE.parse(text)) for text in saved["architectures"]}
    assert not trained & {SPACE.canonical(SPACE.parse(row["architecture"])) for row in found["rows"]}
    errors = [abs(row["error"]) for row in found["rows"]]
    assert errors == sorted(errors, reverse=True)
    stored = json.loads((tmp_path / "w" / "comparisons" / f"{found['comparison_id']}.json").read_text())
    assert stored["rows"] == found["rows"]


def test_a_table_has_no_blocks(hilnas, table):
    result = hilnas("fit", table, "--predictor", "lookup_table")
    assert isinstance(result.exception, UsageError)
    assert "gradient_boosting" in result.exception.remedy


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["--space", "nasbench301"], "nasbench301"),
        (["--train", "200", "--test", "100"], "240 with"),
        (["--sources", "table:t/board_ms"], "source of itself"),
        (["--sources", "table:t/accuracy"], "percent"),
        (["--sources", "nowhere"], "0 usable"),
        (["--interval", "15"], "15%"),
        (["--interval", "0%"], "above 0"),
    ],
)
def test_what_a_table_cannot_give(hilnas, table, arguments, what):
    result = hilnas("fit", table, "--predictor", "macs_baseline", *arguments)
    assert isinstance(result.exception, UsageError)
    assert what in str(result.exception)


@pytest.fixture
def devices(hilnas, tmp_path):
    """A table of a new device and of three others, two of them one device under two names."""
    cells = SPACE.sample_distinct(150, seed=4)
    own, other = times_ms(cells), times_ms(cells, seed=1)
    macs = np.array([sum(block_costs(call.block).macs for call in SPACE.graph(item).calls) for item in cells])
    rows = [
        f'"{cell.text.removeprefix("nasbench201:")}",{3 * a:.9g},{b:.9g},{2 * b:.9g},{1 + 1e-7 * c:.9g}'
        for cell, a, b, c in zip(cells, own, other, macs, strict=True)
    ]
    path = tmp_path / "devices.csv"
    path.write_text("\n".join(["arch_str,new_ms,old_ms,copy_ms,macs_ms", *rows]))
    answer(hilnas("data", "import", str(path), "--as", "d", "--space", "nasbench201", "--json"))


@pytest.mark.usefixtures("devices")
def test_transfer_reads_ten_times_and_learns_from_the_other_devices(hilnas, tmp_path):
    found = answer(hilnas("fit", "table:d/new_ms", "--predictor", "transfer", "--budget", "10", "--json"))
    assert found["n_fitted"] == found["n_measured"] == 10
    assert found["sources"] == ["table:d/copy_ms", "table:d/macs_ms"]
    weights = {name: found["parameters"][f"source {name}"] for name in found["sources"]}
    assert weights["table:d/copy_ms"] > weights["table:d/macs_ms"]
    best = found["baselines"]["best_source_scaling"]
    assert best["mape"] < 0.02 < found["baselines"]["macs_baseline"]["mape"]
    saved = json.loads(next((tmp_path / "w" / "predictors").rglob("transfer.json")).read_text())
    assert [item["name"] for item in saved["parameters"]["sources"]] == found["sources"]
    compared = answer(hilnas("compare", "table:d/new_ms", "--n", "60", "--json"))
    assert compared["scores"]["mape"] < 0.05
    assert compared["baselines"]["best_source_scaling"]["spearman"] > 0.99
    text = hilnas("fit", "table:d/new_ms", "--predictor", "transfer", "--budget", "10").stdout
    assert "sources: table:d/copy_ms" in text and "as many are known as were asked for" in text


@pytest.mark.usefixtures("devices")
def test_sources_can_be_named_or_left_out(hilnas):
    call = ("fit", "table:d/new_ms", "--predictor", "transfer", "--budget", "8", "--json")
    found = answer(hilnas(*call, "--sources", "table:d/old_ms"))
    assert found["sources"] == ["table:d/old_ms"]
    alone = answer(hilnas(*call, "--sources", "none"))
    assert alone["sources"] == [] and alone["baselines"]["best_source_scaling"].startswith("n/a")


@pytest.mark.usefixtures("devices")
def test_measuring_ends_where_intervals_are_narrow(hilnas):
    call = ("fit", "table:d/new_ms", "--predictor", "transfer", "--budget", "30", "--json")
    found = answer(hilnas(*call, "--interval", "20%"))
    assert found["n_fitted"] < 30 and found["interval_width"] <= 0.2
    assert "narrow" in found["stopped"]
    wide = answer(hilnas(*call, "--interval", "0.01%"))
    assert wide["n_fitted"] == 30 and wide["interval_width"] > 1e-4


def test_transfer_measures_a_device_step_by_step(hilnas, tmp_path):
    found = answer(hilnas("fit", "fake", "--predictor", "transfer", "--budget", "6", "--json"))
    assert (found["n_recorded"], found["n_measured"]) == (0, 6)
    with Workspace.open(tmp_path / "w") as workspace:
        runs = workspace.store.campaigns()
        assert len(runs) == 2  # five at once, then one by one
        assert {run.state for run in runs} == {"finished"}
    more = answer(hilnas("fit", "fake", "--predictor", "transfer", "--budget", "7", "--json"))
    assert (more["n_recorded"], more["n_measured"]) == (6, 1)


def test_a_column_of_accuracies_is_no_latency(hilnas, table):
    result = hilnas("fit", "table:t/accuracy", "--predictor", "macs_baseline")
    assert isinstance(result.exception, UsageError)
    assert "percent" in result.exception.what


def test_fit_measures_what_is_missing(hilnas, tmp_path):
    found = answer(hilnas("fit", "fake", "--predictor", "lookup_table", "--budget", "9", "--json"))
    assert found["n_measured"] == found["n_fitted"] == 9
    assert found["n_blocks_measured"] == 19
    assert {"a_s", "b", "table_residual_sd", "table_residual_worst"} <= set(found["parameters"])
    assert found["noise_ceiling"]["within_10"] == 1
    again = answer(hilnas("fit", "fake", "--predictor", "lookup_table", "--budget", "9", "--json"))
    assert (again["n_measured"], again["n_blocks_measured"], again["n_recorded"]) == (0, 0, 9)
    assert again["parameters"] == found["parameters"]
    more = answer(hilnas("fit", "fake", "--predictor", "macs_baseline", "--budget", "12", "--json"))
    assert (more["n_recorded"], more["n_measured"]) == (9, 3)


def test_too_few_to_hold_out_says_so(hilnas):
    found = answer(hilnas("fit", "fake", "--predictor", "macs_baseline", "--budget", "4", "--json"))
    assert found["scores"] is found["n_train"] is None
    assert found["n_fitted"] == 4
    assert "not known" in hilnas("fit", "fake", "--predictor", "macs_baseline", "--budget", "4").stdout


def test_compare_measures_new_architectures(hilnas, tmp_path):
    answer(hilnas("fit", "fake", "--predictor", "macs_baseline", "--budget", "12", "--json"))
    found = answer(hilnas("compare", "fake", "--n", "5", "--json"))
    assert (found["source"], found["n"], found["not_measured"]) == ("measured", 5, 0)
    assert found["noise_ceiling"]["n"] == 5
    with Workspace.open(tmp_path / "w") as workspace:
        assert workspace.store.campaign(found["run_id"]).state == "finished"
        assert len(workspace.store.measurements("fake", space="nasbench201")) == 17
    recorded = answer(hilnas("compare", "fake", "--recorded", "--json"))
    assert (recorded["source"], recorded["n"], recorded["run_id"]) == ("recorded", 5, None)
    assert {row["architecture"] for row in recorded["rows"]} == {row["architecture"] for row in found["rows"]}
    text = hilnas("compare", "fake", "--recorded").stdout
    assert "noise ceiling" in text and "comparison_id" in text


def test_a_failed_gate_comes_after_the_answer(hilnas):
    answer(hilnas("fit", "fake", "--predictor", "macs_baseline", "--budget", "12", "--json"))
    result = hilnas("compare", "fake", "--n", "6", "--gate", "within_10>=1", "--gate", "n>=6", "--json")
    assert isinstance(result.exception, GateFailed)
    assert result.exception.exit_code == 3
    found = json.loads(result.stdout)
    assert [gate["holds"] for gate in found["gates"]] == [False, True]
    assert "within_10" in result.exception.what


@pytest.mark.parametrize("gate", ["within_11>=0.9", "mape", "mape==1"])
def test_an_unknown_gate_stops_before_anything_is_measured(hilnas, gate, tmp_path):
    result = hilnas("compare", "fake", "--gate", gate)
    assert isinstance(result.exception, UsageError)
    assert not (tmp_path / "w").exists()


def test_everything_trained_on_leaves_nothing_to_compare(hilnas):
    answer(hilnas("fit", "fake", "--predictor", "macs_baseline", "--budget", "8", "--json"))
    result = hilnas("compare", "fake", "--recorded")
    assert isinstance(result.exception, UsageError)
    assert "hilnas compare fake" in result.exception.remedy


def test_nothing_measured_well_is_inconclusive(hilnas, tmp_path):
    configs = tmp_path / "configs"
    configs.mkdir()
    (configs / "broken.toml").write_text('kind = "fake"\n[fake]\nrejects = ["nasbench201:"]\n')
    result = hilnas("--configs", str(configs), "fit", "broken", "--predictor", "macs_baseline")
    assert isinstance(result.exception, Inconclusive)
    assert "rejects this model" in result.exception.cause


@pytest.mark.parametrize(
    "command", [["predict", "nowhere", CELL], ["compare", "nowhere"], ["predict", "table:a/b", CELL]]
)
def test_an_unknown_device_is_named(hilnas, command):
    assert isinstance(hilnas(*command).exception, UnknownName)


def test_without_a_fit_the_next_command_is_named(hilnas):
    result = hilnas("predict", "fake", CELL)
    assert isinstance(result.exception, NotFitted)
    assert "hilnas fit fake" in result.exception.remedy


def test_an_unknown_predictor_names_the_nearest(hilnas):
    result = hilnas("fit", "fake", "--predictor", "lookup_tabel")
    assert isinstance(result.exception, UnknownName)
    assert "lookup_table" in result.exception.cause


@pytest.mark.parametrize("text", ["|none~0|", "mobilenet:1-2-3"])
def test_a_wrong_architecture_is_a_usage_error(hilnas, text):
    assert isinstance(hilnas("predict", "fake", text).exception, UsageError)


def test_model_files_are_sent_to_profile(hilnas):
    result = hilnas("predict", "fake", "net.onnx")
    assert isinstance(result.exception, UsageError)
    assert "hilnas profile fake --model net.onnx" in result.exception.remedy


@pytest.mark.parametrize("command", ["fit", "predict", "compare"])
def test_help_has_an_example(command):
    result = CliRunner().invoke(cli, [command, "--help"])
    assert result.exit_code == 0
    assert "Example" in result.output
    assert "--json" in result.output
