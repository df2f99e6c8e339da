"""Networks trained while searching: rounded or not, once each, and failures that are values."""

import logging

import numpy as np
import pytest
import torch

from search_spaces._quantiser_torch import FixedPointConv2d, Quantiser
from search_spaces.quantised_cnn import QuantisedCnn
from searchers import _children
from searchers._children import Candidate, Children, Memo, best_first, of_classes
from searchers._training import Diverged, Epoch
from searchers.image_data import load_dataset

pytestmark = pytest.mark.usefixtures("one_thread")

SPACE = QuantisedCnn(width=4, resolution=8)
NETWORK = SPACE.parse("+".join(["k3a3.6w1.3"] * 6))


@pytest.fixture(scope="module")
def digits():
    return load_dataset(None, 0, 120, (8, 8))


@pytest.fixture
def children(digits, tmp_path):
    return Children(SPACE, digits, Memo(tmp_path / "memo.jsonl"), batch=16, rate=0.05, augment="none", seed=0)


@pytest.mark.parametrize(("way", "learned", "judged"), [("shortly", False, True), ("fully", True, True)])
def test_short_trainings_learn_in_floating_point_and_all_are_judged_rounded(
    children, monkeypatch, way, learned, judged
):
    seen = {(kind, learning): set() for kind in (FixedPointConv2d, Quantiser) for learning in (True, False)}

    def watch(kind):
        forward = kind.forward

        def watched(self, x):
            # Statistics of normalisation are settled and accuracies counted without gradients.
            seen[kind, torch.is_grad_enabled()].add(self.active)
            return forward(self, x)

        monkeypatch.setattr(kind, "forward", watched)

    watch(FixedPointConv2d)
    watch(Quantiser)
    getattr(children, way)(NETWORK, 1)
    for kind in (FixedPointConv2d, Quantiser):
        assert (seen[kind, True], seen[kind, False]) == ({learned}, {judged})


def test_a_short_training_is_worth_the_mean_of_its_last_five_epochs_and_a_full_one_its_last(children, monkeypatch):
    curve = [Epoch(1.0, accuracy, 0.0) for accuracy in (0.1, 0.2, 0.4, 0.5, 0.5, 0.3, 0.8)]
    monkeypatch.setattr(_children, "train", lambda *arguments, **options: iter(curve))
    assert children.shortly(NETWORK, 7).accuracy == pytest.approx(0.5)
    assert children.fully(NETWORK, 7).accuracy == 0.8


def test_nothing_is_trained_twice_even_after_a_stop(children, digits, tmp_path, monkeypatch):
    first = {epochs: children.shortly(NETWORK, epochs) for epochs in (1, 2)}
    full = children.fully(NETWORK, 1)
    assert first[1] != first[2] and all(item.cause is None and item.elapsed_s > 0 for item in first.values())
    monkeypatch.setattr(_children, "train", lambda *arguments, **options: pytest.fail("it was trained again"))
    memo = Memo(tmp_path / "memo.jsonl")
    for again in (children, Children(SPACE, digits, memo, batch=16, rate=0.05, augment="none", seed=0)):
        assert {epochs: again.shortly(NETWORK, epochs) for epochs in (1, 2)} == first
        assert again.fully(NETWORK, 1) == full


@pytest.mark.parametrize("error", [Diverged("the loss is nan"), MemoryError(), RuntimeError("no")])
def test_a_failure_is_a_value_that_is_kept(children, monkeypatch, error):
    def broken(*arguments, **options):
        yield Epoch(1.0, 0.9, 0.0)
        raise error

    monkeypatch.setattr(_children, "train", broken)
    found = children.fully(NETWORK, 3)
    assert found.accuracy == 0.0 and type(error).__name__ in found.cause
    assert children.fully(NETWORK, 3) == found


def test_a_torn_line_is_left_out_and_what_follows_it_is_kept(tmp_path, caplog):
    path = tmp_path / "memo.jsonl"
    memo = Memo(path)
    memo.put("a", {"x": 1})
    memo.put("b", {"x": 2})
    path.write_text(path.read_text()[:-4])
    with caplog.at_level(logging.WARNING, "hilnas.training"):
        again = Memo(path)
    assert (again.get("a"), again.get("b")) == ({"x": 1}, None) and "torn" in caplog.text
    again.put("b", {"x": 3})
    assert Memo(path).get("b") == {"x": 3} and Memo(path).get("a") == {"x": 1}


def test_some_classes_alone(digits):
    few = of_classes(digits, 3)
    assert few.classes == 3
    for part, whole in ((few.train, digits.train), (few.validation, digits.validation)):
        assert set(part.labels) == {0, 1, 2} and len(part.images) == len(part.labels) == (whole.labels < 3).sum()
        assert np.array_equal(part.images, whole.images[whole.labels < 3])
    assert of_classes(digits, 0) is digits and of_classes(digits, 10) is digits


def test_the_best_come_first_and_what_failed_last():
    items = [Candidate(NETWORK, 0.5, 1.0, reward, cause) for reward, cause in
             ((-2.0, None), (0.0, "broken"), (0.5, None), (0.5, None))]  # fmt: skip
    assert [items.index(item) for item in best_first(items)] == [2, 2, 0, 1]
    assert best_first(items)[0] is items[2]
