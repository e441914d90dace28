"""How long a run would take on this machine: ``python -m studying.measure '{"script": ..., "words": [...]}'``.

A short run of the same settings, an episode and a few steps, in which the run itself times an update, an action and one
evaluation episode on the way; what is to come of each in the whole run follows from its settings. A fine-tuning starts
from a snapshot of its pre-training, ``source``, that has learned nothing. Prints JSON.
"""

if __name__ == "__main__":
    from utils.process import begin

    begin()

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from entry.scripts import SCRIPTS
from entry.settings import composed, settings_of
from entry.start import launch
from training.clock import Clock
from training.off_policy import OffPolicyRun
from training.outlook import ROUNDS
from training.parts import episode_records
from training.run import Counters
from training.settings import DreamerRunKeys
from utils.advice import ROOT
from utils.errors import UserError, exit_status

QUIET = (
    *("save_video=false", "use_tb=false", "use_wandb=false", "progress=false", "log_every_frames=1000000000"),
    *("recon_every_frames=1000000000", "checkpoint_every_minutes=1000000", "snapshots=[]", "snapshot_dir=null"),
    "num_eval_episodes=1",
)


class Measured(NamedTuple):
    """Of one run; seconds."""

    seconds: float
    """Of the whole run."""
    episode: float | None
    """Of one evaluation episode; None where nothing is evaluated."""
    skills: int
    """How many the agent has that can be followed."""
    words: str
    """What the time goes to."""


def measure(phase: str, words: Sequence[str], source: Sequence[str] | None = None) -> Measured:
    """In this process, which is to run nothing else afterwards. Raises :class:`UserError`."""
    full: DreamerRunKeys = settings_of(phase, composed(phase, words))
    steps = (episode_records(full) + ROUNDS) * full.num_envs
    frames, own = steps * full.action_repeat, [] if phase == "pretrain" else ["save_ft_model=false"]
    # the seed phase outlasts the run: then an update is tried out, and no other is made
    short = [f"num_train_frames={frames}", f"num_seed_frames={2 * frames}"]
    folder = Path(tempfile.mkdtemp(prefix="somnia_measure_"))
    try:
        start = [] if source is None else ["snapshot_ts=null", f"snapshot={_untrained(source, full, folder)}"]
        run = launch(composed(phase, [*words, *QUIET, *own, *short, *start]), folder / "run", phase)
    finally:
        shutil.rmtree(folder)  # made here
    assert isinstance(run, OffPolicyRun)
    left, script = run.outlook.left, SCRIPTS[phase]
    left.schedule, left.marks = full.schedule, full.snapshots
    left.clock = Clock(*script.length, full.steps, full.step_frames)
    left.counters = Counters(evaluation_due=full.schedule.evaluate_every is not None)
    episode = left.seconds_of("evaluation")
    if episode is not None:
        run.work.paces["evaluation"].forget(episode * full.num_eval_episodes)
        left._trial = left._trial and left._trial._replace(changes=0)
    estimate = left.estimate()
    if not estimate.useful:
        raise UserError(f"nothing could be timed of {phase} {' '.join(words)}")
    candidates = run.agent.shown.candidates(run.agent.device)
    return Measured(estimate.seconds, episode, len(candidates) if run.agent.shown.dim else 0, estimate.describe())


def _untrained(words: Sequence[str], settings: DreamerRunKeys, folder: Path) -> Path:
    """The snapshot of a pre-training after a single step."""
    frames = settings.action_repeat * settings.num_envs
    few = [f"num_train_frames={frames}", f"snapshots=[{frames}]", f"snapshot_dir={folder}", "evaluate=false"]
    return launch(composed("pretrain", [*words, *QUIET, *few]), folder / "before", "pretrain").files[0]


def measured(
    phase: str, words: Sequence[str], source: Sequence[str] | None, environment: Mapping[str, str]
) -> Measured:
    """The same in a process of its own. Raises :class:`UserError` where that fails."""
    request = json.dumps({"script": phase, "words": list(words), "source": None if source is None else list(source)})
    done = subprocess.run(
        [sys.executable, "-m", "studying.measure", request],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["no word"])[-1]
        raise UserError(f"nothing could be timed ({said}). measure=false prints the commands alone.")
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


@exit_status
def main(arguments: Sequence[str] | None = None) -> None:
    """What :func:`measured` starts."""
    [request] = sys.argv[1:] if arguments is None else arguments
    asked: dict[str, Any] = json.loads(request)
    print(json.dumps(measure(asked["script"], asked["words"], asked.get("source"))._asdict()))


if __name__ == "__main__":
    sys.exit(main())
