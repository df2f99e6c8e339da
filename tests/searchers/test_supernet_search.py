"""Steps of differentiable searches: what moves, what is mixed, and that a seed decides everything."""

import numpy as np
import pytest
import torch

from search_spaces.darts import Darts
from search_spaces.nasbench201 import NasBench201
from searchers._supernet_search import DARTS, DCA_NAS, PC_DARTS, SupernetSearch

pytestmark = pytest.mark.usefixtures("one_thread")

SPACES = {
    "darts": Darts(width=8, cells=3, resolution=8, classes=4),
    "nasbench201": NasBench201(width=8, depth=1, resolution=8, classes=4),
}
METHODS = {"darts": DARTS, "pc_darts": PC_DARTS, "dca_nas": DCA_NAS}


@pytest.fixture(params=SPACES)
def space(request):
    return SPACES[request.param]


@pytest.fixture(params=METHODS)
def method(request):
    return METHODS[request.param]


def batches(seed):
    """Return endless batches whose class is where the picture is bright."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        labels = torch.randint(4, (16,), generator=generator)
        images = torch.randn(16, 3, 8, 8, generator=generator)
        for image, label in zip(images, labels.tolist(), strict=True):
            image[:, 4 * (label // 2) : 4 * (label // 2) + 4, 4 * (label % 2) : 4 * (label % 2) + 4] += 2.0
        yield images, labels


def run(search, steps, penalty=None):
    training, validation = batches(0), batches(1)
    return [search.step(next(training), next(validation), 0.1, penalty) for _ in range(steps)]


def test_a_search_learns(method):
    losses = run(SupernetSearch(SPACES["nasbench201"], method), 30)
    assert np.mean([item.training for item in losses[-5:]]) < 0.7 * losses[0].training


def test_the_seed_decides_everything(space, method):
    first, second, other = (SupernetSearch(space, method, seed) for seed in (3, 3, 4))
    losses = run(first, 3)
    assert losses == run(second, 3) != run(other, 3)
    assert all(np.array_equal(one, other) for one, other in zip(first.shares, second.shares, strict=True))
    assert first.derive() == second.derive()
    assert all(share.sum() == pytest.approx(1.0) for share in first.shares)


def test_a_step_in_the_shares_moves_no_weight_and_one_in_the_weights_no_share(space, method):
    search = SupernetSearch(space, method)
    batch = next(batches(0))
    weights, shares = [item.clone() for item in search.module.parameters()], search.shares
    search.step_in_shares(batch, batch, 0.1)
    assert all(torch.equal(one, other) for one, other in zip(weights, search.module.parameters(), strict=True))
    moved = search.shares
    assert any(not np.array_equal(one, other) for one, other in zip(shares, moved, strict=True))
    search.step_in_weights(batch, 0.1)
    assert any(not torch.equal(one, other) for one, other in zip(weights, search.module.parameters(), strict=True))
    assert all(np.array_equal(one, other) for one, other in zip(moved, search.shares, strict=True))


def test_a_penalty_pulls_the_shares(space):
    search = SupernetSearch(space, DCA_NAS)
    run(search, 10, penalty=lambda shares: -100.0 * sum(row[1] for row in shares[:6]))
    free = SupernetSearch(space, DCA_NAS)
    run(free, 10)
    assert all(pulled[1] > unpulled[1] for pulled, unpulled in zip(search.shares[:6], free.shares[:6], strict=True))


def test_only_the_first_cell_of_each_kind_is_mixed_in_dca_nas():
    search = SupernetSearch(SPACES["darts"], DCA_NAS)
    assert search.graph.kinds == ("normal", "reduction", "reduction")
    assert search._derived == [2]
    assert SupernetSearch(SPACES["darts"], DARTS)._derived == []
