"""Partial training learns, repeats itself bit for bit, and says what it cannot do; augmentations."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from hilnas.errors import UnknownName, UsageError
from searchers._augmentation import AUGMENTATIONS, augmentations, crop, cutout, flip
from searchers._training import Diverged, Recipe, Unsuitable, train
from searchers.image_data import load_dataset

RECIPE = Recipe(horizon=3, batch=32, learning_rate=0.1, augment="none", seed=0, device="cpu")


@pytest.fixture(scope="module")
def digits():
    return load_dataset(None, seed=0, images=800)


def network(channels=3, classes=10, dropout=0.0):
    """Return a small convolutional network whose weights come from a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(channels, 12, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(12),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Flatten(),
            nn.Linear(12 * 16, classes),
        )


def curve(data, recipe=RECIPE, **options):
    epochs = train(network(**options), data, recipe, options.get("channels", 3))
    return [(epoch.accuracy, epoch.loss) for epoch in epochs]


def test_a_tiny_network_learns_digits(digits):
    epochs = list(train(network(), digits, RECIPE))
    assert len(epochs) == 3
    assert epochs[-1].accuracy > 0.8  # chance is 0.1
    assert epochs[-1].loss < epochs[0].loss
    assert 0 < epochs[0].elapsed_s < epochs[-1].elapsed_s


@pytest.mark.parametrize("augment", ["none", "crop,flip,cutout"])
def test_the_same_seed_gives_the_same_bits(digits, augment):
    recipe = replace(RECIPE, augment=augment, horizon=2)
    assert curve(digits, recipe, dropout=0.2) == curve(digits, recipe, dropout=0.2)
    assert curve(digits, recipe) != curve(digits, replace(recipe, seed=1))


def test_what_the_caller_does_between_epochs_changes_nothing(digits):
    expected = curve(digits, dropout=0.2)
    found = []
    before = torch.get_rng_state()
    for epoch in train(network(dropout=0.2), digits, RECIPE):
        found.append((epoch.accuracy, epoch.loss))
        assert torch.equal(before, torch.get_rng_state())
        torch.rand(7)
        before = torch.get_rng_state()
    assert found == expected


def test_a_caller_who_stops_asking_stops_the_training(digits):
    assert next(iter(train(network(), digits, RECIPE))).accuracy == curve(digits)[0][0]


def test_images_become_grey_for_a_network_of_another_number_of_channels(digits):
    for channels in (1, 2):
        assert curve(digits, channels=channels)[-1][0] > 0.7


def test_outputs_beyond_the_classes_are_not_asked(digits):
    assert curve(digits, classes=15)[-1][0] > 0.8


def test_a_network_with_too_few_outputs_cannot_be_trained(digits):
    with pytest.raises(Unsuitable, match="is 7, and the data have 10 classes"):
        curve(digits, classes=7)
    with pytest.raises(Unsuitable, match="12x4x4"):
        next(train(network()[:3], digits, RECIPE))


def test_a_loss_that_is_no_number_is_an_error(digits):
    with pytest.raises(Diverged, match="the loss of epoch 1"):
        curve(digits, replace(RECIPE, learning_rate=1e30))


def test_a_batch_larger_than_the_set_is_refused(digits):
    with pytest.raises(UsageError, match="601 is larger than the 600 images"):
        curve(digits, replace(RECIPE, batch=601))


@pytest.mark.parametrize(
    ("change", "error"),
    [({"batch": 1}, UsageError), ({"learning_rate": 0.0}, UsageError), ({"learning_rate": float("nan")}, UsageError),
     ({"augment": "mixup"}, UnknownName), ({"augment": ""}, UnknownName)],
)  # fmt: skip
def test_recipes_that_make_no_sense_are_refused(change, error):
    with pytest.raises(error):
        replace(RECIPE, **change)


def seeded():
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_an_augmentation_is_seeded_and_leaves_its_argument_alone(name):
    images = torch.rand(6, 3, 8, 10, generator=seeded())
    kept = images.clone()
    (change,) = augmentations(name)
    first = change(images, seeded())
    assert first.shape == images.shape
    assert torch.equal(first, change(images, seeded()))
    assert torch.equal(images, kept)
    assert not torch.equal(first, images)


def test_a_crop_is_a_window_of_the_bordered_image():
    images = torch.rand(40, 2, 16, 8, generator=seeded()) + 1
    padded = nn.functional.pad(images, (1, 1, 2, 2))
    places = set()
    for image, found in zip(padded, crop(images, seeded()), strict=True):
        at = [(y, x) for y in range(5) for x in range(3) if torch.equal(image[:, y : y + 16, x : x + 8], found)]
        assert len(at) == 1
        places.update(at)
    assert {y for y, _ in places} == set(range(5)) and {x for _, x in places} == set(range(3))


def test_a_flip_mirrors_about_half_of_the_images():
    images = torch.rand(200, 1, 4, 4, generator=seeded())
    found = flip(images, seeded())
    mirrored = [torch.equal(new, old.flip(-1)) for old, new in zip(images, found, strict=True)]
    kept = [torch.equal(new, old) for old, new in zip(images, found, strict=True)]
    assert all(a != b for a, b in zip(mirrored, kept, strict=True))
    assert 70 < sum(mirrored) < 130


def test_a_cutout_is_one_rectangle_of_zeros():
    found = cutout(torch.ones(100, 2, 12, 8), seeded())
    assert torch.equal(found[:, 0], found[:, 1])
    for image in found[:, 0] == 0:
        rows, columns = image.any(1), image.any(0)
        assert torch.equal(image, rows[:, None] & columns)
        assert 3 <= int(rows.sum()) <= 6 and 2 <= int(columns.sum()) <= 4
        assert (np.diff(np.flatnonzero(rows)) == 1).all()
