"""Which snapshot fine-tuning starts from, and whether it fits."""

import shlex
from types import SimpleNamespace

import pytest
import torch
from contents_kit import SPEC, write_snapshot
from settings_kit import typed

from entry.scripts import SCRIPTS
from training.fitting import check_fits
from training.parts import build_agent
from training.pretrained import Pretrained, find_snapshot, load_pretrained, read_source
from utils.errors import UserError
from utils.settings import SettingError


class Loader(SimpleNamespace):
    """An agent that records what it was given."""

    def load_snapshot(self, modules, **flags):
        self.modules, self.flags = modules, flags


def test_missing_snapshot_lists_those_that_exist(tmp_path):
    folder = tmp_path / "pixels" / "walker" / "dreamer" / "1"
    with pytest.raises(UserError, match=r"(?s)snapshot_ts=500\b.*snapshot_ts=0"):
        find_snapshot(folder, 500, tmp_path)
    write_snapshot(folder / "snapshot_2000.pt")
    write_snapshot(folder / "snapshot_100000.pt")
    with pytest.raises(UserError, match="snapshot_ts=2000 or snapshot_ts=100000"):
        find_snapshot(folder, 500, tmp_path)
    with pytest.raises(UserError, match="snapshot_2000.pt"):
        find_snapshot(tmp_path / "pixels" / "walker" / "dreamer" / "2", 2000, tmp_path)
    assert find_snapshot(folder, 2000, tmp_path).name == "snapshot_2000.pt"


def test_path_by_settings_and_by_custom_folder(tmp_path):
    base = f"snapshot_base_dir={tmp_path}"
    expected = write_snapshot(tmp_path / "pixels" / "walker" / "dreamer" / "3" / "snapshot_500.pt")
    config = typed("finetune", base, "seed=3", "snapshot_ts=500", "domain=walker")
    assert read_source(config).path == expected
    other = write_snapshot(tmp_path / "elsewhere" / "snapshot_700.pt")
    config = typed("finetune", base, f"custom_snap_dir={tmp_path / 'elsewhere'}", "snapshot_ts=700")
    assert read_source(config).path == other
    assert read_source(typed("finetune", "snapshot_ts=0")) is None


def test_another_agent_is_refused(tmp_path):
    write_snapshot(tmp_path / "snapshot_500.pt", agent="random_dreamer")
    config = typed("finetune", f"custom_snap_dir={tmp_path}", "snapshot_ts=500")
    with pytest.raises(UserError, match="Set agent=random_dreamer"):
        read_source(config)


def test_another_body_or_action_repeat_is_refused_and_other_differences_are_told(settings, tmp_path):
    config = typed("finetune", "init_actor=false", "init_critic=true", "render.quality=lite")
    agent = Loader()
    source = Pretrained(tmp_path / "s.pt", {"spec": SPEC | {"action": [[12], "<f4"]}, "modules": {}})
    with pytest.raises(UserError, match=r"action=\[\[12\].*this run has action=\[\[6\]"):
        load_pretrained(agent, source, config, SPEC)
    before = settings("pretrain")
    source = Pretrained(tmp_path / "s.pt", {"spec": SPEC, "modules": {"encoder": 1}, "config": before})
    notes = load_pretrained(agent, source, config, SPEC)
    assert notes == ["the snapshot was made with render.quality=full, this run has render.quality=lite"]
    assert agent.modules == {"encoder": 1}
    assert agent.flags == {"init_actor": False, "init_critic": True}
    source = Pretrained(tmp_path / "s.pt", {"spec": SPEC, "modules": {}, "config": typed("pretrain").plain()})
    source.content["config"]["action_repeat"] = 4
    with pytest.raises(UserError, match="action_repeat=2: .*action_repeat=4"):
        check_fits(source, config, {})
    source.content["config"] |= {"action_repeat": 2, "domain": "cheetah"}
    with pytest.raises(UserError, match="domain=walker.*domain=cheetah"):
        check_fits(source, config, {})


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (["discount=0.9"], ["discount=0.99, this run has discount=0.9"]),
        (["discount=0.9", "init_critic=false"], []),
        (["reward_state=current"], ["reward_state=next, this run has reward_state=current"]),
        (["actor_log_std_min=-5"], ["actor_log_std_min=-10, this run has actor_log_std_min=-5"]),
        (["actor_log_std_max=1"], ["actor_log_std_max=2, this run has actor_log_std_max=1"]),
        (["render.quality=lite"], ["render.quality=full, this run has render.quality=lite"]),
        (["extrinsic_coeff=1", "lr=3e-4", "task=walker_run"], []),  # what one fine-tunes for
    ],
)
def test_differences_of_drq_are_told(tmp_path, changes, told):
    source = Pretrained(tmp_path / "s.pt", {"spec": SPEC, "modules": {}, "config": typed("drq").plain()})
    notes = load_pretrained(Loader(), source, typed("drq", *changes), SPEC)
    assert notes == [f"the snapshot was made with {line}" for line in told]


