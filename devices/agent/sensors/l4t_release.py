"""Which Jetson Linux runs here."""

import re
from typing import Any, Dict, Optional, Tuple

from ._base import SensorUnavailable, device_tree, read_text, rooted, value_in

_FIRST_LINE = re.compile(r"#\s*R(\d{1,3})\s*\(release\),\s*REVISION:\s*([\d.]{1,12})\s*,")
_JETPACK = {28: 3, 31: 4, 32: 4, 34: 5, 35: 5, 36: 6, 38: 7, 39: 7}


def read() -> Dict[str, Any]:
    """Return release, revision, `l4t`, JetPack's major version (None if not known) and the module's model.

    The model comes from the device tree, because the field BOARD of the release file is wrong on many modules. Raise
    SensorUnavailable on a machine that is no Jetson.
    """
    text = read_text(rooted("/etc/nv_tegra_release"))
    if text is None:
        raise SensorUnavailable("no Jetson: /etc/nv_tegra_release is missing")
    return dict(parse(text), model=device_tree("model"))


def parse(text: str) -> Dict[str, Any]:
    """Return the release in `# R36 (release), REVISION: 4.4, ...`; raise ValueError for another form."""
    found = _FIRST_LINE.match(text.strip())
    if not found:
        raise ValueError("not the form of nv_tegra_release: %r" % text[:80])
    release, revision = int(found.group(1)), found.group(2)
    return {
        "release": release,
        "revision": revision,
        "l4t": "%d.%s" % (release, revision),
        "jetpack_major": _JETPACK.get(release),
    }


def identity(values: Any) -> Dict[str, Any]:
    """Return the release: drivers and compilers come with it."""
    return {"l4t": value_in(values, "l4t")}


def advice(values: Any) -> Optional[Tuple[bool, str, str]]:
    """Return the release for the doctor."""
    found = tuple(str(value_in(values, key) or "unknown")[:80] for key in ("model", "l4t", "jetpack_major"))
    return True, "%s, L4T %s, JetPack %s" % found, ""
