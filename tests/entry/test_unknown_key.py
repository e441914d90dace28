"""Keys and groups of another script: the answer names it."""

import pytest

from entry.cli import check_overrides, present_names
from utils.errors import UserError


@pytest.mark.parametrize(
    ("script", "argument", "answer"),
    [
        ("pretrain", "drq_preset=small", "there is no key drq_preset. Did you mean"),
        ("drq", "preset=quickstart", "preset=quickstart is not known. Allowed: debug, published, small."),
        (
            "drq",
            "agent=dreamer",
            "drq_train.py has no agent=. dreamer_pretrain.py, offline_train.py and dreamer_finetune.py have it.",
        ),
        ("drq", "agent=dreamer,icm_dreamer", "drq_train.py has no agent=."),
        ("drq", "configs=dmc_pixels", "drq_train.py has no configs=."),
        ("drq", "~configs", "drq_train.py has no configs=."),
        ("finetune", "drq_preset=debug", "there is no key drq_preset."),
        ("pretrain", "framestack=3", "framestack is a key of drq_train.py. --cfg"),
        ("drq", "num_seed_frames=5", "num_seed_frames is a key of dreamer_pretrain.py and dreamer_finetune.py. --cfg"),
        (
            "drq",
            "kl.free=5",
            "kl.free is a key of dreamer_pretrain.py, offline_train.py and dreamer_finetune.py. --cfg",
        ),
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
        ("drq", ["--multirun", "preset=small,debug", "hydra/launcher=basic"]),
        ("pretrain", ["preset=debug", "agent=icm_dreamer", "configs=dmc_pixels"]),
        ("drq", ["+configs=dmc_pixels"]),  # what is added is checked later
    ],
)
def test_groups_that_are_there_pass(script, arguments):
    check_overrides(script, arguments)


def test_the_former_name_of_drqs_presets_is_read_with_a_note(capsys):
    words = [
        "drq_preset=debug,small",
        "+drq_preset=a",
        "~drq_preset",
        "seed=1",
        "project_name=drq_preset=x",
        "drq_presets=1",
    ]
    expected = ["preset=debug,small", "+preset=a", "~preset", *words[3:]]
    assert present_names("drq", words) == expected
    notes = capsys.readouterr().err.splitlines()
    assert len(notes) == 3
    assert all(old in note and new in note for note, old, new in zip(notes, words, expected, strict=False))
    assert present_names("pretrain", words) == words
    assert capsys.readouterr().err == ""
