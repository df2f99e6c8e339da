"""Our Adam takes the steps of torch's."""

import pytest
import torch

from searchers._torch import Adam


@pytest.mark.parametrize("beta_1", [0.9, 0.5])
def test_the_steps_are_those_of_torch(beta_1):
    torch.manual_seed(0)
    start = [torch.randn(4, 3), torch.randn(5)]
    ours, theirs = ([torch.nn.Parameter(item.clone()) for item in start] for _ in range(2))
    adam, reference = Adam(ours, 5e-3, beta_1), torch.optim.Adam(theirs, lr=5e-3, betas=(beta_1, 0.999))
    for step in range(50):
        x = torch.randn(3)
        adam.step(((ours[0] @ x) ** 2).sum() + (ours[1] - step).abs().sum())
        reference.zero_grad()
        (((theirs[0] @ x) ** 2).sum() + (theirs[1] - step).abs().sum()).backward()
        reference.step()
        for mine, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6)


def test_a_state_continues_where_it_was_taken():
    parameters, copies = ([torch.nn.Parameter(torch.ones(3))] for _ in range(2))
    first, second = Adam(parameters, 0.1), Adam(copies, 0.1)
    first.step((parameters[0] ** 2).sum())
    with torch.no_grad():
        copies[0].copy_(parameters[0])
    second.load_state(first.state())
    for adam, values in ((first, parameters), (second, copies)):
        adam.step((values[0] ** 2).sum())
    assert torch.equal(parameters[0], copies[0])
