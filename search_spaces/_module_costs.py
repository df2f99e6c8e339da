"""The costs of a PyTorch module, learnt from one call on tensors without values: nothing is computed or allocated."""

from __future__ import annotations

import contextlib
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from hilnas.errors import UsageError
from search_spaces._aten import COUNTED, answer_at_once, is_composite, without_macs
from search_spaces._layer_costs import CostTable, CrossCheck, Input, LayerCosts, named_once

COUNTER = "torch.utils.flop_counter.FlopCounterMode"


def module_costs(module: nn.Module, inputs: Sequence[Input], cross_check: bool = True) -> CostTable:
    """Return the costs of a module in evaluation mode, one row a layer and one an operator outside of any layer.

    A layer is a module of torch's own without children. Operators that only give a tensor another shape have no row.
    `params` are the parameters of the module; buffers (running statistics) count neither as parameters nor as
    traffic. Networks that look at values are run on real tensors (normal numbers, zeros for integers). Raises
    UsageError for a network that fails on these inputs.
    """
    names = {child: name for name, child in module.named_modules()}
    modes = {child: child.training for child in names}
    module.eval()
    try:
        try:
            recorder, check_macs = _recorded(module, names, inputs, "meta", cross_check)
        except Exception:  # whatever a network does not do without values
            recorder, check_macs = _recorded(module, names, inputs, "cpu", cross_check)
    except Exception as error:  # a user's own code raises what it likes
        shapes = ", ".join(map(str, inputs))
        cause = f"{type(error).__name__}: {error}"[:500]
        raise UsageError(
            f"the network fails on the input {shapes}", cause, "Name the shapes: --shape 1x3x224x224"
        ) from error
    finally:
        for child, training in modes.items():
            child.training = training
    return _table(module, inputs, recorder, check_macs)


def example_tensors(inputs: Sequence[Input], device: str = "cpu") -> tuple[list[Tensor], dict[str, Tensor]]:
    """Return seeded tensors (normal numbers, zeros for integers): those without a name, and the others by name."""
    generator = None if device == "meta" else torch.Generator().manual_seed(0)
    tensors = [_example(item, device, generator) for item in inputs]
    named = {item.name: tensor for item, tensor in zip(inputs, tensors, strict=True) if item.name}
    return [tensor for item, tensor in zip(inputs, tensors, strict=True) if not item.name], named


def _example(item: Input, device: str, generator: torch.Generator | None) -> Tensor:
    dtype = getattr(torch, item.dtype)
    if device != "meta" and dtype.is_floating_point:
        return torch.randn(item.shape, generator=generator).to(dtype)
    return torch.zeros(item.shape, dtype=dtype, device=device)


class _Size(NamedTuple):
    shape: tuple[int, ...]
    size_bytes: int


@dataclass
class _Call:
    """One operator as it was called."""

    kind: str
    macs: int
    inputs: list[_Size]
    weights: dict[int, Tensor]
    outputs: list[_Size]


