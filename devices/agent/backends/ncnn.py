"""ncnn on the CPU. Takes .ncnn files: a zip with `model.param` and `model.bin`, as the builder converts them.

Options: threads, precision ("fp32"; "fp16" and "bf16" where the CPU has them), optimization ("none": neither Winograd
nor packed layouts nor matrix-product kernels). ncnn knows no batch: its inputs are those of one sample.
"""

import json
import os
import tempfile
import zipfile
from typing import Any, Dict, List, Optional

from . import _common

INSTALL = "pip install 'hilnas[ncnn]'"

_runtime: Optional[Any] = None


def prepare(options: Dict[str, Any]) -> None:
    """Import the runtime; raise ImportError where it is missing, ValueError for options it does not know."""
    global _runtime
    _common.refuse_others("ncnn", options, ("precision", "optimization"))
    _common.need_precision("ncnn", options, ["fp32", "fp16", "bf16"])
    if options.get("optimization", "all") not in ("all", "none"):
        raise ValueError("ncnn cannot do optimization = %r: it has all or none" % (options["optimization"],))
    import ncnn
    import numpy.random  # noqa: F401  (imported lazily otherwise, in every worker)

    _runtime = ncnn


def fork_safe(options: Dict[str, Any]) -> bool:
    """Return that workers may be forked: importing it starts no threads."""
    return True


def facts() -> Dict[str, Any]:
    """Return the runtime's name and version."""
    assert _runtime is not None
    return {"name": "ncnn", "version": _runtime.__version__}


class Model:
    """A loaded net with seeded inputs."""

    def __init__(self, net: Any, inputs: Dict[str, Any], outputs: List[str]) -> None:
        assert _runtime is not None
        self._net = net
        self._arrays = inputs  # the mats only point into them
        self._inputs = {name: _runtime.Mat(array) for name, array in inputs.items()}
        self._outputs = outputs

    def run(self) -> List[Any]:
        """Run the net once and return its outputs; raise RuntimeError when it cannot."""
        extractor = self._net.create_extractor()
        for name, value in self._inputs.items():
            extractor.input(name, value)
        found = []
        for name in self._outputs:
            code, value = extractor.extract(name)
            if code != 0:
                raise RuntimeError("ncnn cannot compute %r (%d)" % (name, code))
            found.append(value)
        return found

    def facts(self) -> Dict[str, Any]:
        """Return what the net really uses."""
        options = self._net.opt
        names = (
            "num_threads",
            "use_fp16_storage",
            "use_fp16_arithmetic",
            "use_bf16_storage",
            "use_winograd_convolution",
        )
        return {name: getattr(options, name) for name in names}


def load(path: str, options: Dict[str, Any]) -> Model:
    """Return the net of a .ncnn file; raise RuntimeError for one it rejects."""
    assert _runtime is not None
    net = _runtime.Net()
    _set(net.opt, options)
    with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory() as folder:
        inputs = json.loads(archive.read("inputs.json").decode("utf-8"))
        for name, function in (("model.param", net.load_param), ("model.bin", net.load_model)):
            if function(archive.extract(name, folder)) != 0:
                raise RuntimeError("ncnn rejects %s of %s" % (name, os.path.basename(path)))
    arrays = {name: _common.seeded(name, shape, "float32") for name, shape in sorted(inputs.items())}
    return Model(net, arrays, list(net.output_names()))


def _set(settings: Any, options: Dict[str, Any]) -> None:
    precision = options.get("precision", "fp32")
    settings.num_threads = int(options.get("threads", 1))
    settings.use_vulkan_compute = False
    for name in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic"):
        setattr(settings, name, precision == "fp16")
    settings.use_bf16_storage = precision == "bf16"
    if options.get("optimization") == "none":
        for name in ("use_winograd_convolution", "use_sgemm_convolution", "use_packing_layout"):
            setattr(settings, name, False)
