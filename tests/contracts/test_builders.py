"""The contract of a builder, over every one that is found."""

import pytest

from devices._errors import RuntimeMissing
from hilnas import plugins
from profiler._artifacts import ArtifactStore
from profiler._plan import block_workloads, load_space, sample_workloads
from profiler.builders._base import Builder

SMALL = '{"depth":1,"width":8}'


@pytest.fixture(params=plugins.names("profiler.builders"))
def builder(request, tmp_path):
    try:
        return plugins.load("profiler.builders", request.param, Builder)(ArtifactStore(tmp_path / "artifacts"))
    except RuntimeMissing as missing:
        pytest.skip(str(missing))


def test_the_same_workload_gives_the_same_content(builder):
    space = load_space("nasbench201", SMALL)
    for workload in [*sample_workloads(space, 3, 0), *block_workloads(space)[:4]]:
        first, second = builder.build(workload), builder.build(workload)
        assert first == second and first.workload == workload


def test_different_architectures_have_different_content(builder):
    workloads = sample_workloads(load_space("nasbench201", SMALL), 8, 1)
    built = [builder.build(workload).sha256 for workload in workloads]
    assert len(set(built)) == 8
