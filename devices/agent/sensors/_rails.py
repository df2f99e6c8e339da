"""What a Jetson takes in all, from its rails: which of them add up is different from board to board."""

from typing import Any, Dict, Optional

#: The first rule whose rails are all there gives the total. One rail that IS the total comes first, since adding its
#: parts would count them twice. Whether an AGX Orin's VDDQ_VDD2_1V8AO is inside VIN_SYS_5V0 is not known: it is left
#: out, and the formula is stored beside the number.
_RULES = (
    ("POM_5V_IN",),
    ("VDD_IN",),
    ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),
    ("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"),
)


def total(rails: Dict[str, Optional[float]]) -> Dict[str, Any]:
    """Return power_w of the whole module, the formula it comes from, and its scope; all None where no rule fits.

    `rails` holds watts by name, None for a rail that could not be read: a total with such a part is None too.
    """
    for rule in _RULES:
        if all(name in rails for name in rule):
            parts = [rails[name] for name in rule]
            known = [part for part in parts if part is not None]
            power_w = sum(known) if len(known) == len(parts) else None
            return {"power_w": power_w, "formula": " + ".join(rule), "scope": "module"}
    return {"power_w": None, "formula": None, "scope": None}
