"""Training memory without allocating it, against what PyTorch itself says of small real and fake networks."""

import copy
import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from hilnas.errors import BadFile, DeviceError, UnknownName, UsageError
from profiler._memory_probe import measure_training_memory
from profiler._training_memory import Calibration, calibrate, predict_training_memory
from profiler._training_plan import ArchitectureStep, TrainingPlan
from profiler._training_torch import Training, make_batch

SHAPE = (3, 8, 8)


class Mixture(nn.Module):
    """The smallest supernet: two convolutions and how much of each."""

    def __init__(self, channels=3, out=4):
        super().__init__()
        self.candidates = nn.ModuleList(nn.Conv2d(channels, out, k, padding=k // 2) for k in (1, 3))
        self.alpha = nn.Parameter(torch.zeros(2))

    def forward(self, x):
        shares = self.alpha.softmax(0)
        return sum(share * candidate(x) for share, candidate in zip(shares, self.candidates, strict=True))


def supernet():
    return nn.Sequential(Mixture(), nn.ReLU(), Mixture(4, 4), nn.Flatten(), nn.Linear(256, 5))


@st.composite
def modules(draw):
    """Return a function that makes a random small network for SHAPE."""
    kinds = ["conv", "depthwise", "norm", "relu", "relu_", "gelu", "sigmoid", "dropout", "pool", "average", "mixture"]
    chosen = draw(st.lists(st.tuples(st.sampled_from(kinds), st.integers(1, 6)), max_size=6))
    bias = draw(st.booleans())

    def build():
        layers, channels = [nn.Conv2d(3, 4, 3, padding=1, bias=bias)], 4
        for kind, size in chosen:
            if kind == "conv":
                layers.append(nn.Conv2d(channels, size, 3, padding=1, bias=bias))
                channels = size
            elif kind == "mixture":
                layers.append(Mixture(channels, channels))
            else:
                layers.append(_layer(kind, channels))
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 4))

    return build


def _layer(kind, channels):
    return {
        "depthwise": lambda: nn.Conv2d(channels, channels, 3, padding=1, groups=channels),
        "norm": lambda: nn.BatchNorm2d(channels),
        "relu": nn.ReLU,
        "relu_": lambda: nn.Sequential(nn.Hardswish(), nn.ReLU(inplace=True)),
        "gelu": nn.GELU,
        "sigmoid": nn.Sigmoid,
        "dropout": lambda: nn.Dropout(0.3),
        "pool": lambda: nn.MaxPool2d(3, 1, 1),
        "average": lambda: nn.AvgPool2d(3, 1, 1),
    }[kind]()


def storage_bytes(tensors, without=()):
    """Return the bytes of the storages of tensors, each once."""
    known = {tensor.untyped_storage().data_ptr() for tensor in without}
    sizes = {item.untyped_storage().data_ptr(): item.untyped_storage().nbytes() for item in tensors}
    return sum(size for place, size in sizes.items() if place not in known)


@settings(max_examples=30, deadline=None)
@given(modules(), st.sampled_from(["sgd", "momentum", "adam", "rmsprop"]), st.integers(2, 5))
def test_every_kind_of_bytes_is_that_of_a_real_step(build, optimiser, batch):
    predicted = predict_training_memory(build, SHAPE, batch, optimiser)
    module, plan = build(), TrainingPlan(SHAPE, batch, optimiser)
    training, train = Training(module, plan), make_batch(plan)
    saved, gradients = [], []

    def observe(passed):
        if passed == "backward":
            gradients.extend(p.grad for p in module.parameters() if p.grad is not None)

    own = [*module.parameters(), *module.buffers()]
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        training.iterate(train, None, observe)
    assert predicted.weight_bytes == storage_bytes(own)
    assert predicted.gradient_bytes == storage_bytes(gradients)
    states = [item for state in training.optimisers[0].state.values() for item in state.values()]
    assert predicted.optimiser_bytes == storage_bytes(item for item in states if isinstance(item, torch.Tensor))
    assert predicted.input_bytes == storage_bytes(train)
    assert predicted.activation_bytes == storage_bytes(saved, without=[*own, *train]) + 4  # and the loss


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
@pytest.mark.parametrize("build", [supernet, lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 50), nn.Linear(50, 4))])
def test_the_peak_is_that_of_pytorchs_own_tracker(build, optimiser):
    from torch.distributed._tools.mem_tracker import MemTracker

    plan = TrainingPlan(SHAPE, 4, optimiser)
    with FakeTensorMode():
        module = build()
        training, train = Training(module, plan), make_batch(plan)
        training.prime()
        tracker = MemTracker()
        tracker.track_external(module, *training.optimisers, *train)
        with tracker:
            training.iterate(train)
    theirs = tracker.get_tracker_snapshot("peak")[torch.device("cpu")]["Total"]
    ours = predict_training_memory(build, SHAPE, 4, optimiser)
    # Theirs rounds nothing on a CPU and knows of no copies that an operator makes.
    assert theirs <= ours.peak_bytes
    assert ours.peak_bytes - ours.temporary_bytes <= theirs