@pytest.mark.parametrize(("init_critic", "told"), [("true", 1), ("false", 0)])
def test_another_discount_of_dreamer_is_told_where_the_critic_is_taken(settings, tmp_path, init_critic, told):
    source = Pretrained(tmp_path / "s.pt", {"spec": SPEC, "modules": {}, "config": settings("pretrain")})
    config = typed("finetune", "discount=0.5", f"init_critic={init_critic}")
    assert len(load_pretrained(Loader(), source, config, SPEC)) == told


def test_a_key_that_the_snapshot_does_not_know_is_not_compared(tmp_path):
    before = typed("drq").plain()
    del before["reward_state"], before["render"]
    source = Pretrained(tmp_path / "s.pt", {"spec": SPEC, "modules": {}, "config": before})
    assert load_pretrained(Loader(), source, typed("drq"), SPEC) == []


@pytest.mark.parametrize(
    ("script", "made", "asked", "instead"),
    [
        ("finetune", ["preset=debug"], ["preset=small"], ["preset=debug"]),
        ("finetune", ["preset=debug", "rssm.deter=12"], ["preset=debug"], ["rssm.deter=12"]),
        (
            "finetune",
            ["preset=debug", "encoder.cnn_depth=6", "encoder.cnn_kernels=[4,4,4,3]"],
            ["preset=debug"],
            ["encoder.cnn_depth=6", "encoder.cnn_kernels=[4,4,4,3]"],
        ),
        ("drq", ["preset=debug"], ["preset=small", "render_size=32"], ["preset=debug"]),
        ("drq", ["preset=debug", "encoder_channels=5"], ["preset=debug"], ["encoder_channels=5"]),
    ],
    ids=str,
)
def test_other_sizes_are_answered_with_what_the_snapshot_stores(script, made, asked, instead, tmp_path):
    """The words that the message gives are taken by the next run."""
    few = ["device=cpu", *(["snapshot_ts=0"] if script == "finetune" else ["num_skills=0", "action_repeat=4"])]
    side = 64 if script == "finetune" else 32

    def build(phase, *words):
        settings = typed(script, *few, *words)
        return settings, build_agent(settings, (3, side, side), 6, phase, torch.device("cpu"))

    before, agent = build("pretrain", *made)
    config = before.plain() | {"choices": {"preset": "debug"}}
    spec = SPEC | {"observation": [[3, side, side], "|u1"]}
    source = Pretrained(tmp_path / "s.pt", {"spec": spec, "modules": agent.snapshot_modules(), "config": config})
    now, fresh = build("finetune", *asked)
    chosen = {"preset": asked[0].partition("=")[2]}
    with pytest.raises(SettingError) as refused:
        check_fits(source, now, chosen)
    said = refused.value.worded(SCRIPTS[script].aliases.published)
    words = shlex.split(said.rpartition("made with: ")[2].rstrip("."))
    assert words[: len(instead)] == instead
    assert all(word.partition("=")[0] in said.partition("made with: ")[0] for word in instead)
    with pytest.raises(UserError):
        load_pretrained(fresh, source, now, spec)
    again, fits = build("finetune", *asked, *words)
    check_fits(source, again, chosen | {"preset": "debug"})
    load_pretrained(fits, source, again, spec)
