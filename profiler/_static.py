"""Static costs of anything that can be named: an architecture, an ONNX file, a function of the user."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hilnas import plugins
from hilnas.errors import BadFile, HilnasError, UsageError
from profiler._models import ModelSource, build_model, user_code
from profiler._onnx_file import open_model
from profiler._plan import load_space
from search_spaces._layer_costs import CostTable, graph_costs

#: The columns that are printed, JSON has all.
COLUMNS = ("layer", "kind", "output", "MACs", "params", "activations", "traffic", "FLOP/byte")


def static_table(source: ModelSource, space: str | None = None, space_options: str = "{}") -> CostTable:
    """Return the costs of a model: `FILE.onnx`, `package.module:function` or `SPACE:ARCHITECTURE`.

    With `space` (its options as canonical JSON) the text is an architecture of that space, prefix or not. Raises
    UsageError, BadFile or CannotBuild for what cannot be counted.
    """
    prefix = source.target.partition(":")[0]
    if space is not None or (":" in source.target and prefix in plugins.names("search_spaces")):
        return _of_architecture(source, space or prefix, space_options)
    if space_options != "{}":
        raise UsageError("--space-option belongs to an architecture", f"{source.target} is none.")
    return _of_function(source) if source.is_function else _of_file(source)


def shown_rows(table: CostTable) -> list[tuple[Any, ...]]:
    """Return the cells of `COLUMNS`, one row a layer."""
    return [
        (
            row.name,
            row.kind,
            "x".join(map(str, row.output_shape)),
            f"{row.macs:,}",
            f"{row.params:,}",
            _mib(row.activation_bytes),
            _mib(row.traffic_bytes),
            row.intensity,
        )
        for row in table.rows
    ]


def shown_totals(table: CostTable) -> list[tuple[str, Any]]:
    """Return the sums, and what they leave out, as names and texts."""
    found: list[tuple[str, Any]] = [
        ("inputs", ", ".join(map(str, table.inputs))),
        ("MACs", f"{table.macs:,}"),
        ("FLOPs (2 x MACs)", f"{table.flops:,}"),
        ("parameters", f"{table.params:,}"),
        ("weights", _mib(table.weight_bytes)),
        ("activations", _mib(table.activation_bytes)),
        ("memory traffic", _mib(table.traffic_bytes)),
        ("FLOP/byte", table.intensity),
        ("without multiply-adds", _counts(table.without_macs)),
        ("not counted", _counts(table.uncounted)),
    ]
    check = table.cross_check
    if check is not None:
        said = "agrees" if check.agrees else f"{check.reason} MACs ({check.macs:,} in all)"
        found.append((check.counter.rpartition(".")[2], said))
    return found


def _of_architecture(source: ModelSource, space: str, space_options: str) -> CostTable:
    if source.inputs or source.arguments:
        raise UsageError("an architecture has its own input shape", "", "Leave --shape and --argument out.")
    built = load_space(space, space_options)
    return graph_costs(built.graph(built.parse(source.target)))


def _of_file(source: ModelSource) -> CostTable:
    from search_spaces._onnx_costs import onnx_costs

    path = Path(source.target)
    if not path.exists() and path.suffix != ".onnx":
        raise BadFile(
            f"{source.target!r} is no file, no function and no architecture",
            "",
            "Write FILE.onnx, package.module:function or SPACE:ARCHITECTURE",
        )
    model = open_model(path)
    try:
        return onnx_costs(model, source.inputs)
    except UsageError as error:
        raise type(error)(f"{path}: {error.what}", error.cause, error.remedy) from error


def _of_function(source: ModelSource) -> CostTable:
    """Count without weights, which may be more than memory holds; with them where the network needs them."""
    from search_spaces._module_costs import module_costs

    for without_values in (True, False):
        try:
            built = build_model(source, without_values)
            with user_code():
                return module_costs(built.module, built.inputs)
        except HilnasError:
            if not without_values:
                raise
    raise AssertionError("the second attempt returns or raises")


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / 2**20:.3f} MiB"


def _counts(counts: Any) -> str:
    return ", ".join(f"{name} {n}" for name, n in counts.items()) or "none"
