"""``precision``: where bfloat16 is used, and that what is computed with it is what float32 gives, but for rounding."""

import pytest
import torch
from agent_kit import make_agent, make_batch, tiny

from utils.config import CONFIGS

AGENTS = sorted(path.stem for path in (CONFIGS / "agent").glob("*.yaml"))


@pytest.mark.parametrize("precision, low", [("16", False), ("32", False), ("bf16", True)])
def test_a_cpu_computes_in_float32_unless_told_otherwise(precision, low):
    agent = make_agent(tiny("pretrain", f"precision={precision}"))
    rssm, seen = agent.world_model.rssm, []
    rssm.prior_net[0].register_forward_hook(lambda _, __, out: seen.append(out.dtype))
    step = rssm.forward_step

    def watched(*given):
        found = step(*given)
        assert found.deter.dtype == found.probs.dtype == torch.float32
        seen.append(found.logits.dtype)
        return found

    rssm.forward_step = watched
    agent.update(make_batch())
    assert set(seen) == {torch.bfloat16 if low else torch.float32} and len(seen) > 10


@pytest.mark.parametrize("name", AGENTS)
def test_low_precision_gives_the_same_losses_but_for_rounding(name):
    found = {}
    for precision in ("32", "bf16"):
        agent = make_agent(tiny("pretrain", f"agent={name}", "domain=walker", f"precision={precision}"))
        batch = make_batch()
        if agent.skill_dim:
            torch.manual_seed(3)
            skill = agent.skills.draw(18).reshape(3, 6, -1)
            batch |= {"skill": skill, "skill_valid": torch.ones(3, 6, dtype=torch.bool)}
        torch.manual_seed(1)
        found[precision] = agent.update(batch).logged
        assert all(p.dtype == torch.float32 for p in agent.parameters())
        assert all(torch.isfinite(value) for value in found[precision].values())
    for key in (key for key in found["32"] if key.endswith("_loss")):
        torch.testing.assert_close(found["bf16"][key].float(), found["32"][key], rtol=0.05, atol=0.05, msg=key)
