"""The graph of a module: the operators of one forward pass, on tensors without numbers where that is possible."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from hilnas.records import content_hash
from search_spaces._aten import answer_at_once, is_composite
from search_spaces._graph import Block, Call, Graph, TensorSpec
from search_spaces._traced_blocks import Like, Role, Use, block_of, joined, tensors_of, view_block


def trace(build: Callable[[], tuple[nn.Module, tuple[int, ...]]]) -> Graph:
    """Return the graph of a module in evaluation mode; its convolutions hold the normalisation that follows them.

    `build` returns the module and its input shape. It is called, and the module is run, without numbers; where they
    need some, and that fails, with them. Fused attention is taken apart into its products. Raises what `build` and the
    module raise, and ValueError for a result that is no tensor or does not depend on the input.
    """
    with _quiet():
        try:
            with torch.device("meta"):
                return _traced(*build())
        except Exception:  # whatever it was, it counts only if it happens with numbers as well
            return _traced(*build())


def fingerprint(graph: Graph) -> str:
    """Return the hash of what a graph computes with: its operators with their shapes, and who reads whom."""
    places = {"input": -1, **{call.name: i for i, call in enumerate(graph.calls)}}
    rows = [[call.block.key, [places[name] for name in call.inputs]] for call in graph.calls]
    return content_hash([list(graph.input.shape), rows, places[graph.output]])[:16]


@contextmanager
def _quiet() -> Iterator[None]:
    """Run without gradients and warnings, with attention as plain products, and leave everything as it was."""
    fast = torch.backends.mha.get_fastpath_enabled()
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        stack.enter_context(torch.no_grad())
        stack.enter_context(torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH))
        stack.callback(torch.backends.mha.set_fastpath_enabled, fast)
        torch.backends.mha.set_fastpath_enabled(False)
        yield


def _traced(module: nn.Module, shape: tuple[int, ...]) -> Graph:
    x = torch.empty(shape) if torch.empty(0).is_meta else torch.zeros(shape)
    recorder = _Recorder(module, x)
    with recorder:
        result = module.eval()(x)
    if not isinstance(result, Tensor):
        raise ValueError(f"it returns a {type(result).__name__}, not one tensor")
    output = recorder.name_of(result) or "input"
    graph = Graph(TensorSpec(shape), tuple(recorder.calls), output)
    if output == "input" or not graph.connected:
        raise ValueError("its result does not depend on its input")
    return _with_joined_norms(graph)


class _Place(NamedTuple):
    """Where a tensor lies: two of one place are one tensor."""

    storage: int
    offset: int
    stride: tuple[int, ...]
    like: Like

    @classmethod
    def of(cls, tensor: Tensor) -> _Place:
        storage = tensor.untyped_storage()._cdata
        return cls(storage, int(tensor.storage_offset()), tensor.stride(), Like.of(tensor))


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Writes down every operator as a call of a graph.

    Tensors are told apart by their place in memory. What changes one makes a new version of its storage: other views
    of it are then read from the last change.
    """

    def __init__(self, module: nn.Module, x: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[Call] = []
        self._kept: list[Tensor] = [x]  # a storage that is freed could be taken by another
        self._version: dict[int, int] = {}
        self._writer: dict[int, tuple[str, TensorSpec]] = {}
        self._names: dict[_Place, tuple[int, str]] = {}
        self._beside: dict[_Place, tuple[str, TensorSpec]] = {}
        self._uses: Counter[str] = Counter(["input"])
        #: Storage -> the parameter in it and the name of the layer that owns it; those that were read have no numbers.
        self._parameters: dict[int, tuple[int, str]] = {}
        for name, parameter in module.named_parameters():
            storage = parameter.untyped_storage()._cdata
            self._parameters[storage] = (parameter.numel(), name.rpartition(".")[0])
        self._write(_Place.of(x), "input")

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operator and note it."""
        kwargs = kwargs or {}
        if is_composite(func):  # as in inference mode, where `linear` arrives as it is
            with self:
                return func.decompose(*args, **kwargs)
        read = list(tensors_of((args, tuple(kwargs.values()))))
        use = Use.of(func, args, kwargs)
        sources = [self.name_of(tensor) for tensor in read]
        result = answer_at_once(func, args, kwargs)
        if result is None:
            result = func(*args, **kwargs)
        results = list(tensors_of(result))
        if results:
            self._note(use, read, sources, results)
        return result

    def name_of(self, tensor: Tensor) -> str | None:
        """Return the call that made a tensor, None for a constant."""
        place = _Place.of(tensor)
        if place in self._beside:  # a result beside the first one costs nothing more, but needs what made that
            name, spec = self._beside.pop(place)
            self._write(place, self._add("view", view_block(spec, place.like.spec), (name,)))
        if place.storage not in self._writer:
            return None
        version, name = self._names.get(place, (-1, ""))
        if version == self._version[place.storage]:
            return name
        name, spec = self._writer[place.storage]
        return self._view(place, name, spec)

    def _note(self, use: Use, read: list[Tensor], sources: list[str | None], results: list[Tensor]) -> None:
        """Append the call of an operator; what reads neither the network's tensors nor its parameters is a constant."""
        owners = [self._parameters.get(tensor.untyped_storage()._cdata) for tensor in read]
        if not any(sources) and not any(owners):
            return
        self._kept += results
        places = [_Place.of(tensor) for tensor in results]
        storages = [tensor.untyped_storage()._cdata for tensor in read]
        if places[0].storage in storages and not any(results[0] is tensor for tensor in read):
            viewed = storages.index(places[0].storage)
            name = sources[viewed]
            if name is not None:
                for place in places:
                    self._view(place, name, Like.of(read[viewed]).spec)
            return
        roles = tuple(self._role(storage, source) for storage, source in zip(storages, sources, strict=True))
        layer = next((owner[1] for owner in owners if owner and owner[1]), use.name)
        block = block_of(use, roles, places[0].like.spec)
        name = self._add(layer, block, tuple(source for source in sources if source is not None))
        self._write(places[0], name)
        self._beside |= dict.fromkeys(places[1:], (name, places[0].like.spec))

    def _role(self, storage: int, source: str | None) -> Role:
        """Return how many parameters are read here for the first time, None for a tensor of the network."""
        if source is not None:
            return None
        size, layer = self._parameters.get(storage, (0, ""))
        if size:
            self._parameters[storage] = (0, layer)
        return size

    def _write(self, place: _Place, name: str) -> None:
        """Remember that a call has written a tensor, and with it whatever shares its storage."""
        version = self._version[place.storage] = self._version.get(place.storage, -1) + 1
        self._writer[place.storage] = (name, place.like.spec)
        self._names[place] = (version, name)

    def _view(self, place: _Place, name: str, spec: TensorSpec) -> str:
        """Return the call that reads a tensor at another place of the same storage, appended where it is new."""
        version = self._version[place.storage]
        known, found = self._names.get(place, (-1, ""))
        if known != version:
            found = self._add("view", view_block(spec, place.like.spec), (name,))
            self._names[place] = (version, found)
        return found

    def _add(self, name: str, block: Block, inputs: tuple[str, ...]) -> str:
        """Append a call under a name that is not taken, and return the name."""
        self._uses[name] += 1
        name = name if self._uses[name] == 1 else f"{name}#{self._uses[name]}"
        self.calls.append(Call(name, block, inputs))
        return name


def _with_joined_norms(graph: Graph) -> Graph:
    """Return the graph in which a convolution and the normalisation that alone reads it are one block."""
    by_name = {call.name: call for call in graph.calls}
    readers = Counter(name for call in graph.calls for name in call.inputs)
    readers[graph.output] += 1
    blocks: dict[str, Block] = {}
    names: dict[str, str] = {}
    for call in graph.calls:
        conv = by_name.get(call.inputs[0]) if _kind(call) == "batch_norm" else None
        if conv is not None and _kind(conv) == "conv2d" and readers[conv.name] == 1:
            blocks[conv.name] = joined(conv.block, call.block)
            names[call.name] = conv.name
    calls = tuple(
        Call(call.name, blocks.get(call.name, call.block), tuple(names.get(name, name) for name in call.inputs))
        for call in graph.calls
        if call.name not in names
    )
    return Graph(graph.input, calls, names.get(graph.output, graph.output))


def _kind(call: Call) -> str:
    return call.block.operators[0].kind