def chain(depth):
    return nn.Sequential(*(nn.Sequential(nn.Linear(64, 64), nn.Sigmoid()) for _ in range(depth)), nn.Linear(64, 4))


def test_activations_grow_with_the_batch_and_nothing_else_does():
    one, two = (predict_training_memory(lambda: chain(4), (64,), batch, "adam") for batch in (500, 1000))
    assert (one.weight_bytes, one.gradient_bytes, one.optimiser_bytes) == (
        two.weight_bytes,
        two.gradient_bytes,
        two.optimiser_bytes,
    )
    assert two.activation_bytes == pytest.approx(2 * one.activation_bytes, rel=1e-3)
    assert two.peak_bytes > 1.8 * one.peak_bytes - two.weight_bytes * 4


def test_activations_are_gone_before_all_gradients_are_there():
    """A deep network of large weights: gradients come while activations go, so the peak is below their sum."""
    found = predict_training_memory(lambda: chain(30), (64,), 64, "sgd")
    everything = found.weight_bytes + found.gradient_bytes + found.activation_bytes + found.input_bytes
    assert found.weight_bytes + found.activation_bytes < found.peak_bytes < everything


@pytest.mark.parametrize("kind", [nn.Hardswish, nn.ReLU])
def test_what_works_in_place_takes_less(kind):
    def build(inplace):
        return lambda: nn.Sequential(*(nn.Sequential(nn.Conv2d(3, 3, 1), kind(inplace)) for _ in range(4)))

    spared, whole = (predict_training_memory(build(inplace), SHAPE, 16) for inplace in (True, False))
    assert spared.peak_bytes <= whole.peak_bytes
    if kind is nn.ReLU:  # its gradient needs only its result
        assert spared.activation_bytes == whole.activation_bytes


def test_an_architecture_step_of_the_second_order_holds_a_copy_of_the_weights():
    def build():
        return nn.Sequential(nn.Flatten(), nn.Linear(192, 2000), Scaled(), nn.Linear(2000, 4))

    none = predict_training_memory(build, SHAPE, 2, "sgd")
    first, second = (
        predict_training_memory(build, SHAPE, 2, "sgd", architecture_step=ArchitectureStep(order)) for order in (1, 2)
    )
    assert none.peak_bytes <= first.peak_bytes < second.peak_bytes
    # Beside the weights: their copy, and while it is made the gradient that it steps along and their product.
    assert 2.9 * none.weight_bytes < second.peak_bytes < 4.5 * none.weight_bytes
    assert second.optimiser_bytes > none.optimiser_bytes == 0  # adam of the architecture


class Scaled(nn.Module):
    """A part that an architecture parameter scales."""

    def __init__(self):
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1))

    def forward(self, x):
        return x * self.alpha


@pytest.mark.parametrize("order", [1, 2])
def test_a_real_architecture_step_moves_the_architecture_and_keeps_the_weights(order):
    torch.manual_seed(0)
    module = supernet()
    plan = TrainingPlan(SHAPE, 4, "sgd", ArchitectureStep(order))
    training = Training(module, plan)
    alone = copy.deepcopy(module)
    Training(alone, TrainingPlan(SHAPE, 4, "sgd", ArchitectureStep(1))).iterate(make_batch(plan))
    before = copy.deepcopy(module.state_dict())
    training.iterate(make_batch(plan), make_batch(plan))
    for (name, after), other in zip(module.state_dict().items(), alone.state_dict().values(), strict=True):
        if "alpha" in name:
            assert not torch.equal(after, before[name])
        else:  # as if the architecture had not been learnt, but for the rounding of going forth and back
            assert torch.allclose(after, other, atol=1e-5)
    assert all(parameter.grad is None for parameter in module.parameters())


