"""The user's own family: an honest space, whatever the user's code does, from the file to the search."""

import json
import sys
import uuid
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from devices._config import parse_config
from hilnas.cli import cli
from hilnas.errors import BadFile, Infeasible, UnknownName, UsageError
from hilnas.records import Architecture, MeasurementProtocol
from predictors._registry import load_fitted
from predictors._samples import recorded_samples
from profiler._campaign import measure, resume
from profiler._plan import architecture_workload, load_space, sample_workloads, workload_module, workload_onnx
from profiler._workspace import Workspace
from search_spaces._costs import static_costs
from search_spaces._errors import CannotBuild, NetworkChanged, NoBlocks
from search_spaces._family_networks import network_of
from search_spaces._torch import to_module
from search_spaces.parametric import Parametric
from searchers.evaluators._base import DISCONNECTED
from searchers.evaluators.zero_cost import ZeroCost

FAMILIES = Path(__file__).parents[1] / "fixtures" / "families"
PLAIN = str(FAMILIES / "plain.toml")
EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "families" / "mobile.toml"
AXES = [["width", [4, 8]], ["depth", [1, 2, 3]], ["resolution", [8, 16]]]
SHAPE = [1, 3, "resolution", "resolution"]
QUICK = replace(
    MeasurementProtocol(), min_invocations=1, max_invocations=2, min_warmup_s=0.01, min_measure_s=0.02,
    max_measure_s=0.04, sentinel_every=0, timeout_s=20.0, relative_half_width=1.0, reject_half_width=9.0,
)  # fmt: skip


@pytest.fixture(autouse=True)
def _own_leases(tmp_path, monkeypatch):
    monkeypatch.setattr("devices._lease.lease_folder", lambda: tmp_path / "leases")


@pytest.fixture(scope="module")
def plain():
    return load_space(PLAIN)


def plain_nets(**options):
    return Parametric(
        **{"build": "plain_nets:build", "axes": AXES, "input_shape": SHAPE, "folder": str(FAMILIES)} | options
    )


class Changing:
    """A family whose code can be changed, each under a name of its own."""

    def __init__(self, folder):
        self.folder = folder
        self.name = f"nets_{uuid.uuid4().hex}"

    def write(self, body, **options):
        (self.folder / f"{self.name}.py").write_text(f"from torch import nn\ndef build(width, depth):\n    {body}\n")
        sys.modules.pop(self.name, None)
        network_of.cache_clear()
        axes = [["width", [4, 8, 12, 16]], ["depth", [1, 2, 3]]]
        given = {"build": f"{self.name}:build", "axes": axes, "input_shape": [1, 3, 8, 8], "folder": str(self.folder)}
        return Parametric(**{**given, **options})


@pytest.fixture
def changing(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return Changing(tmp_path)


CONV = "return nn.Sequential(nn.Conv2d(3, width, 3), *(nn.Conv2d(width, width, {k}) for _ in range(depth)))"


def test_the_graph_is_that_of_the_axes(plain):
    architecture = plain.parse("width=8,depth=2,resolution=12")
    graph = plain.graph(architecture)
    assert graph.input.shape == plain.shape_of(architecture) == (1, 3, 12, 12)
    stem, block = 6 * 6 * 8 * 3 * 9, 6 * 6 * 8 * 8 * 9
    assert static_costs(graph).macs == stem + 2 * block + 8 * 5
    assert plain.architecture((1, 1, 1)) == architecture


def test_what_is_outside_is_never_drawn(plain):
    rng = np.random.default_rng(0)
    outside = {plain.parse(f"width=12,depth={depth},resolution={side}") for depth in (2, 3) for side in (8, 12, 16)}
    everything = set(plain.enumerate())
    drawn = {plain.sample(rng) for _ in range(300)}
    assert len(everything) == 27 - 6 and not everything & outside
    assert drawn == everything
    corner = plain.parse("width=12,depth=1,resolution=8")
    assert not {plain.mutate(corner, rng) for _ in range(100)} & outside


def test_what_is_outside_is_a_candidate_without_a_network(plain):
    """A controller may propose any combination: that is no error of the search."""
    architecture = plain.parse("width=12,depth=3,resolution=8")
    assert "outside" in plain.obstacle(architecture)
    with pytest.raises(CannotBuild, match="outside the family"):
        plain.graph(architecture)
    with pytest.raises(CannotBuild):
        plain.onnx(architecture)
    assert plain.canonical(architecture) == architecture.text
    for indicator in ("macs", "nwot"):
        (score,) = ZeroCost(plain, indicator=indicator).evaluate([architecture])
        assert "outside" in score.cause and score.cause != DISCONNECTED


def test_a_predicate_excludes_as_well():
    space = plain_nets(valid="plain_nets:is_small")
    assert {item.text.rpartition(",")[0] for item in space.enumerate()} == {
        "parametric:width=4,depth=1", "parametric:width=4,depth=2", "parametric:width=8,depth=1"
    }  # fmt: skip
    with pytest.raises(UsageError, match="TypeError"):
        plain_nets(valid="plain_nets:Residual").sample(np.random.default_rng(0))


def test_a_family_that_excludes_everything_says_so():
    space = plain_nets(invalid=[{"width": [4, 8]}])
    with pytest.raises(Infeasible, match="lies inside"):
        space.sample(np.random.default_rng(0))
    lonely = plain_nets(invalid=[{"width": [8]}, {"depth": [2, 3]}, {"resolution": [16]}])
    with pytest.raises(Infeasible, match="neighbour"):
        lonely.mutate(lonely.architecture((0, 0, 0)), np.random.default_rng(0))


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"build": "plain_nets:build_nothing"}, "returns a dict"),
        ({"build": "plain_nets:build_for_five_channels"}, "RuntimeError"),
        ({"build": "plain_nets:Residual"}, "TypeError"),
        ({"build": "plain_nets:no_function"}, "cannot be called"),
        ({"build": "no_such_nets:build"}, "cannot be imported"),
        ({"input_shape": []}, "input shape is not known"),
        ({"build": "plain_nets:build_with_shape", "input_shape": [2, 3, 8, 8]}, "says the input shape"),
    ],
)
def test_a_build_that_gives_no_network(options, what):
    space = plain_nets(**options)
    architecture = space.architecture((0, 0, 0))
    with pytest.raises(CannotBuild) as error:
        space.graph(architecture)
    assert what in str(error.value)
    assert architecture.text in error.value.what
    with pytest.raises(CannotBuild):
        space.module(architecture)


