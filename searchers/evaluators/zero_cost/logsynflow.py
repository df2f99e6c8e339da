"""Synaptic flow with the logarithm of every gradient: no single deep path outweighs all others.

Source: Cavagnero, Robbiano, Caputo and Averta, "FreeREA: Training-Free Evolution-Based Architecture Search" (WACV
2023): the sum of |w log(1 + dR/dw)| instead of that of |w dR/dw|. Here its logarithm, which ranks alike.
"""

from __future__ import annotations

import torch

from searchers.evaluators.zero_cost.synflow import Synflow


class LogSynflow(Synflow):
    """The logarithm of the sum over all weights of the weight times the logarithm of one plus its gradient."""

    @staticmethod
    def flow(weight: torch.Tensor, gradient: torch.Tensor) -> float:
        """Return what flows through one tensor of weights; neither argument has negative values."""
        return float((weight * gradient.log1p()).sum())
