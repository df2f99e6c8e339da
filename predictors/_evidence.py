"""How well Gaussian processes explain measurements of which some are far off.

Something else ran, or a device throttled: single times are off by a half where most are right to a few percent.
Errors are therefore distributed as Student's t: each is normal, with a precision of its own that is drawn from a Gamma
distribution. What is known of these precisions is found by variational inference (Tipping and Lawrence 2005), for all
processes at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma, gammaln

Array = NDArray[np.float64]

#: Degrees of freedom of the errors: the fewer, the further off a single one may be.
TAILS = 3.0
#: What the variance of an error is, in squares of its scale.
TAILS_VARIANCE = TAILS / (TAILS - 2)
#: So often precisions are inferred from the processes and these from the precisions.
_ROUNDS = 4


@dataclass(frozen=True, eq=False)
class Explained:
    """What m processes make of the same n measurements.

    `log_evidence` (m,), a lower bound. With K the covariance of the measurements y: `weights` K^-1 y (m, n), and
    `roots` (m, n, n) whose product with their transpose is K^-1. K holds the variance of each measurement's own error,
    `variances` (m, n); `terms` (m, n) is what its precision adds to the evidence beside the density of y under K.
    """

    log_evidence: Array
    weights: Array
    roots: Array
    variances: Array
    terms: Array

    def take(self, places: NDArray[np.intp]) -> Explained:
        """Return some of the processes."""
        return Explained(*(item[places] for item in vars(self).values()))

    def leave_one_out(self, y: Array) -> tuple[Array, Array, Array]:
        """Return for each measurement what each process says that has not seen it, shape (m, n) each.

        Mean, variance without that of an error (Rasmussen and Williams 2006, Eq. 5.12), and what the measurement adds
        to the evidence (Eq. 5.10). The precisions of the others stay as they are.
        """
        diagonal = (self.roots**2).sum(axis=2)
        error = self.weights / diagonal
        added = 0.5 * (np.log(diagonal / (2 * np.pi)) - error**2 * diagonal) + self.terms
        return y - error, np.maximum(1 / diagonal - self.variances, 0.0), added


def explain(covariances: Array, noise: Array, y: Array) -> Explained:
    """Return what processes make of measurements y (n,).

    `covariances` (m, n, n) are those of what is measured, without errors; `noise` (m,) are the scales of the errors.
    """
    variances, terms = _doubt(covariances, np.repeat(noise[:, None] ** 2, len(y), axis=1), y)
    factors = np.linalg.cholesky(_with_diagonal(covariances, variances))
    roots = np.swapaxes(np.linalg.inv(factors), 1, 2)
    whitened = y @ roots
    half_log_det = np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(axis=1)
    density = -0.5 * (whitened**2).sum(axis=1) - half_log_det - 0.5 * len(y) * np.log(2 * np.pi)
    return Explained(density + terms.sum(axis=1), (roots @ whitened[:, :, None])[:, :, 0], roots, variances, terms)


def _doubt(covariances: Array, squares: Array, y: Array) -> tuple[Array, Array]:
    """Return the variance (m, n) of each error, of whose scale the square is given, and its term of the evidence."""
    alpha = (TAILS + 1) / 2
    beta = np.full_like(squares, alpha)
    for _ in range(_ROUNDS):
        variances = squares * beta / alpha
        inverse = np.linalg.inv(_with_diagonal(covariances, variances))
        error = variances * (inverse @ y)
        uncertain = variances - variances**2 * np.diagonal(inverse, axis1=1, axis2=2)
        beta = (TAILS + (error**2 + np.maximum(uncertain, 0.0)) / squares) / 2
    return squares * beta / alpha, _terms(alpha, beta)


def _with_diagonal(covariances: Array, variances: Array) -> Array:
    found = covariances.copy()
    places = range(covariances.shape[1])
    found[:, places, places] += variances
    return found


def _terms(alpha: float, beta: Array) -> Array:
    """Return what a precision of Gamma(alpha, beta) adds to the bound: half of E[log] - log E, less its divergence.

    The divergence is that of Kullback and Leibler from Gamma(t / 2, t / 2), with t the degrees of freedom.
    """
    prior = TAILS / 2
    divergence = (
        (alpha - prior) * digamma(alpha)
        - gammaln(alpha)
        + gammaln(prior)
        + prior * np.log(beta / prior)
        + alpha * (prior - beta) / beta
    )
    return np.asarray(0.5 * (digamma(alpha) - np.log(alpha)) - divergence)
