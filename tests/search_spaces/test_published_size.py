"""The views of NAS-Bench-201 at the published size, on many cells: fewer of them without --slow."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from fvcore.nn import FlopCountAnalysis, parameter_count

from search_spaces._costs import static_costs
from search_spaces._onnx import to_onnx
from search_spaces._torch import to_module
from search_spaces._weights import make_weights
from search_spaces.nasbench201 import NasBench201

SPACE = NasBench201()
SLOW_200 = pytest.param(200, marks=pytest.mark.slow)


pytestmark = pytest.mark.usefixtures("one_thread")


def random_weights(graph, seed):
    """Return weights with random normalisations: scale and variance around 1, shift and mean around 0."""
    rng = np.random.default_rng(seed)
    weights = make_weights(graph, seed)
    for name, values in weights.items():
        part = name.rsplit(".", 1)[1]
        if values.ndim == 1:
            around = 1.0 if part == "running_var" or part == "weight" else 0.0
            weights[name] = (around + rng.uniform(-0.5, 0.5, values.shape)).astype(np.float32)
    return weights


@pytest.mark.parametrize("n", [25, SLOW_200])
def test_torch_and_onnx_agree(n):
    """Within 1e-4 of the largest output: float32 sums in another order."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    for seed, architecture in enumerate(SPACE.sample_distinct(n, seed=11)):
        graph = SPACE.graph(architecture)
        weights = random_weights(graph, seed)
        model = to_onnx(graph, weights)
        onnx.checker.check_model(onnx.load_model_from_string(model), full_check=True)
        x = np.random.default_rng(seed).standard_normal(graph.input.shape, dtype=np.float32)
        with torch.no_grad():
            expected = to_module(graph, weights).eval()(torch.from_numpy(x)).numpy()
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        got = session.run(["output"], {"input": x})[0]
        assert np.abs(got - expected).max() <= 1e-4 * max(1.0, np.abs(expected).max()), architecture


@pytest.mark.parametrize("n", [15, SLOW_200])
def test_costs_equal_fvcore(n):
    """Exactly, dead calls included: the module adds what they give with weight zero, so that tracing keeps them."""
    for architecture in SPACE.sample_distinct(n, seed=12):
        graph = SPACE.graph(architecture)
        module = to_module(graph).eval()
        analysis = FlopCountAnalysis(module, torch.zeros(SPACE.input_shape))
        counted = analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).by_operator()
        costs = static_costs(graph)
        assert costs.macs == counted["conv"] + counted["linear"]
        assert costs.params == parameter_count(module)[""]


@pytest.mark.parametrize("cell", [(3, 2, 3, 2, 0, 0), (0, 0, 3, 3, 3, 3), (3,) * 6])
def test_costs_equal_what_the_module_runs(cell):
    """Counted while the layers run, so that the dead ones count as well."""
    graph = SPACE.graph(SPACE.architecture(cell))
    macs = []

    def count(layer, inputs, output):
        macs.append(output.numel() * layer.weight[0].numel())

    module = to_module(graph).eval()
    for layer in module.modules():
        if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear):
            layer.register_forward_hook(count)
    with torch.no_grad():
        module(torch.zeros(SPACE.input_shape))
    assert static_costs(graph).macs == sum(macs)


@pytest.mark.parametrize(
    ("dataset", "options"), [("cifar100", {"classes": 100}), ("imagenet16_120", {"classes": 120, "resolution": 16})]
)
def test_pruned_costs_match_the_reference_table(nb201_cost, dataset, options):
    """On connected cells of the other data sets; the table adds the bias of the classifier, one a class."""
    space = NasBench201(**options)
    rows = [row for row in nb201_cost if row["connected"] == "1"]
    for i in np.random.default_rng(0).choice(len(rows), 1500, replace=False):
        graph = space.graph(space.parse(rows[i]["arch_str"]))
        for view, column in ((graph.without_dead(), "macs_out"), (graph.live(), "macs_live")):
            assert static_costs(view).macs == int(rows[i][f"{column}_{dataset}"]) - space.options["classes"]
