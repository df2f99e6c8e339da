"""Functions of relaxed architectures: every decision is a distribution over its choices.

A relaxed architecture is a row of probabilities of shape (decisions, choices); decisions with fewer choices than others
are padded with zeros. What a function gives for it is the expectation over architectures drawn from it, decision by
decision: exact, and differentiable.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from torch import Tensor

from searchers._optimisers import Adam

Array = NDArray[np.float64]
_REAL = torch.float64
_JITTER = 1e-6
_LEAST_DEVIATION = 1e-9
_FIT_STEPS = 25
#: Bounds of the logits of what kernels share between choices, and of the logarithm of the noise.
_SHARED = (-4.0, 4.0)
_NOISE = (-7.0, 1.0)


class Relaxation(ABC):
    """A function of architectures, continued to relaxed ones by its expectation."""

    @abstractmethod
    def expected(self, probabilities: Tensor) -> Tensor:
        """Return the expectation for relaxed architectures (batch, decisions, choices), of shape (batch,)."""


class Table(Relaxation):
    """A value for every architecture: an array with one axis a decision, contracted with the probabilities."""

    def __init__(self, values: ArrayLike) -> None:
        table = np.asarray(values, np.float64)
        self.sizes = table.shape
        self._half = len(self.sizes) // 2
        self._values = torch.tensor(table.reshape(math.prod(self.sizes[: self._half]), -1))

    def expected(self, probabilities: Tensor) -> Tensor:
        """Return the contraction of the table with the probabilities of both halves of the decisions."""
        rows = [probabilities[:, decision, :choices] for decision, choices in enumerate(self.sizes)]
        first, second = _joint(rows[: self._half], probabilities), _joint(rows[self._half :], probabilities)
        return (first @ self._values * second).sum(-1)


def _joint(rows: Sequence[Tensor], like: Tensor) -> Tensor:
    """Return how likely each combination of choices is, (batch, combinations)."""
    found = like.new_ones(len(like), 1)
    for row in rows:
        found = (found[:, :, None] * row[:, None]).flatten(1)
    return found


class KernelModel(Relaxation):
    """A Gaussian process on decisions, learned from a few values.

    Its kernel is the product over decisions d of shared_d + (1 - shared_d) [same choice]. A product of functions of
    single decisions, its expectation under independent ones is the product of their expectations, and so the
    posterior mean of a relaxed architecture is exact: with shared_d near 1 the decision hardly matters. Values are
    standardised; `shared` and the noise maximise the marginal likelihood under a wide prior (Rasmussen and Williams,
    "Gaussian Processes for Machine Learning", 2006, sections 2.2 and 5.4.1), starting at `parameters`.
    """

    def __init__(
        self,
        decisions: NDArray[np.int64],
        values: ArrayLike,
        choices: int,
        parameters: Array | None = None,
        fit: bool = True,
    ) -> None:
        known = np.asarray(values, np.float64)
        self.mean, self.deviation = float(known.mean()), max(float(known.std()), _LEAST_DEVIATION)
        self._targets = torch.tensor((known - self.mean) / self.deviation)
        self._decisions = torch.tensor(decisions)
        self._one_hot = torch.nn.functional.one_hot(self._decisions, choices).to(_REAL).flatten(1)
        self._same = self._same_as(self._decisions)
        start = np.append(np.zeros(decisions.shape[1]), -3.0) if parameters is None else parameters
        self.parameters = self._fitted(start) if fit else start
        self._cholesky, self._shared = self._decomposed(torch.tensor(self.parameters))
        self._weights = torch.cholesky_solve(self._targets[:, None], self._cholesky)[:, 0]

    def expected(self, probabilities: Tensor) -> Tensor:
        """Return the posterior mean of the standardised value."""
        shared = self._shared[:, None]
        factors = torch.log(shared + (1 - shared) * probabilities).flatten(1)
        return torch.exp(factors @ self._one_hot.T) @ self._weights

    def predict(self, decisions: NDArray[np.int64]) -> tuple[Array, Array]:
        """Return posterior means and standard deviations of standardised values, both (n,), for decisions (n, d)."""
        kernel = self._kernel(self._same_as(torch.tensor(decisions)), self._shared)
        explained = torch.linalg.solve_triangular(self._cholesky, kernel.T, upper=False).square().sum(0)
        return np.asarray((kernel @ self._weights).numpy()), np.asarray(
            (1 - explained).clamp(min=_JITTER).sqrt().numpy()
        )

    def standardised(self, value: float) -> float:
        """Return a value in the units of `expected` and `predict`."""
        return (value - self.mean) / self.deviation

    def _same_as(self, decisions: Tensor) -> Tensor:
        return (decisions[:, None] == self._decisions[None]).to(_REAL)

    @staticmethod
    def _kernel(same: Tensor, shared: Tensor) -> Tensor:
        return (shared + (1 - shared) * same).prod(-1)

    def _decomposed(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Return the Cholesky factor of the noisy kernel matrix, and what choices share."""
        shared = torch.sigmoid(parameters[:-1])
        noise = torch.exp(parameters[-1]) + _JITTER
        matrix = self._kernel(self._same, shared) + noise * torch.eye(len(self._targets), dtype=_REAL)
        return torch.linalg.cholesky(matrix), shared

    def _fitted(self, start: Array) -> Array:
        bounds = [_SHARED] * (len(start) - 1) + [_NOISE]
        found = minimize(self._loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": _FIT_STEPS})
        return np.asarray(found.x, np.float64)

    def _loss(self, values: Array) -> tuple[float, Array]:
        """Return the negative logarithm of likelihood times prior, and its gradient."""
        parameters = torch.tensor(values, requires_grad=True)
        cholesky, _ = self._decomposed(parameters)
        weights = torch.cholesky_solve(self._targets[:, None], cholesky)[:, 0]
        prior = (parameters[:-1] / 3).square().sum() / 2 + ((parameters[-1] + 3) / 2).square() / 2
        loss = self._targets @ weights / 2 + cholesky.diagonal().log().sum() + prior
        (gradient,) = torch.autograd.grad(loss, parameters)
        return float(loss.detach()), np.asarray(gradient.numpy())


def constrained_ascent(
    objective: Relaxation,
    costs: Sequence[Relaxation],
    bounds: Tensor,
    logits: Tensor,
    *,
    steps: int,
    learning_rate: float,
    multiplier_rate: float,
) -> tuple[Array, Array]:
    """Return the probabilities (batch, decisions, choices) and multipliers (batch, costs) of a search for each row.

    Each row of `logits` (-inf: no such choice) is a search of its own for the highest expected objective with every
    expected cost at most its bound, `bounds` (batch, costs) > 0. Adam ascends objective - multiplier x (cost / bound -
    1) in the logits; the multipliers, 0 at first, ascend in cost / bound - 1 and never become negative (DCA-NAS,
    Lagrangian and Algorithm 1, with the constraint normalised by its bound).
    """
    free = torch.isfinite(logits)
    variables = logits.where(free, torch.zeros((), dtype=_REAL)).detach().clone().requires_grad_()
    multipliers = torch.zeros_like(bounds)
    optimiser = Adam([variables], learning_rate, beta_1=0.5)
    for _ in range(steps):
        probabilities = _distribution(variables, free)
        value = objective.expected(probabilities)
        excess = torch.stack([cost.expected(probabilities) for cost in costs], 1) / bounds - 1 if costs else bounds
        loss = (multipliers * excess).sum() - value.sum()
        optimiser.step(torch.autograd.grad(loss, [variables]))
        multipliers = (multipliers + multiplier_rate * excess.detach()).clamp(min=0)
    with torch.no_grad():
        return np.asarray(_distribution(variables, free).numpy()), np.asarray(multipliers.numpy())


def _distribution(variables: Tensor, free: Tensor) -> Tensor:
    return torch.softmax(variables.masked_fill(~free, -torch.inf), -1)
