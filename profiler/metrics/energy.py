"""The energy of one inference, idle power included."""

from __future__ import annotations

from hilnas.errors import UsageError
from profiler.metrics._base import Metric, not_static
from search_spaces._graph import Graph


class Energy(Metric):
    """Joules that the scope of the sensor took over an active window, over its calls; see docs/energy.md."""

    dimension = "energy"
    stored_as = "energy_j"
    measured = True
    description = "energy of one inference, gross"
    purpose = "energy"
    asked_with = "hilnas profile DEVICE --energy"

    def of_graph(self, graph: Graph) -> float:
        """Raise UsageError: only a device knows."""
        raise UsageError(not_static("energy"))
