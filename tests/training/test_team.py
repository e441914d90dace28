"""Updates of two processes that share a batch, against those of one that has it to itself."""

import pytest
import torch
from kill_kit import Killed, differing, kill_at
from team_kit import apart, batch_for, build, compared, settings_for

from agents.nn.soft_modular import UnitNorm
from entry.start import launch
from training.learner import NumericalFault
from training.off_policy import OffPolicyRun
from training.shared_learner import SharedLearner, build_learner
from utils.config import CONFIGS
from utils.errors import UserError

NAMES = sorted(path.stem for path in (CONFIGS / "agent").glob("*.yaml"))
ROWS = [(name,) for name in [*NAMES, "drq", "drq_diayn", "dreamer:finetune", "choreo:finetune", "aps_dreamer:finetune"]]
ROWS += [(f"drq_{method}",) for method in ("metra", "cic", "rnd", "apt")]
ROWS += [("choreo", "agent.resample_every=6"), ("apt_dreamer", "agent.knn_rms=true")]
ROWS += [("rnd_dreamer", "agent.batch_statistics=true"), ("dreamer", "actor.dist=truncated_normal")]
ROWS += [("dreamer", "configs=dmc_states", "state_norm=running")]
ORDINARY = [("choreo", "agent.resample_every=6"), ("deviation_dreamer",), ("drq_diayn",)]

OF_ONE_SHARE = {"skill_spread", "skill_skill_spread", "skills_updated"}
"""Metrics of some rows of every process, which are not the same rows as those of one."""


@pytest.mark.parametrize(
    "row", [pytest.param(row, marks=() if row in ORDINARY else pytest.mark.long) for row in ROWS], ids="-".join
)
def test_twenty_updates_of_two_processes_are_those_of_one(row):
    """To the rounding of float32, statistics and metrics included."""
    name, *more = row
    found = compared(name, 20, *more)
    # batch normalisation takes away the gradient of some directions, and Adam makes steps of the rounding that is left
    # (see the next test): 1 % of what such a weight has moved
    bound = 1e-4 if name == "deviation_dreamer" else 2e-5
    assert found.moved > 1e-3 and found.weights < bound
    for key, (one, two) in found.logged.items():
        if key not in OF_ONE_SHARE:
            assert two == pytest.approx(one, rel=1e-3 if bound > 2e-5 else 1e-4, abs=1e-4), key


def test_batch_normalisation_by_parts_is_torchs():
    """In values, gradients, running statistics."""
    torch.manual_seed(0)
    rows = torch.randn(12, 3, 5) * 2 + 1
    found = []
    for by_parts in (False, True):
        norm = UnitNorm(3, 5, bias=True)
        torch.nn.init.normal_(norm.weight)
        x = rows.clone().requires_grad_()
        torch.manual_seed(1)
        torch.nn.init.normal_(norm.weight)
        out = norm._of_all(x.flatten(1)).view_as(x) if by_parts else norm(x)
        (out * torch.arange(15.0).view(3, 5)).square().sum().backward()
        found.append((out, x.grad, norm.weight.grad, norm.bias.grad, norm.running_mean, norm.running_var))
        assert norm.num_batches_tracked == 1
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=2e-3)


def test_half_of_the_batch_alone_leads_elsewhere():
    """What the comparison would show if nothing were shared."""
    settings, phase = settings_for("drq")
    whole, half = build(settings, phase), build(settings, phase)
    for k in range(5):
        batch = batch_for(whole, settings, k)
        for agent, rows in ((whole, 4), (half, 2)):
            torch.manual_seed(k)
            agent.update({key: value[:rows] for key, value in batch.items()})
    assert apart(whole, half) > 1e-3


class Batches:
    """Stands for a replay: batches by number; those of ``bad`` have a reward that is no number."""

    class Sampler:
        state = 0

    def __init__(self, agent, settings, bad):
        self.agent, self.settings, self.bad, self.sampler = agent, settings, bad, self.Sampler()

    def sample(self):
        self.sampler.state += 1
        batch = batch_for(self.agent, self.settings, self.sampler.state)
        if self.sampler.state == self.bad:
            batch["reward"][-1] = float("nan")  # in the follower's share alone
        return batch


def test_a_bad_update_is_taken_back_everywhere_and_a_follower_that_ends_is_named():
    settings, phase = settings_for("drq", "num_gpus=2")
    found = []
    for count in (1, 2):
        agent = build(settings, phase)
        replay = Batches(agent, settings, bad=3)
        spec = {"observation": [[3, settings.image_size, settings.image_size], "|u1"], "action": [[6], "<f4"]}
        learner = build_learner(settings.model_copy(update={"num_gpus": count}), agent, replay, spec, phase)
        try:
            torch.manual_seed(3)
            for _ in range(2):
                learner.update()
            with pytest.raises(NumericalFault):
                learner.update()
            assert agent.updates == 2
            learner.skip()
            for _ in range(3):
                learner.update()
            assert isinstance(learner, SharedLearner) == (count == 2)
            found.append({name: p.detach().clone() for name, p in agent.named_parameters()})
            if isinstance(learner, SharedLearner):
                (follower,) = learner._team._processes
                follower.kill()
                follower.join()
                with pytest.raises(UserError, match="num_gpus=2.*-9"):
                    learner.update()
        finally:
            learner.close()
    assert max((found[0][name] - found[1][name]).abs().max() for name in found[0]) < 1e-6


@pytest.mark.long
def test_a_run_of_two_processes_is_resumed_bit_for_bit(settings, tmp_path, monkeypatch):
    """Its checkpoint holds nothing of the followers: they have what it has."""
    words = ("preset=debug", "device=cpu", "num_gpus=2", "num_skills=3", "save_video=false", "log_save_tb=false")
    config = settings("drq", *words, "progress=false", "num_train_steps=310")
    whole = launch(config, tmp_path / "whole", "drq")
    monkeypatch.setattr(OffPolicyRun, "checkpoint_due", lambda self, ended: self.step == 260)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_at(patch, 80)
        launch(config, tmp_path / "killed", "drq")
    resumed = launch(config, tmp_path / "killed", "drq", resume=True)
    assert resumed.updates == whole.updates > 80
    assert not differing(whole.agent.training_state(), resumed.agent.training_state())
    alone = launch(config | {"num_gpus": 1}, tmp_path / "alone", "drq")
    assert 0 < apart(alone.agent, whole.agent) < 1e-3