def test_build_may_say_the_shape_itself():
    space = plain_nets(build="plain_nets:build_with_shape", input_shape=[])
    assert space.input_shape == (1, 3, 8, 8)
    assert space.shape_of(space.architecture((0, 0, 1))) == (1, 3, 16, 16)


@pytest.mark.parametrize(
    ("text", "kind", "what"),
    [
        ("width=4,depth=1", UsageError, "names no resolution"),
        ("width=4,depth=1,resolution=8,depth=2", UsageError, "names depth twice"),
        ("widht=4,depth=1,resolution=8", UnknownName, "Did you mean 'width'"),
        ("width=5,depth=1,resolution=8", UnknownName, "Known: 12, 4, 8"),
        ("width=4.0,depth=1,resolution=8", UnknownName, "value of width"),
    ],
)
def test_texts_outside_say_why(plain, text, kind, what):
    with pytest.raises(kind) as error:
        plain.parse(text)
    assert what in str(error.value)
    assert "width=4,depth=1,resolution=8" in error.value.remedy


def test_an_axis_without_effect_makes_no_other_network(changing):
    space = changing.write("return nn.Conv2d(3, width, 3)")
    first, other, third = (space.parse(text) for text in ("width=4,depth=1", "width=4,depth=3", "width=8,depth=1"))
    assert space.canonical(first) == space.canonical(other) != space.canonical(third)
    assert len(space.sample_distinct(4, seed=0)) == 4
    with pytest.raises(Infeasible, match="no 5 distinct"):
        space.sample_distinct(5, seed=0)
    x = torch.ones(space.input_shape)
    assert torch.equal(space.module(first, seed=2)(x), space.module(other, seed=2)(x))


def test_modules_are_seeded_and_leave_the_generator_alone(plain):
    architecture = plain.architecture((0, 0, 0))
    torch.manual_seed(5)
    state = torch.get_rng_state()
    weights = [dict(plain.module(architecture, seed).named_parameters()) for seed in (1, 1, 2)]
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert not torch.equal(weights[0]["0.weight"], weights[2]["0.weight"])


def test_there_are_no_blocks_and_no_other_way_to_a_module(plain):
    with pytest.raises(NoBlocks) as error:
        plain.blocks()
    assert PLAIN in error.value.what and "gradient_boosting" in error.value.remedy
    with pytest.raises(UsageError, match="traced graph"):
        to_module(plain.graph(plain.architecture((0, 0, 0))))