@dataclass
class _Frame:
    """A module that is running, and the operators of a layer so far."""

    name: str
    kind: str
    is_layer: bool
    calls: list[_Call] = field(default_factory=list)


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes every operator with the module it runs in."""

    def __init__(self, parameters: dict[int, Tensor], weights: frozenset[int]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._parameters = parameters
        self._weights = weights
        self._unread = dict(parameters)
        self.frames: list[_Frame] = []
        self.rows: list[LayerCosts] = []
        self.without: Counter[str] = Counter()
        self.uncounted: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if is_composite(func):  # as in inference mode, where `linear` arrives as it is
            with self:
                return func.decompose(*args, **kwargs)
        result = answer_at_once(func, args, kwargs)
        if result is None:
            result = func(*args, **kwargs)
        if not (func.is_view or func.name() in _MOVES_NOTHING):
            self._note(func, args, kwargs, result)
        return result

    def _note(self, func: Any, args: Any, kwargs: Any, result: Any) -> None:
        kind = func._opname.rstrip("_")
        count = COUNTED.get(func.overloadpacket)
        read = list(_tensors((args, kwargs)))
        if count is None and not read:
            return  # makes a constant
        if count is None:
            (self.without if without_macs(func) else self.uncounted)[kind] += 1
        keys = [(item.untyped_storage()._cdata, item) for item in read]
        call = _Call(
            kind,
            0 if count is None else count(args, result),
            [_size(item) for key, item in keys if key not in self._weights],
            {key: self._parameters[key] for key, _ in keys if key in self._parameters},
            [_size(item) for item in _tensors(result)],
        )
        frame = self.frames[-1]
        if frame.is_layer:
            frame.calls.append(call)
        else:
            self._add(f"{frame.name}.{kind}", call)

    def leave(self, inputs: Any, outputs: Any) -> None:
        """Turn the operators of the innermost module into one row, where it is a layer."""
        frame = self.frames.pop()
        if frame.calls:
            weights = {key: tensor for call in frame.calls for key, tensor in call.weights.items()}
            macs = sum(call.macs for call in frame.calls)
            sizes = [[_size(item) for item in _tensors(value)] for value in (inputs, outputs)]
            self._add(frame.name, _Call(frame.kind, macs, sizes[0], weights, sizes[1]))

    def _add(self, name: str, call: _Call) -> None:
        first = [self._unread.pop(key) for key in call.weights if key in self._unread]
        self.rows.append(
            LayerCosts(
                name,
                call.kind,
                tuple(size.shape for size in call.inputs),
                call.outputs[0].shape if call.outputs else (),
                call.macs,
                sum(item.numel() for item in first),
                sum(size.size_bytes for size in call.inputs),
                sum(item.nbytes for item in call.weights.values()),
                sum(size.size_bytes for size in call.outputs),
            )
        )


#: Operators without the mark of a view that copy nothing either.
_MOVES_NOTHING = frozenset(("aten::_unsafe_view", "aten::lift_fresh", "aten::detach", "aten::alias", "prim::device"))


def _recorded(
    module: nn.Module, names: dict[nn.Module, str], inputs: Sequence[Input], device: str, cross_check: bool
) -> tuple[_Recorder, int | None]:
    """Run the module once; return what was noted and, where asked for, the count of torch's own counter."""
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    if device == "meta":
        tensors = {name: tensor.to("meta") for name, tensor in tensors.items()}
    parameters = {tensors[name].untyped_storage()._cdata: tensors[name] for name, _ in module.named_parameters()}
    weights = frozenset(tensor.untyped_storage()._cdata for tensor in tensors.values())
    recorder = _Recorder(parameters, weights)
    counter = FlopCounterMode(display=False) if cross_check else contextlib.nullcontext()
    args, kwargs = example_tensors(inputs, device)
    with _hooks(names, recorder), _unfused(), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with counter, recorder:  # the last one is asked first: its answers are of operators that have no count
            if device == "meta":
                with torch.device("meta"):
                    torch.func.functional_call(module, tensors, tuple(args), kwargs)
            else:
                module(*args, **kwargs)
    return recorder, counter.get_total_flops() // 2 if isinstance(counter, FlopCounterMode) else None


@contextlib.contextmanager
def _hooks(names: dict[nn.Module, str], recorder: _Recorder) -> Iterator[None]:
    """Tell the recorder when a module begins and ends."""
    handles = []
    for child, name in names.items():
        handles.append(child.register_forward_pre_hook(_entering(recorder, child, name)))
        handles.append(child.register_forward_hook(_leaving(recorder), with_kwargs=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _entering(recorder: _Recorder, module: nn.Module, name: str) -> Callable[..., None]:
    kind = type(module)
    is_layer = kind.__module__.startswith("torch.nn.modules") and not any(True for _ in module.children())

    def enter(module: nn.Module, args: Any) -> None:
        recorder.frames.append(_Frame(name or kind.__name__, kind.__name__, is_layer))

    return enter


def _leaving(recorder: _Recorder) -> Callable[..., None]:
    def leave(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        recorder.leave((args, kwargs), output)

    return leave


@contextlib.contextmanager
def _unfused() -> Iterator[None]:
    """Have attention layers run the operators they are made of, not one kernel that nobody can look into."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _table(module: nn.Module, inputs: Sequence[Input], recorder: _Recorder, check_macs: int | None) -> CostTable:
    parameters = list(module.parameters())
    names = named_once([row.name for row in recorder.rows])
    rows = tuple(replace(row, name=name) for row, name in zip(recorder.rows, names, strict=True))
    check = None
    if check_macs is not None:
        ours = sum(row.macs for row in rows)
        differs = f"it counts {check_macs - ours:+d}" if check_macs != ours else ""
        check = CrossCheck(COUNTER, check_macs, differs)
    return CostTable(
        "module",
        tuple(inputs),
        rows,
        sum(item.numel() for item in parameters),
        sum(item.nbytes for item in parameters),
        dict(sorted(recorder.without.items())),
        dict(sorted(recorder.uncounted.items())),
        check,
    )


def _size(tensor: Tensor) -> _Size:
    return _Size(tuple(tensor.shape), tensor.nbytes)


def _tensors(value: Any) -> Iterator[Tensor]:
    """Yield the tensors in nested containers."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from _tensors(tuple(value.values()))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)