def test_on_a_gpu_blocks_are_rounded_and_segments_kept():
    pytest.importorskip("torch")
    build = lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 50), nn.Linear(50, 4))  # noqa: E731
    cpu = predict_training_memory(build, SHAPE, 4)
    gpu = predict_training_memory(build, SHAPE, 4, device="cuda")
    assert gpu.weight_bytes == cpu.weight_bytes and gpu.gradient_bytes == cpu.gradient_bytes
    assert gpu.peak_bytes % 512 == 0 and gpu.reserved_bytes % (2 << 20) == 0
    assert gpu.peak_bytes <= gpu.reserved_bytes


class Asks(nn.Module):
    """A module that looks at a value."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x):
        return self.layer(x) if x.sum().item() > 0 else x


@pytest.mark.parametrize(
    ("build", "shape", "options", "said"),
    [
        (Asks, (3,), {}, "without values"),
        (lambda: nn.Linear(3, 3), (4,), {}, "without values"),
        (lambda: 1 / 0, (4,), {}, "ZeroDivisionError"),
        (nn.Identity, (4,), {}, "no parameters"),
        (lambda: nn.Linear(3, 3), (3,), {"batch": 0}, "no batch"),
        (lambda: nn.Linear(3, 3), (0,), {}, "no batch"),
        (lambda: nn.Linear(3, 3), (3,), {"device": "tpu"}, "cannot be predicted"),
        (lambda: nn.Linear(3, 3), (3,), {"architecture_step": ArchitectureStep()}, "architecture: alpha"),
    ],
)
def test_what_cannot_be_predicted_is_an_error(build, shape, options, said):
    with pytest.raises(UsageError, match=said):
        predict_training_memory(build, shape, **{"batch": 2, **options})


def test_an_unknown_optimiser_is_named():
    with pytest.raises(UnknownName, match="adm"):
        predict_training_memory(lambda: nn.Linear(3, 3), (3,), 2, "adm")


@pytest.mark.parametrize("values", [{"order": 3}, {"names": ()}])
def test_an_architecture_step_that_makes_no_sense(values):
    with pytest.raises(UsageError):
        ArchitectureStep(**values)


def test_a_calibration_is_what_small_networks_take_beside():
    found = calibrate([(100, 130), (300, 310)], "cpu", "torch")
    assert found.apply(1000) == 1020
    with pytest.raises(UsageError):
        calibrate([])


@given(st.integers(-(10**9), 10**10), st.floats(0.1, 10), st.text(max_size=9))
def test_a_calibration_survives_its_file(tmp_path_factory, offset, factor, device):
    path = tmp_path_factory.mktemp("calibration") / "cpu.json"
    calibration = Calibration(offset, factor, device, "torch")
    calibration.save(path)
    assert Calibration.load(path) == calibration


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"offset_bytes": "x", "factor": 1, "device": "", "software": ""}',
     '{"offset_bytes": 1, "factor": 0, "device": "", "software": ""}',
     '{"offset_bytes": 1, "factor": 1, "device": "", "software": "", "more": 1}'],
)  # fmt: skip
def test_what_is_no_calibration_is_refused(tmp_path, text):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(BadFile):
        Calibration.load(path)


def test_a_real_step_in_a_fresh_process_takes_what_was_predicted():
    """Large enough that a process's own buffers do not decide; they are not calibrated here."""
    arguments = {"in_features": 64, "out_features": 6000}
    plan = TrainingPlan((64,), 2000, "sgd")
    measured = measure_training_memory("torch.nn:Linear", arguments, plan)
    predicted = predict_training_memory(lambda: nn.Linear(**arguments), (64,), 2000)
    assert measured.peak_bytes == pytest.approx(predicted.peak_bytes, rel=0.15)
    assert measured.software == torch.__version__


def test_a_process_that_fails_says_why():
    with pytest.raises(DeviceError, match="cannot be measured") as raised:
        measure_training_memory("torch.nn:Linear", {"in_features": 4, "out_features": 4}, TrainingPlan((3,), 2))
    assert "mat1 and mat2" in str(raised.value)
    with pytest.raises(DeviceError, match="more than"):
        measure_training_memory("torch.nn:Linear", {}, TrainingPlan((3,), 2), timeout_s=0.05)


def test_the_answer_is_plain_json():
    found = predict_training_memory(lambda: nn.Linear(3, 3), (3,), 2).to_json()
    assert json.loads(json.dumps(found)) == found and found["peak_bytes"] > 0
