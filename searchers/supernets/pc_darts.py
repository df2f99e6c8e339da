"""PC-DARTS (Xu et al., ICLR 2020): a quarter of the channels is mixed, and edges have shares of their own."""

from __future__ import annotations

from searchers._supernet_search import PC_DARTS
from searchers.supernets._cells import CellSearcher


class PcDarts(CellSearcher):
    """Partially connected search, without limits; the shares rest for the first 15 of 50 epochs."""

    method = PC_DARTS
    resting = 0.3
    authors_steps = 35 * 98
