"""Partial training of one network on labelled images: epoch after epoch, as long as somebody asks for the next."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from hilnas.errors import UsageError
from search_spaces._quantiser_torch import set_quantised
from searchers._augmentation import augmentations
from searchers._optimisers import Sgd
from searchers._torch import one_thread
from searchers.image_data import Dataset, Images

_MOMENTUM = 0.9
_WEIGHT_DECAY = 5e-4
_JUDGED_AT_ONCE = 256
#: Batches that statistics of batch normalisation are taken of.
_SETTLING = 8


#: always: the network learns with rounded numbers. judged: it learns in floating point, and is judged rounded.
Rounded = Literal["always", "judged"]


class Unsuitable(Exception):
    """A network does not give one number a class for an image."""


class Diverged(Exception):
    """The loss is no finite number any more."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a network is trained: SGD with Nesterov momentum 0.9, weight decay 5e-4, and a rate that falls as a cosine.

    The rate begins at `learning_rate` and would reach zero after `horizon` epochs, whether or not all are trained.
    """

    horizon: int
    batch: int
    learning_rate: float
    augment: str
    seed: int
    device: str

    def __post_init__(self) -> None:
        """Raise UsageError or UnknownName for what makes no sense."""
        augmentations(self.augment)
        if self.batch < 2:
            raise UsageError("the option batch must be 2 or more", "Batch normalisation compares images.")
        if not 0 < self.learning_rate < math.inf:
            raise UsageError(f"the option learning_rate must be above 0, not {self.learning_rate}")

    def steps(self, images: int) -> int:
        """Return how many full batches so many images make; raise UsageError where they do not fill one."""
        if images < self.batch:
            raise UsageError(
                f"a batch of {self.batch} is larger than the {images} images to train on",
                "A quarter of the images is held out.",
                "Lower the option batch, or raise images.",
            )
        return images // self.batch


@dataclass(frozen=True, slots=True)
class Epoch:
    """One epoch: mean loss of its batches (nats), share of held-out images recognised after it, seconds so far."""

    loss: float
    accuracy: float
    elapsed_s: float


def train(
    module: nn.Module, data: Dataset, recipe: Recipe, channels: int = 3, rounded: Rounded = "always"
) -> Iterator[Epoch]:
    """Train a module for up to `recipe.horizon` epochs and yield each; images are grey where it has not three channels.

    `rounded` says when a quantised network computes with rounded numbers; others do not know the difference.

    On a CPU the same module, data and recipe give the same numbers bit for bit: everything is computed in one thread,
    and everything random comes from the recipe's seed. torch's own generator is left as it was.
    Raises UsageError for a batch larger than the set, Unsuitable, and Diverged.
    """
    training = _Training(module, data, recipe, channels, rounded)
    started = time.monotonic()
    for number in range(recipe.horizon):
        # Only inside: what the caller computes between two epochs is none of our business.
        with _reproducible(recipe.seed + number, training.device):
            loss = training.epoch(number)
            if not math.isfinite(loss):
                raise Diverged(f"training diverged: the loss of epoch {number + 1} is {loss}")
            accuracy = training.accuracy()
        yield Epoch(loss, accuracy, time.monotonic() - started)


class _Training:
    """A module on its device, with its images and its optimiser."""

    def __init__(self, module: nn.Module, data: Dataset, recipe: Recipe, channels: int, rounded: Rounded) -> None:
        self._only_judged = rounded == "judged"
        self._steps = recipe.steps(len(data.train.labels))
        self._recipe = recipe
        self._classes = data.classes
        self._augment = augmentations(recipe.augment)
        self._generator = torch.Generator().manual_seed(recipe.seed)
        self.device = torch.device(recipe.device)
        self._module = module.to(self.device)
        self._parameters = [item for item in module.parameters() if item.requires_grad]
        self._optimiser = Sgd(self._parameters, _MOMENTUM, _WEIGHT_DECAY, nesterov=True)
        self._normalisations = [item for item in module.modules() if isinstance(item, nn.modules.batchnorm._BatchNorm)]
        for layer in self._normalisations:
            layer.momentum = None  # the mean over all batches since the last reset
        self._train = tensors(data.train, data, channels, self.device)
        self._validation = tensors(data.validation, data, channels, self.device)

    def epoch(self, number: int) -> float:
        """Train on all images once, a last batch that is not full left out; return the mean loss."""
        self._module.train()
        if self._only_judged:
            set_quantised(self._module, on=False)
        images, labels = self._train
        order = torch.randperm(len(labels), generator=self._generator).to(self.device)
        losses = []
        for step in range(self._steps):
            share = (number + step / self._steps) / self._recipe.horizon
            rate = self._recipe.learning_rate * (1 + math.cos(math.pi * share)) / 2
            chosen = order[step * self._recipe.batch : (step + 1) * self._recipe.batch]
            batch = images[chosen]
            for change in self._augment:
                batch = change(batch, self._generator)
            losses.append(self._step(batch, labels[chosen], rate))
        return float(torch.stack(losses).mean())

    def accuracy(self) -> float:
        """Return the share of the held-out images whose class gets the largest output."""
        self._module.eval()
        if self._only_judged:
            set_quantised(self._module, on=True)
        right = 0
        images, labels = self._validation
        with torch.no_grad():
            self._settle()
            for start in range(0, len(labels), _JUDGED_AT_ONCE):
                own = slice(start, start + _JUDGED_AT_ONCE)
                right += int((self._module(images[own])[:, : self._classes].argmax(1) == labels[own]).sum())
        return right / len(labels)

    def _settle(self) -> None:
        """Take the statistics of batch normalisation of the weights as they are.

        Running ones lag behind: after the few steps of a first epoch they still hold much of what they began with, and
        a network that has learned is judged as if it had not.
        """
        for layer in self._normalisations:
            layer.reset_running_stats()
            layer.train()
        for step in range(min(self._steps, _SETTLING)):
            self._module(self._train[0][step * self._recipe.batch : (step + 1) * self._recipe.batch])
        for layer in self._normalisations:
            layer.eval()

    def _step(self, images: Tensor, labels: Tensor, rate: float) -> Tensor:
        outputs = self._module(images)
        if outputs.ndim != 2 or outputs.shape[1] < self._classes:
            shape = "x".join(map(str, outputs.shape[1:]))
            raise Unsuitable(f"its output for an image is {shape}, and the data have {self._classes} classes")
        # Outputs beyond the classes there are would only be pushed down.
        loss = functional.cross_entropy(outputs[:, : self._classes], labels)
        self._optimiser.step(torch.autograd.grad(loss, self._parameters, allow_unused=True), rate)
        return loss.detach()


def tensors(part: Images, data: Dataset, channels: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return normalised images, shape (n, channels, height, width), and labels."""
    mean, std = (torch.from_numpy(np.asarray(item))[:, None, None] for item in (data.mean, data.std))
    images = (torch.from_numpy(part.images) - mean) / std
    if channels != 3:
        images = images.mean(1, keepdim=True).expand(-1, channels, -1, -1)
    return images.contiguous().to(device), torch.from_numpy(part.labels).to(device)


@contextmanager
def _reproducible(seed: int, device: torch.device) -> Iterator[None]:
    """Compute in one thread with the random numbers of a seed (dropout), on a GPU with deterministic convolutions."""
    with ExitStack() as stack:
        stack.enter_context(one_thread())
        if device.type == "cuda":
            stack.enter_context(torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True))
        stack.enter_context(torch.random.fork_rng(devices=[device] if device.type == "cuda" else []))
        torch.manual_seed(seed)
        yield
