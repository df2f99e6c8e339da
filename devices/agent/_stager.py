"""The process that writes models from their recipes, so that neither supervisor nor template carries numpy's weight."""

import base64
import binascii
import os
from typing import Any, Dict

from . import _assemble, _process
from ._blobs import BlobError, Blobs
from ._wire import Closed, PipeLines


def serve(home: str) -> None:
    """Answer {"sha256", "recipe"} with {"ok", "path"} until stdin ends."""
    _process.die_with_parent(os.getppid())
    lines = PipeLines(0, _process.private_stdout())
    blobs = Blobs(os.path.join(home, "blobs"))
    while True:
        try:
            request = lines.receive()
        except Closed:
            return
        if request is not None:
            lines.send(_stage(blobs, request, os.path.join(home, "pool")))


def _stage(blobs: Blobs, request: Dict[str, Any], pool_folder: str) -> Dict[str, Any]:
    try:
        path = blobs.path(request.get("sha256"))
        if not os.path.exists(path):
            data = _assemble.assemble(base64.b64decode(request["recipe"], validate=True), pool_folder)
            if _assemble.sha256(data) != request["sha256"]:
                return {"ok": False, "stage": "stage", "cause": "the recipe is of another model"}
            blobs.keep(request["sha256"], data)
        return {"ok": True, "path": path}
    except BlobError as error:
        return {"ok": False, "stage": error.stage, "cause": str(error)}
    except (_assemble.RecipeError, binascii.Error, KeyError, TypeError) as error:
        return {"ok": False, "stage": "stage", "cause": "%s: %s" % (type(error).__name__, str(error)[:500])}
    except (OSError, MemoryError) as error:
        return {"ok": False, "stage": "disk", "cause": str(error)[:500]}
