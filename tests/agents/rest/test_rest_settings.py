"""What the settings of ReST refuse; the keys are named."""

import pytest
from rest_kit import PUBLISHED, changed, rest_settings

from agents.rest.settings import RestSettings
from utils.settings import SettingError, keys_of, parse


@pytest.mark.parametrize(
    "change, key",
    [
        ({"num_skills": 1}, "num_skills"), ({"num_skills": 2.0}, "num_skills"), ({"epochs": 0}, "epochs"),
        ({"turn_iters": 0}, "turn_iters"), ({"method": "dads"}, "method"), ({"init": "none"}, "init"),
        ({"warmup_rollouts": -1}, "warmup_rollouts"), ({"ppo": {"hid_sizes": []}}, "ppo.hid_sizes"),
        ({"ppo": {"hid_sizes": 64}}, "ppo.hid_sizes"), ({"ppo": {"hid_sizes": [64, 10**6]}}, "ppo.hid_sizes"),
        ({"ppo": {"gamma": 1.5}}, "ppo.gamma"),
        ({"ppo": {"pi_lr": 0}}, "ppo.pi_lr"), ({"ppo": {"target_kl": -1.0}}, "ppo.target_kl"),
        ({"rnd": {"obs": "scaled"}}, "rnd.obs"), ({"rnd": {"alpha": 0.0}}, "rnd.alpha"),
        ({"rnd": {"fit_on": "all"}}, "rnd.fit_on"), ({"diayn": {"memory": 0}}, "diayn.memory"),
        ({"rnd": {"batch_size": 0}}, "rnd.batch_size"), ({"penalty_init": 0.1}, "penalty_init"),
    ],
)  # fmt: skip
def test_what_is_refused(change, key):
    with pytest.raises(SettingError, match=key.replace(".", r"\.")):
        rest_settings(change)


def test_what_is_read():
    settings = rest_settings()
    assert settings.plain() == PUBLISHED
    assert rest_settings({"ppo": {"target_kl": 0.01, "batch_size": 100}}).ppo.target_kl == 0.01


@pytest.mark.parametrize("key", sorted(keys_of(RestSettings)))
def test_every_key_is_needed(key):
    plain = changed(PUBLISHED)
    section, _, last = key.rpartition(".")
    del (plain[section] if section else plain)[last]
    with pytest.raises(SettingError, match=key):
        parse(RestSettings, plain)
