"""torch.compile with its default compiler (inductor). Takes .pt2 files; options: see _torch.

What it compiles is kept in `cache_folder`, so that only the first invocation of a network pays for it. Compiling is
part of loading, never of a timed call, and nothing falls back to the uncompiled network silently.
"""

import os
import shutil
import time
from typing import Any, Dict

from . import _torch

LOCAL_ONLY = True
INSTALL = "pip install torch, and a C++ compiler (g++)"

#: Beyond this the cache is emptied: networks are many, and most are measured once.
_MAX_CACHE_BYTES = 2 << 30

fork_safe = _torch.fork_safe


def prepare(options: Dict[str, Any]) -> None:
    """Import torch and its compiler; raise ImportError where a C++ compiler or torch is missing."""
    # Both are read when the compiler is imported: no pool of processes, and a cache of our own.
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
    if options.get("cache_folder"):
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = _cache(str(options["cache_folder"]), int(options.get("threads", 1)))
    _torch.prepare(options, "torch_compile")
    if not any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "g++", "clang++")):
        raise ImportError("torch.compile needs a C++ compiler, and there is neither g++ nor clang++")
    import torch._dynamo
    import torch._inductor.compile_fx  # noqa: F401  (imported lazily otherwise, in every worker)


def facts() -> Dict[str, Any]:
    """Return name and versions."""
    return _torch.facts("torch_compile")


class Model(_torch.Model):
    """A compiled program."""

    def __init__(self, path: str, options: Dict[str, Any]) -> None:
        import torch

        super().__init__(path, options)
        began = time.perf_counter()
        self.module = torch.compile(self.module, fullgraph=True, dynamic=False)
        self.run()
        self._compile_s = time.perf_counter() - began

    def facts(self) -> Dict[str, Any]:
        """Return where it ran, and how long compiling took (little where it was in the cache)."""
        return dict(super().facts(), compile_s=self._compile_s)


def load(path: str, options: Dict[str, Any]) -> Model:
    """Return the compiled model of a .pt2 file; raise whatever the compiler raises."""
    return Model(path, options)


def _cache(folder: str, threads: int) -> str:
    """Return the folder for compiled networks; the number of threads is compiled in, so each has its own."""
    path = os.path.join(folder, "inductor-%d" % threads)
    os.makedirs(path, exist_ok=True)
    size = sum(os.path.getsize(os.path.join(where, name)) for where, _, names in os.walk(path) for name in names)
    if size > _MAX_CACHE_BYTES:
        shutil.rmtree(path, ignore_errors=True)
        os.makedirs(path, exist_ok=True)
    return path
