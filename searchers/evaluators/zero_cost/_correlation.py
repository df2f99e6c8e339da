"""The correlation of a network's input gradients, and what is made of it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_K = 1e-5


def gradient_correlation(module: nn.Module, inputs: Tensor) -> Tensor:
    """Return the correlation matrix of each input's gradient of the sum of all outputs, shape (n, n).

    One backward pass gives all of them, the way they influence each other in batch normalisation included. A constant
    gradient has no correlation: its row is NaN.
    """
    inputs = inputs.clone().requires_grad_(True)
    (gradients,) = torch.autograd.grad(module.requires_grad_(False)(inputs).sum(), inputs)
    return torch.corrcoef(gradients.flatten(1).double())


def eigen_score(correlation: Tensor) -> float:
    """Return -sum(log(v + k) + 1 / (v + k)) over the eigenvalues v, k = 1e-5; NaN of a matrix with NaN.

    Source: the first version of Mellor et al., "Neural Architecture Search without Training", as the zero-cost suites
    of Abdelfattah et al. (ICLR 2021) and NASLib have it.
    """
    if not torch.isfinite(correlation).all():
        return torch.nan
    # A correlation matrix has no negative eigenvalues; rounding gives tiny ones.
    values = torch.linalg.eigvalsh(correlation).clamp_min(0.0)
    return float(-(torch.log(values + _K) + 1 / (values + _K)).sum())


def count_score(correlation: Tensor, beta: float) -> float:
    """Return the number of ordered pairs whose correlation lies between 0 and beta; NaN of a matrix with NaN.

    Source: Tran and Bae (JBE 26(7), 2021), after the submission of Mellor et al. to ICLR 2021.
    """
    if not torch.isfinite(correlation).all():
        return torch.nan
    return float(((correlation > 0) & (correlation < beta)).sum())
