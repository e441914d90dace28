"""What an update shares with other processes: nothing, bit for bit, where there are none."""

import pytest
import torch
from torch import distributed

from agents.nn import across


def test_alone_everything_is_what_torch_makes_of_it():
    x = torch.randn(4, 3)
    for ours, torchs in (
        (lambda: across.rand_like(x, 0), lambda: torch.rand_like(x)),
        (lambda: across.randn_like(x, -2), lambda: torch.randn_like(x)),
        (lambda: across.own_rows(lambda n: torch.randint(9, (2, n)), 4, dim=1), lambda: torch.randint(9, (2, 4))),
    ):
        torch.manual_seed(0)
        one = ours()
        torch.manual_seed(0)
        assert torch.equal(one, torchs())
    for same in (across.total, across.average, across.whole, across.averaged, across.gathered):
        assert same(x) is x
    assert across.size() == 1 and across.first_row(5) == 0
    assert across.any_of(x.isnan().any()) == False  # noqa: E712
    assert all(map(torch.equal, across.moments(x), torch.var_mean(x, 0)))
    assert across.ratio(x.sum(), torch.tensor(0), least=1) == x.sum()


@pytest.fixture
def group(monkeypatch):
    """Two processes, of which the other has twice what this one has: sums are three times one's own."""

    def all_reduce(x):
        x.mul_(3)

    def all_gather(found, rows):
        found[0].copy_(rows)
        found[1].copy_(2 * rows)

    monkeypatch.setattr(distributed, "get_rank", lambda: 0)
    monkeypatch.setattr(distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(distributed, "all_reduce", all_reduce)
    monkeypatch.setattr(distributed, "all_gather", all_gather)
    with across.sharing():
        yield
    assert across.size() == 1


def test_of_two(group):
    x = torch.tensor([1.0, 3.0])
    assert across.size() == 2
    assert across.total(x).tolist() == [3, 9] and x.tolist() == [1, 3]
    assert across.average(x).tolist() == [1.5, 4.5]
    assert across.gathered(x).tolist() == [1, 3, 2, 6]
    assert across.any_of(torch.tensor(True)) and not across.any_of(torch.tensor(False))
    # (1, 3) and (2, 6), as if they were the batch
    value = torch.tensor([1.0, 3.0], requires_grad=True)
    mean = across.whole(value.mean())
    mean.square().backward()
    assert mean == 3 and value.grad.tolist() == [3, 3]  # 2 mean / own rows: to be averaged with the other's
    assert across.ratio(torch.tensor(4.0), torch.tensor(2), least=1) == 2 * 4 / 6


def test_moments_are_those_of_all_rows(group):
    rows = torch.tensor([[1.0], [3.0]])
    var, mean = across.moments(rows)
    # the other's mean is 2 * 2, and its spread about the common mean is taken to be twice this one's
    assert mean.item() == 3 and var.item() == pytest.approx(1.5 * (1 + 1) * 4 / 3)


def test_draws_are_made_for_all_and_a_share_is_taken(group):
    torch.manual_seed(0)
    own = across.own_rows(lambda n: torch.rand(3, n), 2, dim=1)
    torch.manual_seed(0)
    assert torch.equal(own, torch.rand(3, 4)[:, :2])
    torch.manual_seed(0)
    like = across.randn_like(torch.zeros(3, 2, 5), -2)
    torch.manual_seed(0)
    assert torch.equal(like, torch.randn(3, 4, 5)[:, :2])


def test_gradients_and_metrics_are_averaged(group):
    p, q = torch.zeros(2, requires_grad=True), torch.zeros(3, requires_grad=True)
    (p * torch.tensor([2.0, 4.0])).sum().backward()
    across.average_gradients([p, q])
    assert p.grad.tolist() == [3, 6] and q.grad is None
    assert across.averages({"a": torch.tensor(2), "b": torch.tensor(float("nan"))})["a"] == 3
