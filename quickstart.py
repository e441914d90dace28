"""The README's first command: check rendering, pre-train with SD3 on walker pixels, fine-tune on walker_stand, sum up.

python quickstart.py

It takes no settings, needs 9 minutes on two CPU cores, and writes to exp_local/ and pretrained_models/ in the folder
it is started in.
"""

if __name__ == "__main__":
    from utils.process import begin

    begin()

import csv
import shlex
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

from envs.gl import choose_backend
from utils.advice import ROOT, command, in_shell, override
from utils.config import RUNS
from utils.errors import UserError
from utils.plot import learning_curve
from utils.process import STOPPED, answer, interruptible, restore

AGENT = "deviation_dreamer"
PRESET = "quickstart"
PRETRAIN_FRAMES = 6000
FINETUNE_FRAMES = 10_000
SNAPSHOTS = Path("pretrained_models/pixels/walker") / AGENT / "1"


def step(title: str, script: str, run_dir: Path, *overrides: str) -> None:
    """Run one of the project's own commands and show it."""
    fixed = ["configs=dmc_pixels", f"agent={AGENT}", f"preset={PRESET}"]
    words = [in_shell(word) for word in (*fixed, *overrides)]
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


def returns(path: Path) -> list[tuple[int, float]]:
    """(frame, mean return) of every row of an eval.csv."""
    with path.open() as file:
        return [(int(float(row["frame"])), float(row["episode_reward"])) for row in csv.DictReader(file)]


def summary(folder: Path, started: float) -> str:
    """Every file made, with its size, and what the evaluations measured."""
    evaluations = returns(folder / "finetune" / "eval.csv")
    (first_frame, first), (last_frame, last) = evaluations[0], evaluations[-1]
    files = [
        SNAPSHOTS / f"snapshot_{PRETRAIN_FRAMES}.pt",
        *sorted(p for p in folder.rglob("*") if p.is_file() and "replay" not in p.parts),
    ]
    skills = next(iter((folder / "pretrain" / "videos").glob("train_skills_*")), "no video was written")
    replay = sum(p.stat().st_blocks * 512 for p in folder.rglob("*") if p.is_file() and "replay" in p.parts)
    lines = [f"  {p}  ({p.stat().st_size / 1e6:.2f} MB)" for p in files]
    lines.append(f"  {folder}/*/replay/  ({replay / 1e6:.0f} MB, the experience; needed only to resume)")
    return "\n".join(
        [
            f"\n== done in {(time.time() - started) / 60:.1f} minutes; files made:",
            *lines,
            f"\nwalker_stand, mean return of the evaluations: {first:.0f} at frame {first_frame}, {last:.0f} at frame "
            f"{last_frame} (1000 is the most; uniform random actions get about 136)",
            f"skills after pre-training: {skills}",
            f"curve: {folder}/learning_curve.png",
            f"watch: tensorboard --logdir {folder}",
            f"go on: {command('dreamer_finetune.py', *next_words())}",
        ]
    )


def next_words() -> list[str]:
    """What to try after this."""
    return [f"agent={AGENT}", "task=walker_walk", f"snapshot_ts={PRETRAIN_FRAMES}", "preset=small"]


def main() -> None:
    started = time.time()
    folder = RUNS / datetime.now().strftime("%Y.%m.%d") / datetime.now().strftime("quickstart_%H%M%S")
    print(f"== rendering\nMUJOCO_GL={choose_backend()} works", flush=True)
    step(
        "pre-training on walker pixels",
        "dreamer_pretrain.py",
        folder / "pretrain",
        "domain=walker",
        f"num_train_frames={PRETRAIN_FRAMES}",
        f"snapshots=[{PRETRAIN_FRAMES}]",
    )
    step(
        "fine-tuning the snapshot on walker_stand",
        "dreamer_finetune.py",
        folder / "finetune",
        "task=walker_stand",
        f"snapshot_ts={PRETRAIN_FRAMES}",
        f"num_train_frames={FINETUNE_FRAMES}",
        "train_every_actions=6",
        "init_critic=True",
    )
    learning_curve(
        [folder / "finetune" / "eval.csv"],
        folder / "learning_curve.png",
        title=f"walker_stand from pixels, {AGENT} after {PRETRAIN_FRAMES} pre-training frames",
        reference=136.5,
        reference_label="uniform random actions",
    )
    print(summary(folder, started))


if __name__ == "__main__":
    words = sys.argv[1:]
    if {"-h", "--help"} & set(words):
        print(__doc__)
        sys.exit()
    if words:
        sys.exit(
            f"error: quickstart.py takes no settings, not {shlex.join(words)}. Settings are dreamer_pretrain.py's."
        )
    try:
        with interruptible():
            main()
    except UserError as error:
        raise SystemExit(f"error: {error}") from None
    except KeyboardInterrupt:
        raise SystemExit(STOPPED) from None
