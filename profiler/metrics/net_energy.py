"""The energy that one inference adds to that of an idle device."""

from __future__ import annotations

from hilnas.errors import UsageError
from profiler.metrics._base import Metric, not_static
from search_spaces._graph import Graph


class NetEnergy(Metric):
    """Gross energy less the power of the idle window before times the length of the active one."""

    dimension = "energy"
    stored_as = "net_energy_j"
    measured = True
    description = "energy of one inference, that of the idle device taken off"
    purpose = "energy"
    asked_with = "hilnas profile DEVICE --energy"

    def of_graph(self, graph: Graph) -> float:
        """Raise UsageError: only a device knows."""
        raise UsageError(not_static("net_energy"))
