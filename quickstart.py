"""Pre-train skills on walker pixels, see where they lead, fine-tune on walker_stand, compare with scratch.

python quickstart.py [--seed SEED]

The README's first command. Two CPU cores need 8 minutes for it. It writes to exp_local/ and pretrained_models/ in the
folder it is started in.
"""

if __name__ == "__main__":
    from utils.process import begin

    begin()

import argparse
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from envs.gl import choose_backend
from utils.advice import ROOT, command, in_shell, override, program
from utils.config import RUNS
from utils.csv_log import read_columns
from utils.errors import exit_status
from utils.poster import Runs, poster
from utils.process import STOPPED, answer, restore
from utils.report import write_file

if TYPE_CHECKING:
    from analysis.skill_probe import Rollouts

AGENT = "diayn_dreamer"
SETTINGS = (f"agent={AGENT}", "preset=quickstart")
"""Of both runs."""
TASK = "walker_stand"
PRETRAIN_FRAMES = 10_000
FINETUNE_FRAMES, FINETUNE_EVERY = 10_010, 8
PROBE_EPISODES = 3
SCRATCH = ROOT / "docs" / "results" / "quickstart" / "scratch.csv"
"""Evaluations of five seeds that learned the task from scratch, with the settings of the fine-tuning here."""


def step(title: str, script: str, run_dir: Path, *overrides: str) -> None:
    """Run one of the project's own commands and show it."""
    words = [in_shell(word) for word in (*SETTINGS, *overrides)]
    line = command(script, *words, override("hydra.run.dir", run_dir))
    print(f"\n== {title}\n{line}", flush=True)
    child = subprocess.Popen([sys.executable, str(ROOT / script), *shlex.split(line)[2:]])
    before = answer(lambda number, frame: child.send_signal(number))  # it saves what it has, and then ends
    failed = child.wait()
    restore(before)
    if failed == STOPPED:
        raise KeyboardInterrupt
    if failed:
        raise SystemExit(f"error: {script} failed; see its message above")


def look(snapshot: Path, out_png: Path, seed: int) -> tuple[dict[str, Any], "Rollouts"]:
    """The probe of the snapshot's skills, and the episodes behind it; shows the command that does the same."""
    from analysis import skill_probe

    words = [str(snapshot), "--episodes", str(PROBE_EPISODES), "--seed", str(seed), "--frames-png", str(out_png)]
    print(f"\n== where the skills lead\n{program()} -m analysis.skill_probe {shlex.join(words)}", flush=True)
    report, made = skill_probe.run(skill_probe.parser().parse_args(words))
    print(skill_probe.table(report))
    write_file(out_png, lambda path: skill_probe.save_picture(made, path))
    return report, made


def curve(path: Path) -> Runs:
    """The evaluations of a run."""
    columns = read_columns(path)
    frames = [int(frame) for frame in columns["frame"]]
    return Runs(frames, [columns["episode_reward"]], f"after {PRETRAIN_FRAMES:,} frames without reward")


def scratch() -> Runs:
    """What ships with the project, see :data:`SCRATCH`."""
    columns = read_columns(SCRATCH)
    rows = list(zip(columns["seed"], columns["frame"], columns["episode_reward"], strict=True))
    seeds = sorted({seed for seed, _, _ in rows})
    frames = sorted({int(frame) for _, frame, _ in rows})
    value = {(seed, int(frame)): reward for seed, frame, reward in rows}
    returns = [[value[seed, frame] for frame in frames] for seed in seeds]
    return Runs(frames, returns, f"from scratch ({len(seeds)} seeds: median, least to most)")


def told_skills(report: Mapping[str, Any]) -> str:
    """What the probe found, in a sentence."""
    share, (low, high), chance = report["accuracy"], report["interval"], report["chance"]
    figures = (
        f"{share:.0%} of {report['skills'] * report['episodes']} held-out episodes are matched to their skill by their "
        f"last image (95 % interval {low:.0%} to {high:.0%}, chance {chance:.0%})"
    )
    if low > chance:
        return f"{report['skills']} skills, learned without any reward, lead to different ends: {figures}."
    return f"In this run the {report['skills']} skills could not be told apart: {figures}."


