"""report.py: a whole page of every kind of snapshot, and what it refuses."""

import pytest
from html_kit import read_page
from run_kit import DEBUG, SHORT
from short_kit import cut_after
from snapshot_kit import made_by

from entry.start import launch
from reporting import behaviour, subject
from reporting.command import TITLES, main


@pytest.fixture(scope="module")
def snapshots(tmp_path_factory):
    from settings_kit import compose_settings

    home = tmp_path_factory.mktemp("reported")
    made_by(home / "skills.pt", "pretrain", *SHORT, "agent=diayn_dreamer", "agent.skill_dim=3", "domain=walker")
    made_by(home / "plain.pt", "pretrain", *SHORT, "agent=lbs_dreamer", "domain=walker")
    made_by(home / "cup.pt", "drq", "preset=debug", "task=ball_in_cup_catch", "num_skills=2", "action_repeat=50")
    words = (*DEBUG, "env=CenterMaze", "epochs=1", "use_tb=false", f"snapshot_base_dir={home / 'models'}")
    launch(compose_settings("rest", *words), home / "maze", "rest")
    return home


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(subject, "build_env", cut_after(12))


NOTES = {
    "skills": ["learning curves", "run="],
    "plain": ["no two skills", "no skills"],
    "cup": ["no measure", "no world model"],
    "maze": ["no rewards", "policies alone"],
}
"""What is said where a section has nothing to show."""


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("name", NOTES)
def test_a_page_of_every_kind(snapshots, tmp_path, capsys, name):
    path = snapshots / name if name == "maze" else snapshots / f"{name}.pt"
    assert main([f"snapshot={path}", f"html={tmp_path}/a.html", "seed=3"]) == 0
    text = (tmp_path / "a.html").read_text()
    page = read_page(text)
    assert {*TITLES} <= {*page.ids}
    assert [line for line in text.splitlines() if 'class="failed"' in line] == []
    words = " ".join(page.words)
    assert all(note.lower() in words.lower() for note in NOTES[name])
    if name == "skills":
        assert all(f"skill {k}" in words for k in range(3)) and "walker_flip" in words and "random actions" in words


@pytest.mark.usefixtures("short")
def test_a_section_that_fails_leaves_the_others(snapshots, tmp_path, monkeypatch, capsys):
    def breaks(one):
        raise ZeroDivisionError("<b>of</b>\nmany lines")

    monkeypatch.setattr(behaviour, "covered", breaks)
    words = ["sections=coverage,what", f"html={tmp_path}/a.html"]
    assert main([str(snapshots / "plain.pt"), *words]) == 0
    text = (tmp_path / "a.html").read_text()
    page = read_page(text)
    assert [key for key in page.ids if key in TITLES] == ["what", "coverage"]
    assert text.count('class="failed"') == 1 and "ZeroDivisionError: <b>of</b>" in "".join(page.words)
    assert TITLES["coverage"] in capsys.readouterr().out


def test_what_is_not_asked_for_is_not_played(snapshots, tmp_path, monkeypatch):
    monkeypatch.setattr(subject, "build_env", None)
    assert main([str(snapshots / "skills.pt"), "sections=what,curves", f"html={tmp_path}/a.html"]) == 0
    assert 'class="failed"' not in (tmp_path / "a.html").read_text()


@pytest.mark.parametrize(
    "words, said",
    [
        ([], ["snapshot="]),
        (["snapshot=none.pt"], ["none.pt"]),
        (["skills.pt", "sections=whatt"], ["sections=whatt", "sections=what"]),
        (["skills.pt", "episodes=0"], ["episodes=0"]),
        (["skills.pt", "skills=9"], ["skills=9", "0 to 2"]),
        (["skills.pt", "tasks=walker_fly"], ["walker_fly", "walker_run"]),
        (["skills.pt", "run=."], ["run=."]),
        (["skills.pt", "html=skills.pt"], ["html", "skills.pt"]),
        (["models/maze", "skills=7"], ["skills=7"]),
        (["skills.pt", "episode=3"], ["episode"]),
    ],
)
def test_refusals(snapshots, monkeypatch, capsys, words, said):
    monkeypatch.chdir(snapshots)
    assert main(words) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and all(part in error for part in said)
    assert not (snapshots / "report.html").exists()


def test_code_that_only_a_file_names_is_not_imported(snapshots, tmp_path, capsys):
    foreign = tmp_path / "foreign.pt"
    made_by(foreign, "pretrain", *SHORT, "domain=walker", env_factory="some.where.make")
    assert main([str(foreign), "sections=what", f"html={tmp_path}/a.html"]) == 1
    assert "--env-factory=some.where.make" in capsys.readouterr().err and not (tmp_path / "a.html").exists()
