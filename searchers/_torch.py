"""What searchers and indicators that use torch share: one thread, devices, policies, and tensors as JSON."""

from __future__ import annotations

import base64
import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hilnas.errors import UsageError


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread inside the block and as many as before after it.

    The operators here are small: on a machine that others use as well, waiting for a second thread costs far more than
    it gives, and sums in one thread come out the same on every machine.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def checked_device(text: str) -> str:
    """Return the name of a device that torch has; raise UsageError for another."""
    try:
        device = torch.device(text)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise UsageError(f"{text!r} is no device to train on", "", "Write device=cpu, device=cuda or device=cuda:1")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"torch sees no {text}",
            f"It sees {torch.cuda.device_count()} CUDA devices; a build of torch for CPUs sees none.",
            "Write device=cpu, or install a build of torch for your GPU.",
        )
    return text


class Policy(nn.Module, ABC):
    """A distribution over lists of decisions; decision t has `cardinalities[t]` choices.

    The logits of all decisions lie in one row, of which each decision uses its own slice.
    """

    def __init__(self, cardinalities: Sequence[int]) -> None:
        super().__init__()
        self._offsets = [int(offset) for offset in np.cumsum([0, *cardinalities])]
        # Additive mask (steps, 1, total): 0 on the step's own choices, -inf elsewhere.
        mask = torch.full((len(cardinalities), 1, self._offsets[-1]), -torch.inf)
        for step, own in enumerate(self._slices()):
            mask[step, 0, own] = 0.0
        self.register_buffer("_mask", mask, persistent=False)
        self._mask: Tensor

    @abstractmethod
    def sample(self, n: int, rng: np.random.Generator) -> list[tuple[int, ...]]:
        """Return n lists of decisions drawn from the policy."""

    @abstractmethod
    def forward(self, decisions: Tensor) -> tuple[Tensor, Tensor]:
        """Return log-probability and entropy (nats) of each list of decisions, both of shape (batch,).

        `decisions` has the shape (batch, steps).
        """

    def _slices(self) -> list[slice]:
        return [slice(start, end) for start, end in itertools.pairwise(self._offsets)]

    def _tokens(self, decisions: Tensor) -> Tensor:
        """Return the places of choices in the row of logits, shape (steps, batch)."""
        return decisions.T + torch.tensor(self._offsets[:-1])[:, None]

    def _judged(self, logits: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return what `forward` returns, of logits of the shape (steps, batch or 1, total)."""
        log_probs = torch.log_softmax(logits + self._mask, dim=-1).expand(-1, tokens.shape[1], -1)
        chosen = log_probs.gather(-1, tokens[..., None]).squeeze(-1).sum(0)
        entropy = -(log_probs.exp() * log_probs.masked_fill(self._mask.isinf(), 0.0)).sum((0, 2))
        return chosen, entropy


class Categoricals(Policy):
    """One distribution a decision, independent of the others."""

    def __init__(self, cardinalities: Sequence[int], seed: int) -> None:
        super().__init__(cardinalities)
        logits = torch.randn(self._offsets[-1], generator=torch.Generator().manual_seed(seed))
        self.logits = nn.Parameter(1e-3 * logits)

    def sample(self, n: int, rng: np.random.Generator) -> list[tuple[int, ...]]:
        """Return n lists of decisions drawn from the policy."""
        logits = self.logits.detach().numpy()
        columns = [_draw(np.tile(logits[own], (n, 1)), rng) for own in self._slices()]
        return [tuple(map(int, row)) for row in zip(*columns, strict=True)]

    def forward(self, decisions: Tensor) -> tuple[Tensor, Tensor]:
        """Return log-probability and entropy (nats) of each list of decisions, both of shape (batch,)."""
        return self._judged(self.logits.expand(1, 1, -1), self._tokens(decisions))


class Controller(Policy):
    """A one-layer tanh RNN that takes one decision after the other.

    Step t sees the choice of step t - 1 (a learned start token at first) and gives logits over the choices of
    decision t. Choices of all decisions share one embedding and one linear head, of which each step uses its own
    slice, so decisions may have any number of choices.
    """

    def __init__(self, cardinalities: Sequence[int], hidden: int, seed: int) -> None:
        super().__init__(cardinalities)
        total = self._offsets[-1]
        self.embedding = nn.Embedding(total + 1, hidden)
        self.rnn = nn.RNN(hidden, hidden)
        self.head = nn.Linear(hidden, total)
        self._initialise(hidden, torch.Generator().manual_seed(seed))

    def _initialise(self, hidden: int, generator: torch.Generator) -> None:
        """Draw torch's own defaults from the generator: N(0, 1) the embedding, U(-1, 1) / sqrt(hidden) the rest."""
        bound = hidden**-0.5
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.uniform_(-bound, bound, generator=generator)
            self.embedding.weight.normal_(generator=generator)

    def sample(self, n: int, rng: np.random.Generator) -> list[tuple[int, ...]]:
        """Return n lists of decisions drawn from the policy."""
        weights = {name: parameter.detach().numpy() for name, parameter in self.named_parameters()}
        into = weights["rnn.weight_ih_l0"] @ weights["embedding.weight"].T
        into += (weights["rnn.bias_ih_l0"] + weights["rnn.bias_hh_l0"])[:, None]
        recurrent, head, bias = weights["rnn.weight_hh_l0"].T, weights["head.weight"].T, weights["head.bias"]
        # One small matrix at a time: numpy takes a tenth of the time torch spends on dispatching.
        tokens = np.full(n, self._offsets[-1])
        hidden = np.zeros((n, recurrent.shape[0]), dtype=np.float32)
        choices = []
        for own in self._slices():
            hidden = np.tanh(into[:, tokens].T + hidden @ recurrent)
            choices.append(_draw(hidden @ head[:, own] + bias[own], rng))
            tokens = own.start + choices[-1]
        return [tuple(map(int, row)) for row in zip(*choices, strict=True)]

    def forward(self, decisions: Tensor) -> tuple[Tensor, Tensor]:
        """Return log-probability and entropy (nats) of each list of decisions, both of shape (batch,)."""
        tokens = self._tokens(decisions)
        start = torch.full_like(tokens[:1], self._offsets[-1])
        hidden, _ = self.rnn(self.embedding(torch.cat([start, tokens[:-1]])))
        return self._judged(self.head(hidden), tokens)


def _draw(logits: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.int64]:
    """Return one choice per row of logits, drawn by the inverse of the cumulative distribution."""
    weights = np.exp(logits - logits.max(axis=1, keepdims=True), dtype=np.float64)
    cumulative = weights.cumsum(axis=1)
    threshold = rng.random((len(logits), 1)) * cumulative[:, -1:]
    choices: NDArray[np.int64] = np.minimum((cumulative <= threshold).sum(axis=1), logits.shape[1] - 1)
    return choices


def pack(tensors: dict[str, Tensor]) -> dict[str, Any]:
    """Return float32 tensors as a JSON value: shape and base64 of the little-endian bytes."""
    return {
        name: {
            "shape": list(tensor.shape),
            "float32": base64.b64encode(tensor.detach().numpy().astype("<f4").tobytes()).decode(),
        }
        for name, tensor in tensors.items()
    }


def unpack(value: dict[str, Any]) -> dict[str, Tensor]:
    """Return the tensors of a value that `pack` returned."""
    return {
        name: torch.from_numpy(
            np.frombuffer(base64.b64decode(item["float32"]), dtype="<f4").reshape(item["shape"]).copy()
        )
        for name, item in value.items()
    }