def told_curve(learned: Runs, others: Runs) -> str:
    """What fine-tuning gained, over its start and over learning from scratch, in a sentence."""
    [returns], frame = learned.returns, learned.frames[-1]
    first, last, rivals = returns[0], returns[-1], others.at(frame)
    middle = statistics.median(rivals)
    figures = (
        f"{first:.0f} at the start (the mean over the skills), {last:.0f} after {frame:,} frames, where learning from "
        f"scratch has {middle:.0f} (median of {len(rivals)} seeds, {min(rivals):.0f} to {max(rivals):.0f})"
    )
    if last <= first:
        return f"In this run fine-tuning did not learn: {TASK} {figures}."
    if last <= middle:
        return f"In this run pre-training did not pay: {TASK} {figures}."
    return f"Fine-tuning on {TASK}: {figures}, {last / middle:.1f} times as much."


def summary(folder: Path, snapshot: Path, started: float) -> str:
    """Every file made, with its size."""
    made = [p for p in folder.rglob("*") if p.is_file()]
    files = [snapshot, *sorted(p for p in made if "replay" not in p.parts)]
    replay = sum(p.stat().st_blocks * 512 for p in made if "replay" in p.parts)
    return "\n".join(
        [
            f"\n== done in {(time.time() - started) / 60:.1f} minutes; files made:",
            *(f"  {p}  ({p.stat().st_size / 1e6:.2f} MB)" for p in files),
            f"  {folder}/*/replay/  ({replay / 1e6:.0f} MB, the experience; needed only to resume)",
            f"watch: tensorboard --logdir {folder}",
        ]
    )


def next_words(snapshot: Path) -> list[str]:
    """What to try after this; agent and preset are those of the snapshot."""
    return [override("snapshot", snapshot), "task=walker_walk", "num_train_frames=30010"]


def draw(
    out_png: Path,
    report: Mapping[str, Any],
    made: "Rollouts",
    learned: Runs,
    others: Runs,
    sentences: tuple[str, str],
) -> None:
    """The poster: ends of the probe's episodes, a column per skill, and the curves."""
    names = list(report["returns"])
    poster(
        made.frames.reshape(len(names), report["episodes"], *made.frames.shape[1:]),
        [f"{name}, return {report['returns'][name]:.0f}" for name in names],
        learned,
        others,
        out_png,
        title=f"Somnia, {AGENT}: walker from pixels",
        about=sentences,
    )


def _seed(word: str) -> int:
    if not (word.isdecimal() and int(word) < 2**32):
        raise argparse.ArgumentTypeError(f"{word} is no whole number from 0 to {2**32 - 1}")
    return int(word)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        "python quickstart.py",
        description=__doc__.split("\n\n")[0],
        epilog="Settings are those of dreamer_pretrain.py and dreamer_finetune.py, which this runs: try their --help.",
    )
    made.add_argument("--seed", type=_seed, default=1, help="of everything that is random (default: 1)")
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    """Everything, in order."""
    seed = parser().parse_args(arguments).seed
    started, now, others = time.time(), datetime.now(), scratch()
    folder = RUNS / now.strftime("%Y.%m.%d") / now.strftime("quickstart_%H%M%S")
    snapshot = Path("pretrained_models/pixels/walker") / AGENT / str(seed) / f"snapshot_{PRETRAIN_FRAMES}.pt"
    print(f"== rendering\nMUJOCO_GL={choose_backend()} works", flush=True)
    step(
        "pre-training on walker pixels, without reward",
        "dreamer_pretrain.py",
        folder / "pretrain",
        "domain=walker",
        f"seed={seed}",
        f"num_train_frames={PRETRAIN_FRAMES}",
        f"snapshots=[{PRETRAIN_FRAMES}]",
    )
    report, made = look(snapshot, folder / "skills.png", seed)
    step(
        f"fine-tuning the snapshot on {TASK}",
        "dreamer_finetune.py",
        folder / "finetune",
        f"task={TASK}",
        f"seed={seed}",
        f"snapshot_ts={PRETRAIN_FRAMES}",
        f"num_train_frames={FINETUNE_FRAMES}",
        f"train_every_actions={FINETUNE_EVERY}",
    )
    learned = curve(folder / "finetune" / "eval.csv")
    sentences = told_skills(report), told_curve(learned, others)
    draw(folder / "poster.png", report, made, learned, others, sentences)
    print(summary(folder, snapshot, started))
    print("\n" + "\n".join(sentences))
    print(f"to look at: {folder / 'poster.png'}")
    print(f"all of it as one page: {command('report.py', override('snapshot', snapshot))}")
    print(f"go on: {command('dreamer_finetune.py', *next_words(snapshot))}")


ending = exit_status(main)

if __name__ == "__main__":
    sys.exit(ending())
