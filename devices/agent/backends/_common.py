"""What all runtimes share: seeded inputs, and options that a runtime does not know are refused, not ignored."""

from typing import Any, Dict, List, Sequence

_INTEGERS = ("uint8", "int8", "int16", "int32", "int64", "bool")
_FLOATS = ("float16", "float32", "float64")

#: Every option and the value that means "nothing was asked for".
_DEFAULTS: Dict[str, Any] = {
    "optimization": "all",
    "spinning": True,
    "provider": "cpu",
    "strict": False,
    "profile_nodes": False,
    "precision": "fp32",
    "workspace_mib": 1024,
    "device": "",
    "copies": True,
}


def seeded(name: str, shape: Sequence[Any], dtype: str) -> Any:
    """Return a seeded input: standard normal for floats, 0 or 1 for integers; the same bytes for every runtime.

    Raise ValueError for a size that is not fixed and a type that is not known.
    """
    import numpy

    if any(not isinstance(size, int) or size <= 0 for size in shape):
        raise ValueError("input %r has the dynamic shape %s; fix it before measuring" % (name, list(shape)))
    random = numpy.random.RandomState(0)
    if dtype in _FLOATS:
        return numpy.asarray(random.standard_normal(shape)).astype(dtype)
    if dtype in _INTEGERS:
        return numpy.asarray(random.randint(0, 2, shape)).astype(dtype)
    raise ValueError("input %r has the unsupported type %s" % (name, dtype))


def refuse_others(runtime: str, options: Dict[str, Any], known: Sequence[str]) -> None:
    """Raise ValueError for an option that asks for something this runtime cannot do."""
    for name in sorted(set(_DEFAULTS) - set(known)):
        if options.get(name, _DEFAULTS[name]) != _DEFAULTS[name]:
            raise ValueError("%s cannot do %s = %r" % (runtime, name, options[name]))


def need_precision(runtime: str, options: Dict[str, Any], known: List[str]) -> str:
    """Return the precision asked for; raise ValueError for one that this runtime has not got."""
    precision = str(options.get("precision", "fp32"))
    if precision not in known:
        raise ValueError("%s runs in %s, not in %s" % (runtime, ", ".join(known), precision))
    return precision
