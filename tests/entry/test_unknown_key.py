"""Keys and groups of another script: the answer names it."""

import pytest

from entry.cli import check_overrides
from utils.errors import UserError


@pytest.mark.parametrize(
    ("script", "argument", "answer"),
    [
        (
            "pretrain",
            "drq_preset=small",
            "drq_preset=small: dreamer_pretrain.py has no drq_preset=. drq_train.py has it. Here it is preset=.",
        ),
        (
            "drq",
            "preset=small",
            "preset=small: drq_train.py has no preset=. dreamer_pretrain.py and dreamer_finetune.py have it. "
            "Here it is drq_preset=.",
        ),
        (
            "drq",
            "agent=dreamer",
            "agent=dreamer: drq_train.py has no agent=. dreamer_pretrain.py and dreamer_finetune.py have it.",
        ),
        ("drq", "preset=nonsense", "drq_train.py has no preset=."),
        ("drq", "preset=debug,small", "drq_train.py has no preset=."),
        ("drq", "configs=dmc_pixels", "drq_train.py has no configs=."),
        ("drq", "~preset", "drq_train.py has no preset=."),
        ("finetune", "drq_preset=debug", "dreamer_finetune.py has no drq_preset=. drq_train.py has it."),
        ("pretrain", "framestack=3", "framestack is a key of drq_train.py. --cfg"),
        ("drq", "batch_length=50", "batch_length is a key of dreamer_pretrain.py and dreamer_finetune.py. --cfg"),
        ("drq", "planner.horizon=5", "planner.horizon is a key of dreamer_pretrain.py and dreamer_finetune.py. --cfg"),
        ("drq", "snapshot_ts=100", "snapshot_ts is a key of dreamer_finetune.py. --cfg"),
        # of another script, and near to keys of this one
        ("pretrain", "lr=3e-4", "lr is a key of drq_train.py. Did you mean model_opt.lr or actor_opt.lr or"),
        ("drq", "defaults=3", "there is no key defaults."),
    ],
)
def test_the_script_that_has_it_is_named(script, argument, answer):
    with pytest.raises(UserError) as caught:
        check_overrides(script, [argument])
    assert answer in str(caught.value)


@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        ("drq", ["drq_preset=small", "hydra/launcher=basic"]),
        ("pretrain", ["preset=debug", "agent=icm_dreamer", "configs=dmc_pixels"]),
        ("finetune", ["+drq_preset=small"]),  # a group that is added: what it sets is checked later
    ],
)
def test_groups_that_are_there_pass(script, arguments):
    check_overrides(script, arguments)
