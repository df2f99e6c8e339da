"""Exported programs (.pt2): the networks that the torch backends run."""

from __future__ import annotations

import inspect
import io
import logging
import warnings
from typing import TYPE_CHECKING

from hilnas.errors import HilnasError, UsageError
from hilnas.records import Artifact, Workload
from profiler._artifacts import ArtifactStore
from profiler._models import user_code, workload_inputs
from profiler._plan import workload_module

if TYPE_CHECKING:
    from torch.export import ExportedProgram

#: What a node remembers of where it came from: paths of this machine and addresses of this process.
_ORIGINS = ("stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn", "from_node", "custom")


def exported(artifacts: ArtifactStore, workload: Workload, backend: str) -> Artifact:
    """Return the artifact of a workload as .pt2, the same bytes for the same workload and version of torch.

    Raise HilnasError where torch cannot export it, and UsageError for a model that is no module.
    """
    data = _saved(_program(workload))
    digest, path = artifacts.put(data, ".pt2")
    return Artifact(workload, backend, digest, len(data), str(path))


def _program(workload: Workload) -> ExportedProgram:
    import torch

    if workload.dtype != "float32":
        raise UsageError(f"{workload.name}: torch backends take float32 networks, not {workload.dtype}")
    from search_spaces._module_costs import example_tensors

    module = workload_module(workload)
    args, kwargs = example_tensors(workload_inputs(workload))
    try:
        with warnings.catch_warnings(), torch.no_grad(), user_code():
            warnings.simplefilter("ignore")
            taken = inspect.signature(module.forward).bind(*args, **kwargs)  # in order: so the program is called
            return torch.export.export(module, taken.args, taken.kwargs)
    except Exception as error:  # whatever the exporter raises is that network's failure
        raise HilnasError(
            f"{workload.name} cannot be exported by torch: {type(error).__name__}: {error}"[:600]
        ) from error


def _saved(program: ExportedProgram) -> bytes:
    import torch

    for node in program.graph.nodes:
        for origin in _ORIGINS:
            node.meta.pop(origin, None)
    buffer = io.BytesIO()
    log = logging.getLogger("torch.export")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.export.save(program, buffer)
    finally:
        log.setLevel(level)
    return buffer.getvalue()
