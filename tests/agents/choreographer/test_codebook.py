"""The codebook against NumPy: who is nearest, running means in both forms, and what replaces unused codes."""

import numpy as np
import pytest
import torch

from agents.choreographer.codebook import EPS, FAINT, Codebook

N, DIM, ROWS = 6, 3, 40


def rows(seed, count=ROWS, dim=DIM, spread=1.0):
    return spread * torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))


def nearest(points, codes):
    """Row by row and code by code."""
    return np.array([np.argmin([np.sqrt(((x - e) ** 2).sum()) for e in codes]) for x in points])


class Reference:
    """C, M and E in float64, by the equations."""

    def __init__(self, codes, decay, published):
        self.codes = codes.double().numpy().copy()
        self.total, self.decay, self.published = self.codes.copy(), decay, published
        self.mass = np.zeros(len(codes)) if published else np.ones(len(codes))
        self.used = np.zeros(len(codes))

    def step(self, points):
        index = nearest(points, self.codes)
        count = np.array([(index == k).sum() for k in range(len(self.codes))], float)
        sums = np.array([points[index == k].sum(0) for k in range(len(self.codes))])
        self.used += count
        kept = 1 - self.decay
        self.mass = self.decay * self.mass + kept * (np.maximum(count, 1) if self.published else count)
        self.total = self.decay * self.total + kept * sums
        whole = self.mass.sum()
        means = self.total / ((self.mass + EPS) / (whole + len(self.mass) * EPS) * whole)[:, None]
        stays = (self.mass <= FAINT) & (not self.published)
        self.codes = np.where(stays[:, None], self.codes, means)
        return index, count


@pytest.mark.parametrize("published", [False, True])
def test_running_means_of_several_updates(published):
    book = Codebook(N, DIM, decay=0.9, published=published)
    want = Reference(book.codes, 0.9, published)
    for seed in range(7):
        points = rows(seed, spread=0.3) + 0.5  # the codes start in the unit cube
        index, count = want.step(points.double().numpy())
        found = book.nearest(points)
        assert found.tolist() == index.tolist()
        assert book.absorb(points, found).tolist() == pytest.approx(count / len(points))
        for name in ("codes", "mass", "total", "used"):
            np.testing.assert_allclose(getattr(book, name).numpy(), getattr(want, name), rtol=2e-5, atol=1e-6)
    assert (want.used == 0).sum() > 0 or want.used.min() > 0


def test_an_unused_code_stays_where_it_is_and_the_published_form_throws_it_out():
    """By 1 / (1 - decay) - 1 = 99 at the first step."""
    points = torch.full((ROWS, DIM), 0.5) + rows(0, spread=0.01)
    for published in (False, True):
        book = Codebook(64, DIM, published=published)
        start = book.codes.clone()
        index = book.nearest(points)
        unused = torch.ones(64, dtype=torch.bool)
        unused[index] = False
        assert unused.sum() > 50
        book.absorb(points, index)
        growth = (book.codes[unused] / start[unused]).mean().item()
        assert growth == pytest.approx(98.96, abs=0.05) if published else growth == pytest.approx(1, abs=1e-4)


def test_an_unused_code_stays_however_long_it_is_unused():
    book = Codebook(N, DIM)
    start, points = book.codes.clone(), torch.full((ROWS, DIM), 9.0)
    index = book.nearest(points)
    for _ in range(1200):
        book.absorb(points, index)
    others = [k for k in range(N) if k != index[0]]
    torch.testing.assert_close(book.codes[others], start[others], rtol=0.02, atol=0)
    torch.testing.assert_close(book.codes[index[0]], points[0])


def placed(codes, used, published=False):
    book = Codebook(len(codes), len(codes[0]), published=published)
    book.codes.copy_(torch.tensor(codes))
    book.total.copy_(5 * book.codes)
    book.mass.fill_(5.0)
    book.used.copy_(torch.tensor(used))
    return book


def test_replacements_are_drawn_with_probabilities_linear_in_the_distance():
    """Rows at distances 1, 2 and 5 of the only used code."""
    candidates = torch.tensor([[1.0], [2.0], [-5.0]])
    drawn = []
    for _ in range(1500):
        book = placed([[0.0], [100.0]], [3.0, 0.0])
        book.recount(candidates)
        drawn.append(book.codes[1].item())
        assert book.codes[0].item() == 0
    # the unused code is one of those that distances are taken to
    shares = [drawn.count(value) / len(drawn) for value in (1.0, 2.0, -5.0)]
    np.testing.assert_allclose(shares, [1 / 8, 2 / 8, 5 / 8], atol=3 * 0.5 / 1500**0.5)


def replaced_by_hand(book, candidates, uniform):
    """In index order; the distances of every draw are to the codes as they are by then."""
    codes, points = book.codes.double().numpy().copy(), candidates.double().numpy()
    taken = {}
    for k in np.flatnonzero(book.used.numpy() == 0):
        distance = np.array([min(np.sqrt(((x - e) ** 2).sum()) for e in codes) for x in points])
        share = np.cumsum(distance / distance.sum())
        taken[int(k)] = int(np.argmax(share > uniform[k]))
        codes[k] = points[taken[int(k)]]
    return codes, taken


@pytest.mark.parametrize("published", [False, True])
def test_later_draws_know_the_codes_replaced_before_them(published, monkeypatch):
    used = [2.0, 0.0, 0.0, 7.0, 0.0, 0.0]
    for seed in range(5):
        book = placed(rows(seed, N).tolist(), used, published)
        candidates, uniform = rows(seed + 50, 8), rows(seed + 99, N, 1)[:, 0].sigmoid()
        codes, taken = replaced_by_hand(book, candidates, uniform.numpy())
        before = book.codes.clone(), book.total.clone()
        with monkeypatch.context() as patch:
            patch.setattr(torch, "rand", lambda *_, drawn=uniform, **__: drawn)
            book.recount(candidates)
        np.testing.assert_allclose(book.codes.numpy(), codes, rtol=1e-5)
        assert (book.unused.item(), book.replaced.item()) == (4, 4) and not book.used.any()
        for k in range(N):
            if k in taken:
                assert torch.equal(book.total[k], candidates[taken[k]])
                assert book.mass[k] == (5 if published else 1)
            else:
                assert torch.equal(book.codes[k], before[0][k]) and torch.equal(book.total[k], before[1][k])
                assert book.mass[k] == 5


def test_where_all_rows_lie_on_codes_nothing_is_replaced():
    book = placed([[0.0, 0.0], [1.0, 0.0], [3.0, 3.0]], [4.0, 4.0, 0.0])
    book.recount(torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 0.0]]))
    assert (book.unused.item(), book.replaced.item()) == (1, 0)
    assert book.codes[2].tolist() == [3, 3] and book.mass[2] == 5


def test_two_different_rows_for_three_unused_codes():
    """The third finds all rows on codes."""
    book = placed([[0.0], [50.0], [60.0], [70.0]], [1.0, 0.0, 0.0, 0.0])
    book.recount(torch.tensor([[1.0], [2.0], [1.0]]))
    assert sorted(book.codes[1:3, 0].tolist()) == [1, 2] and book.codes[3].item() == 70
    assert (book.unused.item(), book.replaced.item()) == (3, 2)


def test_without_rows_it_only_counts():
    book = placed([[0.0], [1.0]], [3.0, 0.0])
    codes = book.codes.clone()
    assert Codebook(2, 1).unused == 2  # nobody has counted yet
    book.recount(None)
    assert (book.unused.item(), book.replaced.item()) == (1, 0)
    assert torch.equal(book.codes, codes) and not book.used.any()
