"""The contract of a builder, over every one that is found."""

import pytest

from hilnas import plugins
from profiler._artifacts import ArtifactStore
from profiler._plan import block_workloads, load_space, sample_workloads
from profiler.builders._base import Builder


@pytest.fixture(params=plugins.names("profiler.builders"))
def builder(request, tmp_path):
    return plugins.load("profiler.builders", request.param, Builder)(ArtifactStore(tmp_path / "artifacts"))


def test_the_same_workload_gives_the_same_content(builder):
    space = load_space("nasbench201")
    for workload in [*sample_workloads(space, 3, 0), *block_workloads(space)[:4]]:
        first, second = builder.build(workload), builder.build(workload)
        assert first == second and first.workload == workload


def test_different_architectures_have_different_content(builder):
    built = [builder.build(workload).sha256 for workload in sample_workloads(load_space("nasbench201"), 8, 1)]
    assert len(set(built)) == 8
