"""The evaluator `trained`: scores that depend on architecture and options alone, curves that are kept, early ends."""

import json
import logging

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from hilnas.cli import cli
from hilnas.errors import BadFile, UnknownName, UsageError
from search_spaces.nasbench201 import NasBench201
from searchers._learning_curves import power_law
from searchers.evaluators._trainings import Training, TrainingCache
from searchers.evaluators.trained import Trained, _chance

CELL = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|skip_connect~0|avg_pool_3x3~1|nor_conv_1x1~2|"
FAST = {"images": 200, "epochs": 2, "batch": 25}


@pytest.fixture(scope="module")
def space():
    return NasBench201(width=4, depth=1, resolution=8)


def evaluator(space, **options):
    return Trained(space, **{**FAST, "proxy": {"resolution": 8}, **options})


@pytest.fixture
def no_training(monkeypatch):
    monkeypatch.setattr("searchers.evaluators.trained.train", lambda *_: pytest.fail("it was trained before"))


def test_a_score_is_the_validation_accuracy_in_percent(space):
    trained = evaluator(space, epochs=5, images=600)
    (score,) = trained.evaluate([space.parse(CELL)])
    curve = trained.training(space.parse(CELL))
    assert score.value == 100 * curve.accuracies[-1] > 40  # chance is 10 %
    assert len(curve.accuracies) == len(curve.losses) == 5
    assert curve.elapsed_s > 0 and curve.stopped is None
    assert trained.unit == "percent"


def test_scores_depend_on_neither_order_nor_company(space):
    architectures = space.sample_distinct(3, seed=2)
    first = evaluator(space).evaluate(architectures)
    assert evaluator(space).evaluate(architectures[::-1]) == first[::-1]
    assert len({score.value for score in first}) > 1
    assert evaluator(space, seed=1).evaluate(architectures) != first


def test_cells_of_one_form_share_a_training_whatever_is_asked_first(space):
    twins = {}
    for item in space.enumerate():
        if space.graph(item).connected and 3 in item.decisions:
            twins.setdefault(space.canonical(item), []).append(item)
    one, other = next(items for items in twins.values() if len(items) > 1)[:2]
    first, second = evaluator(space), evaluator(space)
    assert first.evaluate([one, other]) == second.evaluate([other, one])[::-1]
    assert first.evaluate([one]) == first.evaluate([other])


def test_trainings_are_found_again_on_disk_with_their_curves(space, tmp_path, request):
    architectures = space.sample_distinct(2, seed=0)
    first = evaluator(space, stop=False, cache=tmp_path)
    scores = first.evaluate(architectures)
    request.getfixturevalue("no_training")
    again = evaluator(space, stop=False, cache=tmp_path)
    assert again.evaluate(architectures) == scores
    assert again.training(architectures[0]) == first.training(architectures[0])
    (path,) = tmp_path.glob("trained-*.jsonl")
    form, record = json.loads(path.read_text().splitlines()[0])
    assert form == space.canonical(architectures[0])
    assert len(record["accuracies"]) == 2


def test_other_options_and_other_data_have_another_file(space, tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "set.npz", x=rng.integers(0, 256, (400, 8, 8), np.uint8), y=np.arange(400) % 10)
    for options in ({}, {"seed": 1}, {"batch": 40}, {"data": str(tmp_path)}, {"proxy": {"width": 5, "resolution": 8}}):
        evaluator(space, epochs=1, cache=tmp_path, **options).evaluate([space.parse(CELL)])
    assert len(list(tmp_path.glob("trained-*.jsonl"))) == 5


def test_a_killed_writer_leaves_a_file_that_works(tmp_path):
    training = Training("a", (0.5, 0.75), (1.0, 0.5), 3.0, "stopped: enough")
    failed = Training("b", (), (), 0.0, None, "it diverged")
    cache = TrainingCache(tmp_path, {})
    cache.put("f", training)
    cache.put("g", failed)
    assert cache.get("g") == failed
    (path,) = tmp_path.glob("trained-*.jsonl")
    nan = b'["h", {"accuracies": [NaN], "losses": [1], "elapsed_s": 1, "architecture": "x"}]\n'
    strange = b'[1]\n["h", {}]\n' + nan + b'["h", [0'
    path.write_bytes(path.read_bytes() + strange)
    torn = TrainingCache(tmp_path, {})
    assert (torn.get("f"), torn.get("g"), torn.get("h")) == (training, None, None)
    torn.put("h", training)
    assert TrainingCache(tmp_path, {}).get("h") == training


def noise(folder, n=400):
    """Write images that say nothing about their labels; return the folder."""
    rng = np.random.default_rng(0)
    np.savez(folder / "noise.npz", x=rng.integers(0, 256, (n, 8, 8), np.uint8), y=rng.integers(0, 2, n))
    return str(folder)


def test_a_candidate_at_chance_is_stopped_after_half_its_epochs(space, tmp_path):
    architecture = space.parse(CELL)
    trained = evaluator(space, data=noise(tmp_path), epochs=4)
    training = trained.training(architecture)
    assert len(training.accuracies) == 2 and "is not above" in training.stopped
    assert trained.evaluate([architecture])[0].value == 100 * training.accuracies[-1]
    assert len(evaluator(space, data=str(tmp_path), epochs=4, stop=False).training(architecture).accuracies) == 4


