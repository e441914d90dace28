"""The skill probe: its statistics against values by hand, the command on a debug snapshot."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from run_kit import SHORT
from settings_kit import compose_settings
from short_kit import cut_after

from agents.nn.networks import preprocess_image
from analysis import skill_probe
from analysis.cells import coverage
from analysis.skill_probe import build_env, load_agent, main, probe, rollouts
from entry.start import launch
from training import checkpoint
from utils.statistics import wilson

FEW = (*SHORT, "evaluate=false", "num_train_frames=1010", "use_tb=false")
SKILLS = 4  # of preset=debug


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("snapshots")


def made(settings, folder: Path, agent: str) -> Path:
    """The snapshot of a short pre-training, made once for all tests here."""
    path = folder / agent / "snapshot_1010.pt"
    if not path.exists():
        config = settings("pretrain", *FEW, f"agent={agent}", "snapshots=[1010]", f"snapshot_dir={path.parent}")
        launch(config, folder / f"{agent}_run", "pretrain")
    return path


@pytest.fixture
def snapshot(settings, folder) -> Path:
    return made(settings, folder, "deviation_dreamer")


@pytest.fixture(scope="module")
def drq(tmp_path_factory):
    """``drq(task, num_skills)``: the final model of a short run of drq_train.py, which is its snapshot, too."""
    made = {}

    def model(task: str, num_skills: int) -> Path:
        if (task, num_skills) not in made:
            root = tmp_path_factory.mktemp("drq")
            own = ("preset=debug", "device=cpu", "progress=false", "save_video=false", "log_save_tb=false")
            few = ("num_train_steps=2", "num_seed_steps=1", "action_repeat=100", "snapshots=[200]", "framestack=2")
            config = compose_settings("drq", *own, *few, f"task={task}", f"num_skills={num_skills}")
            launch(config | {"snapshot_dir": str(root / "snaps")}, root / "run", "drq")
            made[task, num_skills] = root / "run" / "models" / "final_model.pt"
        return made[task, num_skills]

    return model


@pytest.fixture
def short(monkeypatch):
    """Episodes of five steps: the command needs no more to be looked at."""
    monkeypatch.setattr(skill_probe, "build_env", cut_after(5))


def labels(skills: int = 16, episodes: int = 10) -> np.ndarray:
    return np.repeat(np.arange(skills), episodes)


def test_random_features_are_at_chance():
    features = np.random.default_rng(0).normal(size=(160, 300))
    found = probe(features, labels())
    assert found.low < 1 / 16 < found.high
    assert found.accuracy < 0.15


def test_separable_features_are_told_apart():
    random = np.random.default_rng(0)
    features = 0.1 * random.normal(size=(160, 300)) + random.normal(size=(16, 300))[labels()]
    found = probe(features, labels())
    assert found.accuracy > 0.99
    assert found[1:] == wilson(round(160 * found.accuracy), 160)


def test_features_of_very_different_scale_count_alike():
    """What separates the skills is a millionth of what does not: only standardised features show it."""
    random = np.random.default_rng(0)
    loud = 1e6 * random.normal(size=(40, 3))
    quiet = np.eye(4)[labels(4, 10)] + 0.01 * random.normal(size=(40, 4))
    assert probe(np.hstack([loud, quiet]), labels(4, 10)).accuracy > 0.95


def test_every_episode_is_held_out_once_with_one_of_each_other_skill(monkeypatch):
    folds = []
    original = skill_probe.cross_val_predict

    def spying(classifier, features, of, cv):
        folds.extend(of[held] for _, held in cv.split(features, of))
        return original(classifier, features, of, cv=cv)

    monkeypatch.setattr(skill_probe, "cross_val_predict", spying)
    probe(np.random.default_rng(0).normal(size=(12, 3)), labels(4, 3))
    assert len(folds) == 3 and all(sorted(fold) == [0, 1, 2, 3] for fold in folds)


@pytest.mark.parametrize("of", [labels(4, 1), labels(1, 4), np.array([0, 0, 1, 1, 1])])
def test_probe_refuses_what_it_cannot_fold(of):
    with pytest.raises(ValueError, match="episodes per label"):
        probe(np.zeros((len(of), 2)), of)


def test_the_weights_are_the_snapshots_unless_untrained(snapshot):
    agent, content = load_agent(snapshot, 0)
    parts = {
        "encoder": agent.world_model.encoder,
        "rssm": agent.world_model.rssm,
        "actor": agent.main.behavior.actor,
    }
    fresh, _ = load_agent(snapshot, 0, untrained=True)
    again, _ = load_agent(snapshot, 0, untrained=True)
    other, _ = load_agent(snapshot, 1, untrained=True)
    for name, part in parts.items():
        for key, value in part.state_dict().items():
            assert torch.equal(value, content["modules"][name][key]), (name, key)
    first = next(agent.world_model.encoder.parameters())
    weights = [next(x.world_model.encoder.parameters()) for x in (fresh, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2]) and not torch.equal(weights[0], first)


def test_rollouts_hold_each_skill_and_keep_the_last_image(snapshot, short, monkeypatch):
    agent, content = load_agent(snapshot, 0)
    env = skill_probe.build_env(content["config"], 0)
    held, modes, observations = [], [], []
    original = agent.act

    def spying(observation, acting, is_first, mode):
        held.append((acting.skill[0].tolist(), bool(is_first)))
        modes.append(mode)
        observations.append(observation)
        return original(observation, acting, is_first, mode)

    monkeypatch.setattr(agent, "act", spying)
    told = []
    found = rollouts(agent, env, 2, 0, told.append)
    assert set(modes) == {"show"} and len(told) == SKILLS
    eye = np.eye(SKILLS).tolist()
    assert held == [(eye[k], step == 0) for k in range(SKILLS) for _ in range(2) for step in range(5)]
    assert found.labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert [state.shape for state in found.states] == [(6, 18)] * 8
    assert found.returns.shape == (8,) and (found.returns > 0).all()
    assert len(np.unique([state[0, 2] for state in found.states])) == 8  # every episode begins elsewhere
    # the last image is that of the env now, and no image the agent acted on
    last = torch.from_numpy(env.unwrapped.last_observation()["observation"])
    np.testing.assert_array_equal(found.frames[-1], last.permute(1, 2, 0))
    assert not torch.equal(observations[-1][0], last)
    with torch.no_grad():
        embedded = agent.world_model.encoder(preprocess_image(last[None]))
    np.testing.assert_allclose(found.features[-1], embedded[0], atol=1e-6)
    env.close()


def test_the_environment_is_that_of_the_snapshot(snapshot):
    config = checkpoint.load(snapshot, "snapshot")["config"]
    env = build_env(config | {"action_repeat": 4, "task": "walker_run"}, 0)
    seen, _ = env.reset()
    _, _, _, _, info = env.step(env.action_space.sample())
    assert info["frames"] == 4 and seen["observation"].shape == (3, 64, 64)
    assert env.unwrapped._render_quality == config["render"]["quality"] == "lite"
    env.close()


def test_the_command(snapshot, short, tmp_path, capsys):
    numbers, picture = tmp_path / "deep" / "probe.json", tmp_path / "frames.png"
    arguments = [str(snapshot), "--episodes", "2", "--json", str(numbers), "--frames-png", str(picture)]
    capsys.readouterr()
    assert main(arguments) == 0
    out = capsys.readouterr().out
    report = json.loads(numbers.read_text())
    assert (report["frames"], report["skills"], report["episodes"]) == (1010, SKILLS, 2)
    hits = round(8 * report["accuracy"])
    assert report["accuracy"] == hits / 8 and report["interval"] == pytest.approx(wilson(hits, 8))
    assert (report["chance"], report["times_chance"]) == (0.25, 4 * report["accuracy"])
    assert list(report["returns"]) == ["skill 0", "skill 1", "skill 2", "skill 3"]
    parts = report["coverage_by_skill"].values()
    assert report["coverage_mean"] == np.mean(list(parts)) and max(parts) <= report["coverage"] <= sum(parts)
    for words in ("1010", "4 skills x 2", f"{report['accuracy']:.3f}", "chance          0.250", "0: ", "3: "):
        assert words in out
    # 2 columns and 4 rows of 128 pixels with borders of 2
    with Image.open(picture) as image:
        assert image.size == (2 * 130 + 2, 4 * 130 + 2)
    assert main(arguments) == 0
    assert json.loads(numbers.read_text()) == report
    assert main([*arguments, "--untrained"]) == 0
    untrained = json.loads(numbers.read_text())
    assert untrained["untrained"] and untrained["returns"] != report["returns"]
    assert "(untrained weights)" in capsys.readouterr().out


def test_the_coverage_is_that_of_all_states(snapshot, short):
    agent, content = load_agent(snapshot, 0)
    env = skill_probe.build_env(content["config"], 0)
    found = rollouts(agent, env, 2, 0)
    env.close()
    assert found.judged == []
    report = skill_probe.summary(found, probe(found.features, found.labels), ["a", "b", "c", "d"], "walker")
    assert report["coverage"] == coverage("walker", np.concatenate(found.states))
    assert report["coverage_by_skill"]["b"] == coverage("walker", np.concatenate(found.states[2:4]))
    assert report["returns"]["c"] == found.returns[4:6].mean()


def refused(capsys, *arguments: object) -> str:
    assert main([str(argument) for argument in arguments]) == 1
    out, err = capsys.readouterr()
    assert err.startswith("error: ") and err.count("\n") == 1 and out == ""
    return err


def test_numbers_are_printed_even_if_they_cannot_be_saved(snapshot, short, tmp_path, capsys):
    (tmp_path / "frames.png").mkdir()
    capsys.readouterr()
    assert main([str(snapshot), "--episodes", "2", "--frames-png", str(tmp_path / "frames.png")]) == 1
    out, err = capsys.readouterr()
    assert "accuracy" in out and err.startswith(f"error: cannot write {tmp_path / 'frames.png'}: ")
    assert [path.name for path in tmp_path.iterdir()] == ["frames.png"]


def test_errors_are_one_line(settings, snapshot, folder, short, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)  # snapshots that lie in the checkout would be named, a line each
    capsys.readouterr()
    assert "does not exist" in refused(capsys, tmp_path / "none.pt")
    assert "--episodes=1" in refused(capsys, snapshot, "--episodes", 1)
    assert "--seed=-1" in refused(capsys, snapshot, "--seed", -1)
    (tmp_path / "broken.pt").write_bytes(b"PK\x03\x04 broken")
    assert "not a readable snapshot" in refused(capsys, tmp_path / "broken.pt")
    (tmp_path / "file").touch()
    assert f"{tmp_path / 'file'} is not a folder" in refused(capsys, snapshot, "--json", tmp_path / "file" / "p.json")
    plain = made(settings, folder, "dreamer")
    capsys.readouterr()
    assert "agent=dreamer, which has no skills" in refused(capsys, plain)
    content = checkpoint.load(snapshot, "snapshot")
    del content["modules"]["actor"]
    checkpoint.save(tmp_path / "part.pt", "snapshot", content)
    assert "actor.net.0.weight is missing" in refused(capsys, tmp_path / "part.pt")


# ---- DrQ


def test_drq_is_restored_to_act_and_judge_as_it_did(drq):
    path = drq("cartpole_swingup", 3)
    agent, content = load_agent(path, 0)
    assert agent.phase == content["phase"] == "pretrain" and content["config"]["phase"] == "drq"
    for part, state in agent.snapshot_modules().items():
        for key, value in state.items():
            assert torch.equal(value, content["modules"][part][key]), (part, key)
    fresh, _ = load_agent(path, 0, untrained=True)
    assert not torch.equal(fresh.critic.encoder.linear.weight, agent.critic.encoder.linear.weight)


def test_episodes_of_drq_are_embedded_and_judged_by_its_networks(drq):
    agent, content = load_agent(drq("cartpole_swingup", 3), 0)
    seen, original = [], agent.act

    def spying(observation, acting, is_first, mode):
        seen.append((observation[0].clone(), bool(is_first), int(acting.skill.argmax())))
        return original(observation, acting, is_first, mode)

    agent.act = spying
    env = build_env(content["config"], 0)
    found = rollouts(agent, env, 2, 0)
    env.close()
    starts = [t for t, (_, is_first, _) in enumerate(seen) if is_first]
    assert len(starts) == 6 and len(seen) == 60
    hits = []
    for number, start in enumerate(starts):
        images = [image for image, _, _ in seen[start : start + 10]]
        images.append(torch.from_numpy(found.frames[number]).permute(2, 0, 1))  # the last is not acted on
        skill = seen[start][2]
        with torch.no_grad():
            for before, now in itertools.pairwise(images):
                features = agent.discriminator.encoder(torch.cat([before, now])[None])
                hits.append(int(agent.discriminator.classifier.net(features).argmax()) == skill)
            embedded = agent.critic.encoder(torch.cat(images[-2:])[None])[0]
        np.testing.assert_allclose(found.features[number], embedded, atol=1e-5)
    report = skill_probe.summary(found, probe(found.features, found.labels), ["a", "b", "c"], "cartpole")
    assert report["discriminator"] == pytest.approx(sum(hits) / 60)


@pytest.mark.parametrize(
    ("task", "covered"), [("cartpole_swingup", False), pytest.param("walker_run", True, marks=pytest.mark.long)]
)
def test_the_command_for_drq(drq, tmp_path, capsys, task, covered):
    numbers = tmp_path / "probe.json"
    model = drq(task, 3)
    (snapshot,) = model.parents[2].glob("snaps/*.pt")
    for path in (model, snapshot):
        capsys.readouterr()
        assert main([str(path), "--episodes", "2", "--json", str(numbers)]) == 0
        out, report = capsys.readouterr().out, json.loads(numbers.read_text())
        assert (report["skills"], report["episodes"], report["chance"]) == (3, 2, pytest.approx(1 / 3))
        assert 0 <= report["discriminator"] <= 1
        assert f"discriminator   {report['discriminator']:.3f} of all steps" in out
        assert ("coverage" in report) == ("coverage_by_skill" in report) == ("coverage  " in out) == covered


@pytest.mark.parametrize(("domain", "size", "measured"), [("quadruped", 57, True), ("quadruped", 70, False)])
def test_coverage_is_of_bodies_that_are_measured(domain, size, measured):
    """quadruped_fetch has a ball among its states."""
    states = [np.ones((3, size))] * 2
    none = np.zeros(2)
    found = skill_probe.covered(skill_probe.Rollouts(none, np.arange(2), none, none, states, []), ["a", "b"], domain)
    assert found == ({"coverage": 1, "coverage_by_skill": {"a": 1, "b": 1}, "coverage_mean": 1} if measured else {})


def test_drq_without_skills_is_refused(drq, capsys):
    path = drq("cartpole_swingup", 0)
    capsys.readouterr()
    assert "is of agent=drq, which has no skills to tell apart" in refused(capsys, path)


@pytest.fixture
def of_states(settings, folder) -> Path:
    """The snapshot of a short pre-training on states."""
    path = folder / "states" / "snapshot_1010.pt"
    if not path.exists():
        agent = ("agent=deviation_dreamer", "configs=dmc_states")
        config = settings(
            "pretrain", *FEW, *agent, "snapshots=[1010]", "save_video=false", f"snapshot_dir={path.parent}"
        )
        launch(config, folder / "states_run", "pretrain")
    return path


def test_the_command_for_states(of_states, short, tmp_path, capsys):
    picture, report = tmp_path / "ends.png", tmp_path / "report.json"
    assert not main([str(of_states), "--episodes", "2", "--frames-png", str(picture), "--json", str(report)])
    found = json.loads(report.read_text())
    assert (found["skills"], found["episodes"], found["frames"]) == (SKILLS, 2, 1010) and found["coverage"] > 0
    assert np.asarray(Image.open(picture)).std() > 5  # the walker, not an empty grid


def test_states_have_no_picture_where_nothing_can_be_drawn(of_states, short, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("analysis.snapshot_tool.pictures_if_possible", lambda: "egl: no driver")
    assert main([str(of_states), "--episodes", "2", "--frames-png", str(tmp_path / "ends.png")]) == 1
    assert "--frames-png" in (told := capsys.readouterr().err) and "egl: no driver" in told
    assert not main([str(of_states), "--episodes", "2"])
    assert not (tmp_path / "ends.png").exists()