def test_a_workload_is_enough_to_build_it_again(plain, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    space = load_space(PLAIN)
    first, *_ = sample_workloads(space, 3, seed=0)
    again = type(first)(first.subject, first.kind, first.input_shape, first.dtype, str(first.options))
    assert first.subject.startswith("parametric:width=")
    network_of.cache_clear()
    assert workload_onnx(again) == space.onnx(space.parse(first.subject))
    assert workload_module(again)(torch.zeros(first.input_shape)).shape == (1, 5)
    assert json.loads(first.options)["network"] == space.fingerprint(space.parse(first.subject))


def test_a_changed_build_is_noticed(changing):
    space = changing.write(CONV.format(k=1))
    architecture = space.architecture((0, 0))
    workload = architecture_workload(space, architecture)
    assert workload_onnx(workload)[1] is None
    changed = changing.write(CONV.format(k=3))
    with pytest.raises(NetworkChanged, match="another network"):
        workload_onnx(workload)
    assert architecture_workload(changed, architecture).key != workload.key
    changing.write("raise ValueError('no more')")
    with pytest.raises(NetworkChanged) as error:
        workload_onnx(workload)
    assert "no more" in error.value.cause


def test_a_changed_build_stops_what_was_learned_and_planned(changing, tmp_path, caplog):
    changing.write(CONV.format(k=1))
    runner = CliRunner()
    (tmp_path / "device_configs").mkdir()
    (tmp_path / "device_configs" / "board.toml").write_text('kind = "fake"\n')
    axes = "[axes]\nwidth = [4, 8, 12, 16]\ndepth = [1, 2, 3]\n"
    family = tmp_path / "family.toml"
    family.write_text(f'build = "{changing.name}:build"\ninput_shape = [1, 3, 8, 8]\n{axes}')
    command = ["--workspace", str(tmp_path / "w"), "--configs", str(tmp_path / "device_configs")]
    command += ["fit", "board", "--predictor", "macs_baseline", "--budget", "8", "--space", str(family)]
    done = runner.invoke(cli, command)
    assert done.exception is None, done.output
    space = load_space(str(family))
    with Workspace.open(tmp_path / "w") as workspace:
        assert load_fitted(workspace, "board", space).name == "macs_baseline"
        assert len(recorded_samples(workspace, "board", space)) == 8
        changing.write(CONV.format(k=3))
        with pytest.raises(BadFile, match="other networks") as error:
            load_fitted(workspace, "board", space)
        assert "hilnas fit board" in error.value.remedy and "family.toml" in error.value.remedy
        assert len(recorded_samples(workspace, "board", space)) == 0
    assert "8 measurements" in caplog.text


def test_a_campaign_goes_on_without_what_cannot_be_built(tmp_path):
    space = plain_nets(build="plain_nets:build_shallow")
    shallow, deep = space.parse("width=4,depth=2,resolution=8"), space.parse("width=4,depth=3,resolution=8")
    workloads = [architecture_workload(space, item) for item in (deep, shallow)]
    for kind in ("fake", "local_cpu"):
        with Workspace.open(tmp_path / kind) as workspace:
            config = parse_config({"name": "cpu", "kind": kind}, "test")
            done = measure(workspace, config, workloads, protocol=QUICK)
            failed, measured = done.measurements
            assert failed.status == "failed" and "depth 3 is too much" in failed.cause
            assert measured.status == "ok" or (kind, measured.status) == ("local_cpu", "rejected")  # on a busy machine
            assert measured.status == "rejected" or 0 < measured.latency_s < 1
            again = resume(workspace, done.run_id)
            assert [item.status for item in again.measurements] == ["failed", measured.status]


def test_indicators_score_modules_of_the_user(plain):
    architectures = plain.sample_distinct(4, seed=1)
    for indicator in ("nwot", "jacov"):
        scores = ZeroCost(plain, indicator=indicator, settings={"batch": 8}).evaluate(architectures)
        assert all(score.cause is None for score in scores), scores
        assert len({score.value for score in scores}) > 1


def test_nwot_of_a_module_is_that_of_its_rectifiers(plain):
    architecture = plain.parse("width=4,depth=2,resolution=8")
    (score,) = ZeroCost(plain, indicator="nwot", settings={"batch": 6, "inputs": "noise", "seed": 3}).evaluate(
        [architecture]
    )
    from searchers.evaluators.zero_cost._torch import input_batch

    module, codes = plain.module(architecture, 3), []
    for layer in module.modules():
        if isinstance(layer, torch.nn.ReLU):
            layer.register_forward_hook(lambda _m, _i, out: codes.append((out > 0).flatten(1).double()))
    with torch.no_grad():
        module(input_batch("noise", (1, 3, 8, 8), 6, 3))
    x = torch.cat(codes, dim=1)
    assert len(codes) == 3
    assert score.value == pytest.approx(torch.linalg.slogdet(x @ x.T + (1 - x) @ (1 - x).T)[1].item(), rel=1e-9)


def test_a_module_that_fails_on_a_batch_has_no_score_but_a_cause(changing):
    body = "return nn.Sequential(nn.Conv2d(3, width, 3), nn.ReLU(), nn.Unflatten(0, (1, 1)), nn.Flatten(0, 1))"
    space = changing.write(body)
    (score,) = ZeroCost(space, indicator="nwot").evaluate([space.architecture((0, 0))])
    assert "nwot failed" in score.cause


def test_the_example_of_the_documentation_works():
    space = load_space(str(EXAMPLE))
    assert len(list(space.enumerate())) == 54 - 4
    for architecture in space.sample_distinct(2, seed=0):
        assert static_costs(space.graph(architecture)).macs > 1e6


def test_space_options_are_refused_beside_a_file():
    with pytest.raises(UsageError, match="no space options"):
        load_space(PLAIN, '{"width":3}')
    with pytest.raises(UnknownName, match="option"):
        load_space("parametric", '{"width":3}')
    with pytest.raises(UsageError, match="axes"):
        load_space("parametric", '{"axes":3}')


@pytest.fixture
def hilnas(tmp_path, monkeypatch, plain):
    """Give a function that calls the commands, on a scripted board whose latency follows the networks' MACs."""
    (tmp_path / "device_configs").mkdir()
    times = {item.text: 1e-4 + 2e-9 * static_costs(plain.graph(item)).macs for item in plain.enumerate()}
    lines = "\n".join(f'"{text}" = {value:.9g}' for text, value in times.items())
    script = f'kind = "fake"\n[fake]\nnoise = 0.001\nbetween = 0.001\n[fake.latencies]\n{lines}\n'
    (tmp_path / "device_configs" / "board.toml").write_text(script)
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        return CliRunner().invoke(cli, ["--workspace", "w", *arguments])

    return call


def answer(result):
    assert result.exception is None, (result.output, result.exception)
    return json.loads(result.stdout)


def test_from_the_file_to_the_search(hilnas):
    """Profile, fit, predict, compare, search: as with the spaces that are built in."""
    family = ("--space", PLAIN)
    done = answer(hilnas("profile", "board", *family, "--samples", "12", "--json"))
    assert (done["ok"], done["failed"]) == (12, 0)
    for predictor in ("macs_baseline", "gradient_boosting"):
        fitted = answer(hilnas("fit", "board", *family, "--predictor", predictor, "--budget", "14", "--json"))
        assert fitted["n_fitted"] == 14 and fitted["n_measured"] in (0, 2)
        assert fitted["scores"]["mape"] < 0.1
    (guess,) = answer(hilnas("predict", "board", *family, "width=8, depth=2, resolution=16", "--json"))["predictions"]
    assert guess["architecture"] == "parametric:width=8,depth=2,resolution=16"
    compared = answer(hilnas("compare", "board", *family, "--n", "4", "--json"))
    assert compared["n"] == 4 and compared["scores"]["mape"] < 0.1
    limits = ("--device", "board", "--max", "latency=0.4ms", "--evaluations", "60")
    found = answer(hilnas("search", "latency_reward_rl", *family, *limits, "--score", "macs", "--json"))
    assert found["winner"]["verdict"] == "keeps" and found["winner"]["latency_s"] <= 4e-4
    assert found["failed"]["mean"] > 0, "the controller has proposed what lies outside"
    again = answer(hilnas("search", "--resume", found["study_id"], "--json"))
    assert again["winner"] == found["winner"]


def test_a_search_by_an_indicator(hilnas):
    found = answer(
        hilnas("search", "random_search", "--space", PLAIN, "--max", "macs=100k", "--score", "nwot",
               "--score-option", "batch=8", "--evaluations", "8", "--json")
    )  # fmt: skip
    assert found["winner"]["macs"] <= 1e5


def test_a_table_of_blocks_is_refused(hilnas):
    for arguments in (
        ("profile", "board", "--space", PLAIN, "--blocks"),
        ("fit", "board", "--space", PLAIN, "--predictor", "lookup_table"),
    ):
        result = hilnas(*arguments)
        assert isinstance(result.exception, NoBlocks), result.output
        assert result.exception.exit_code == 2


def test_a_file_that_makes_no_sense_stops_a_command(hilnas, tmp_path):
    assert isinstance(hilnas("profile", "board", "--space", "missing.toml", "--samples", "2").exception, BadFile)
    (tmp_path / "bad.toml").write_text('build = "no_such_nets:build"\n[axes]\nwidth = [1]\n')
    for command in (("profile", "--samples", "2"), ("fit", "--predictor", "macs_baseline"), ("predict", "width=1")):
        result = hilnas(command[0], "board", *command[1:], "--space", "bad.toml")
        assert isinstance(result.exception, UsageError) and "no_such_nets" in str(result.exception)
    result = hilnas("search", "random_search", "--space", "bad.toml", "--score", "macs")
    assert isinstance(result.exception, UsageError) and "no_such_nets" in str(result.exception)


def test_decisions_know_their_space(plain):
    assert plain.architecture((0, 1, 2)) == Architecture("parametric", (0, 1, 2), "")
