"""A toy space with decisions of different sizes, builders of problems and evaluations, and the command `search`."""

import json
import shutil
from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from hilnas.cli import cli
from hilnas.errors import UsageError
from hilnas.records import Architecture, Constraint
from search_spaces._base import SearchSpace
from search_spaces._graph import Block, Call, Graph, Operator, TensorSpec
from searchers._problem import Evaluation, Problem

SPEC = TensorSpec((1, 2, 4, 4))


class ToySpace(SearchSpace):
    """Chains of 1x1 convolutions: decision 0 says how many (0: disconnected), the others only name variants."""

    name = "toy"

    @property
    def options(self) -> Mapping[str, Any]:
        return {}

    @property
    def cardinalities(self):
        return (4, 2, 3)

    @property
    def input_shape(self):
        return SPEC.shape

    def architecture(self, decisions):
        if len(decisions) != 3 or any(not 0 <= item < n for item, n in zip(decisions, (4, 2, 3), strict=True)):
            raise UsageError(f"{decisions} lie outside")
        return Architecture("toy", tuple(decisions), "toy:" + "".join(map(str, decisions)))

    def parse(self, text):
        return self.architecture(tuple(map(int, text.removeprefix("toy:"))))

    def sample(self, rng: np.random.Generator):
        return self.architecture((int(rng.integers(1, 4)), int(rng.integers(2)), int(rng.integers(3))))

    def mutate(self, architecture, rng):
        while True:
            place = int(rng.integers(3))
            decisions = list(architecture.decisions)
            decisions[place] = int(rng.integers(self.cardinalities[place]))
            if decisions[0] and tuple(decisions) != architecture.decisions:
                return self.architecture(tuple(decisions))

    def enumerate(self) -> Iterator[Architecture]:
        return map(self.architecture, product(range(4), range(2), range(3)))

    def graph(self, architecture):
        conv = Operator("conv", "conv2d", ("in0",), SPEC, SPEC)
        zeros = Block("zeros", (), (Operator("zeros", "zeros", (), SPEC, SPEC),))
        n = architecture.decisions[0]
        if n == 0:
            return Graph(SPEC, (Call("zeros", zeros, ()),))
        block = Block("conv", (SPEC,), (conv,))
        names = ["input", *(f"c{i}" for i in range(n))]
        return Graph(SPEC, tuple(Call(names[i + 1], block, (names[i],)) for i in range(n)))

    def canonical(self, architecture):
        return str(architecture.decisions[0])

    def encode(self, architecture):
        return np.array(architecture.decisions, dtype=float)

    def blocks(self):
        return ()


@pytest.fixture
def toy():
    return ToySpace()


@pytest.fixture
def problem():
    """Return a builder of problems on the toy space."""

    def build(limit_s=2.0, evaluations=20, seed=0, metric="latency", confidence=None):
        return Problem("toy", (Constraint(metric, limit_s, confidence),), evaluations, seed)

    return build


@pytest.fixture
def evaluation(toy):
    """Return a builder of evaluations on the toy space."""

    def build(text="111", score=1.0, latency_s=1.0, limit_s=2.0, cause=None):
        costs = {"latency": latency_s}
        return Evaluation(toy.parse(text), score, costs, costs, cause is None and latency_s <= limit_s, cause)

    return build


@pytest.fixture
def workspace(tables, tmp_path):
    """Return a copy of the workspace that the module's own fixture `tables` has filled."""
    shutil.copytree(tables, tmp_path / "w")
    return tmp_path / "w"


@pytest.fixture
def search(workspace):
    """Return a function that runs `hilnas search` and returns its JSON answer."""

    def run(*arguments):
        result = CliRunner().invoke(cli, ["--workspace", str(workspace), "search", *arguments, "--json"])
        if result.exception:
            raise result.exception
        return json.loads(result.stdout)

    return run