def test_the_bound_of_chance_is_exceeded_by_one_guesser_in_twenty():
    """Naming one class of two for 200 images: simulated, not derived."""
    labels = np.repeat([0, 1], 100)
    right = np.random.default_rng(0).binomial(200, 0.5, 20_000) / 200
    assert 0.03 < (right > _chance(labels)).mean() < 0.06
    assert _chance(np.repeat([0, 1], [150, 50])) > 0.75


def test_the_median_of_a_reference_stops_the_lower_half_in_any_order(space):
    architectures = space.sample_distinct(5, seed=9)
    options = {"reference": 3}
    first, second = evaluator(space, **options), evaluator(space, **options)
    assert first.evaluate(architectures) == second.evaluate(architectures[::-1])[::-1]
    stopped = [first.training(item).stopped is not None for item in architectures]
    assert any(stopped) and not all(stopped)
    early = [first.training(item).accuracies[0] for item in architectures]
    went_on = [accuracy for accuracy, item in zip(early, stopped, strict=True) if not item]
    ended = [accuracy for accuracy, item in zip(early, stopped, strict=True) if item]
    assert max(ended) <= min(went_on)


def test_a_network_that_diverges_has_no_score_but_a_cause(space):
    trained = evaluator(space, learning_rate=1e30)
    (score,) = trained.evaluate([space.parse(CELL)])
    assert "training diverged" in score.cause
    assert trained.training(space.parse(CELL)).elapsed_s > 0, "it took its time"
    assert evaluator(space, learning_rate=1e30).evaluate([space.parse(CELL)]) == [score]


def test_the_classes_of_the_network_are_those_of_the_data(space, tmp_path):
    trained = evaluator(space, data=noise(tmp_path))
    assert trained.describe()["space_options"]["classes"] == 2
    assert evaluator(space).describe()["space_options"]["classes"] == 10
    few = evaluator(space, proxy={"classes": 3, "resolution": 8})
    assert "10 classes" in few.evaluate([space.parse(CELL)])[0].cause


def test_the_trained_network_is_small_unless_asked_otherwise():
    deep = NasBench201(width=4, depth=3, resolution=32)
    assert Trained(deep, images=100).describe()["space_options"] == {**deep.options, "depth": 1, "resolution": 16}
    asked = Trained.asked(deep, ["depth=2", "images=100", "augment=crop,flip"], None).describe()
    assert (asked["space_options"]["depth"], asked["augment"]) == (2, "crop,flip")


def test_a_longer_horizon_is_extrapolated(space):
    architecture = space.parse(CELL)
    trained = evaluator(space, epochs=4, horizon=12, images=800)
    curve = trained.training(architecture).accuracies
    assert len(curve) == 4
    assert trained.evaluate([architecture])[0].value == 100 * power_law(curve, 12)


@pytest.mark.parametrize(
    ("pairs", "error"),
    [
        (["epochs=0"], UsageError),
        (["epochs=5", "horizon=4"], UsageError),
        (["images=3"], UsageError),
        (["batch=1"], UsageError),
        (["device=abacus"], UsageError),
        (["device=meta"], UsageError),
        (["device=cuda:99"], UsageError),
        (["augment=mixup"], UnknownName),
        (["epoch=3"], UnknownName),
        (["cache=/tmp"], UnknownName),
        (["data=/nonexistent"], BadFile),
    ],
)
def test_options_that_make_no_sense_are_refused_before_anything_is_trained(space, pairs, error, no_training):
    with pytest.raises(error):
        Trained.asked(space, pairs, None)


def test_a_batch_larger_than_the_set_is_refused(space):
    with pytest.raises(UsageError, match="larger than the 150 images"):
        evaluator(space, batch=151)


def test_progress_is_told(space, caplog):
    with caplog.at_level(logging.DEBUG, logger="hilnas.training"):
        evaluator(space, stop=False).evaluate([space.parse(CELL)])
    assert "epoch 1," in caplog.text and "after 2 epochs" in caplog.text


def test_a_space_of_other_tensors_has_no_scores_but_a_cause(toy):
    (score,) = Trained(toy, **FAST).evaluate([toy.parse("111")])
    assert "2x4x4" in score.cause


def test_a_search_scores_by_training_and_keeps_it(tmp_path):
    arguments = ["search", "random_search", "--space", "nasbench201", "--space-option", "width=4", "--score", "trained"]
    options = ("images=100", "epochs=1", "batch=25", "resolution=8")
    arguments += [part for option in options for part in ("--score-option", option)] + ["--evaluations", "2", "--json"]
    result = CliRunner().invoke(cli, ["--workspace", str(tmp_path), *arguments])
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert answer["score_source"]["data"] == "digits"
    assert answer["score_source"]["space_options"]["resolution"] == 8
    (path,) = (tmp_path / "scores").glob("trained-*.jsonl")
    kept = [100 * json.loads(line)[1]["accuracies"][-1] for line in path.read_text().splitlines()]
    assert answer["winner"]["score"] == max(kept)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_learns_as_well(space):
    assert evaluator(space, device="cuda", epochs=6, images=800).evaluate([space.parse(CELL)])[0].value > 40
