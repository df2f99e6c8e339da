"""The controller of QuantNAS: an LSTM that takes one decision after the other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from searchers._torch import Policy

_LAYERS, _HIDDEN = 2, 35


class LstmPolicy(Policy):
    """Two layers of 35 units; step t sees the choice of step t - 1, the first one a token that is drawn.

    Each decision has an embedding and a linear head of its own. Hidden states begin at N(0, 1) and are drawn anew by
    `restart`, with the first token, after every update (the authors' code).
    """

    def __init__(self, cardinalities: Sequence[int], seed: int) -> None:
        super().__init__(cardinalities)
        self._total = self._offsets[-1]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.embedding = nn.Embedding(self._total, _HIDDEN)
            self.lstm = nn.LSTM(_HIDDEN, _HIDDEN, _LAYERS)
            self.head = nn.Linear(_HIDDEN, self._total)
        self.first = 0
        self.hidden: Tensor = torch.zeros(2, _LAYERS, 1, _HIDDEN)

    def restart(self, rng: np.random.Generator) -> None:
        """Draw first token and hidden states anew."""
        self.first = int(rng.integers(self._total))
        self.hidden = torch.from_numpy(rng.standard_normal((2, _LAYERS, 1, _HIDDEN), dtype=np.float32))

    def sample(self, n: int, rng: np.random.Generator) -> list[tuple[int, ...]]:
        """Return n lists of decisions drawn from the policy."""
        tokens = torch.full((1, n), self.first)
        state = self._state(n)
        found: list[Tensor] = []
        with torch.no_grad():
            for own in self._slices():
                output, state = self.lstm(self.embedding(tokens), state)
                chances = torch.softmax(self.head(output)[0, :, own].double(), -1).cumsum(-1)
                drawn = torch.from_numpy(rng.random((n, 1)))
                choices = (chances <= drawn * chances[:, -1:]).sum(-1).clamp(max=chances.shape[1] - 1)
                found.append(choices)
                tokens = (choices + own.start)[None]
        return [tuple(map(int, row)) for row in torch.stack(found, 1)]

    def forward(self, decisions: Tensor) -> tuple[Tensor, Tensor]:
        """Return log-probability and entropy (nats) of each list of decisions, both of shape (batch,)."""
        tokens = self._tokens(decisions)
        first = torch.full_like(tokens[:1], self.first)
        output, _ = self.lstm(self.embedding(torch.cat([first, tokens[:-1]])), self._state(tokens.shape[1]))
        return self._judged(self.head(output), tokens)

    def _state(self, n: int) -> tuple[Tensor, Tensor]:
        hidden, cell = self.hidden.expand(-1, -1, n, -1).contiguous()
        return hidden, cell
