import torch

from agents.skills import NoSkills, OneHot, UnitSphere

CPU = torch.device("cpu")


def test_no_skills():
    assert NoSkills().dim == 0
    assert NoSkills().sample(5, CPU).shape == (5, 0)


def test_one_hot_skills_are_uniform():
    space = OneHot(5)
    sample = space.sample(50_000, CPU)
    assert space.dim == 5 and sample.shape == (50_000, 5) and sample.dtype == torch.float32
    assert set(sample.unique().tolist()) == {0.0, 1.0} and (sample.sum(-1) == 1).all()
    assert ((sample.mean(0) - 0.2).abs() < 5 * (0.16 / 50_000) ** 0.5).all()


def test_directions_are_uniform():
    space = UnitSphere(3)
    sample = space.sample(50_000, CPU)
    assert space.dim == 3 and sample.shape == (50_000, 3)
    torch.testing.assert_close(sample.norm(dim=-1), torch.ones(50_000))
    # of a uniform direction in three dimensions every coordinate is uniform in [-1, 1]
    assert (sample.mean(0).abs() < 0.02).all()
    assert ((sample.square().mean(0) - 1 / 3).abs() < 0.02).all()
    assert ((sample.abs() < 0.5).float().mean(0) - 0.5).abs().max() < 0.02
