"""One network counted by everybody: the rows of the table of counts."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import onnx
import torch
from fvcore.nn import FlopCountAnalysis
from torch import nn

from benchmarks._more_networks import NETWORKS, Network
from search_spaces._costs import static_costs
from search_spaces._layer_costs import Input
from search_spaces._module_costs import module_costs
from search_spaces._onnx_costs import onnx_costs
from search_spaces._onnx_export import export_onnx
from search_spaces._torch import to_module
from search_spaces.nasbench201 import NasBench201
from search_spaces.quantised_cnn import QuantisedCnn

#: What fvcore calls the operators that are compared; it counts normalisation and resizing as well.
_HANDLERS = ("conv", "linear", "matmul", "mm", "addmm", "bmm", "einsum")


@dataclass(frozen=True)
class Counted:
    """The multiply-adds of one network; `differs` says why a counter counts otherwise, None where it is not asked."""

    name: str
    module: int
    onnx: int
    fvcore: int
    graph: int | None
    torch_counter: int
    ptflops: int | None
    differs: str
    uncounted: tuple[str, ...]

    @property
    def agrees(self) -> bool:
        """Return whether all of ours are fvcore's count, exactly."""
        return self.same and self.fvcore == self.module

    @property
    def same(self) -> bool:
        """Return whether module, ONNX file, graph and torch's own counter agree."""
        ours = {self.module, self.onnx, self.torch_counter, self.module if self.graph is None else self.graph}
        return len(ours) == 1

    @property
    def verdict(self) -> str:
        """Return `exact`, the named reason, or `MISMATCH`."""
        if self.agrees:
            return "exact"
        return f"ours agree; {self.differs}" if self.same and self.differs else "MISMATCH"

    def to_json(self) -> dict[str, Any]:
        """Return all values."""
        return {**asdict(self), "verdict": self.verdict}


def networks(seed: int, n_samples: int) -> Iterator[tuple[Network, int | None]]:
    """Yield samples of the spaces with the count of their graph, then the hand-written networks."""
    for space in (NasBench201(), QuantisedCnn(classes=10)):
        for i, cell in enumerate(space.sample_distinct(n_samples if space.name == "nasbench201" else 3, seed)):
            graph = space.graph(cell).without_dead()  # as an exporter has it
            yield Network(f"{space.name} {i}", partial(to_module, graph), space.input_shape), static_costs(graph).macs
    for network in NETWORKS:
        yield network, None


def count(network: Network, graph_macs: int | None) -> Counted:
    """Return the counts of one network by everybody."""
    module = network.build().eval()
    inputs = [Input(network.shape)]
    found = module_costs(module, inputs)
    file = onnx_costs(onnx.load_model_from_string(export_onnx(module, inputs)))
    return Counted(
        network.name,
        found.macs,
        file.macs,
        fvcore_macs(module, network.shape),
        graph_macs,
        found.cross_check.macs if found.cross_check else 0,
        ptflops_macs(module, network.shape),
        network.differs,
        (*found.uncounted, *file.uncounted),
    )


def fvcore_macs(module: nn.Module, shape: tuple[int, ...]) -> int:
    """Return fvcore's count of convolutions, linear layers and matrix products."""
    logging.getLogger("fvcore").setLevel(logging.ERROR)
    analysis = FlopCountAnalysis(module, torch.zeros(shape))
    found = analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).by_operator()
    return int(sum(found[name] for name in _HANDLERS))


def ptflops_macs(module: nn.Module, shape: tuple[int, ...]) -> int | None:
    """Return the count of ptflops, which adds normalisation, activation and pooling; None where it is not installed."""
    try:
        from ptflops import get_model_complexity_info  # type: ignore[import-untyped,import-not-found,unused-ignore]
    except ImportError:
        return None
    macs, _ = get_model_complexity_info(module, shape[1:], as_strings=False, print_per_layer_stat=False)
    return int(macs)
