"""Studies whose runs are a script that learns nothing and takes milliseconds."""

import sys
from pathlib import Path

from studying import children, command, plan

FAKE = '''
"""Stands for all scripts: evaluates at 0, half-way and at the end, resumes, fails or waits where a file says so."""
import csv, json, os, pathlib, signal, sys, time, zlib

words = dict(word.split("=", 1) for word in sys.argv[1:])
here = pathlib.Path(os.environ["FAKE_ORDERS"])
if "episodes" in words:
    table = {f"skill {k}": {"mean": 10.0 * k} for k in range(4)}
    out = pathlib.Path(words["json"])
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({"played": table}))
    sys.exit()
folder = pathlib.Path(words.get("resume") or words["hydra.run.dir"])
folder.mkdir(parents=True, exist_ok=True)
with (here / "calls").open("a") as file:
    file.write(f"{folder.name} {'resume' in words}\\n")
state = folder / "config.yaml"
if "resume" in words:
    words = json.loads(state.read_text())
elif state.exists():
    sys.exit(f"error: {folder} already holds a run")
elif "snapshot" in words and not pathlib.Path(words["snapshot"]).is_file():
    sys.exit(f"error: {words['snapshot']} is not there")
state.write_text(json.dumps(words))
stopped = []
signal.signal(signal.SIGTERM, lambda number, frame: stopped.append(number))
frames = int(words["num_train_frames"])
for mark in (0, frames // 2, frames):
    path = folder / "eval.csv"
    known = path.read_text().count("\\n") - 1 if path.exists() else 0
    if known > (0, frames // 2, frames).index(mark):
        continue
    if mark and (here / f"fail_{folder.name}").exists():
        print("working")
        sys.exit("error: agent=fake has failed as it was told")
    if mark:
        print("skill chosen at frame 5: skill 2 (reward: paid 1)", flush=True)
        (here / f"at_work_{folder.name}").touch()
        while (here / f"wait_{folder.name}").exists() and not stopped:
            time.sleep(0.01)
    if stopped:
        (here / f"saved_{folder.name}").touch()
        sys.exit(130)
    if "pretrain" in folder.name:
        continue
    bonus = 100 if words.get("agent") != "dreamer" else 0
    value = zlib.crc32(folder.name.encode()) % 7 + mark * (bonus + 1) / 10
    with path.open("a") as file:
        if not known and not mark:
            file.write("frame,episode_reward,total_time\\n")
        file.write(f"{mark},{value},{mark / 10}\\n")
if "pretrain" in folder.name:
    for mark in json.loads(words["snapshots"]):
        base = pathlib.Path(words["snapshot_base_dir"]) / "states" / words["domain"] / words["agent"] / words["seed"]
        base.mkdir(parents=True, exist_ok=True)
        (base / f"snapshot_{mark}.pt").touch()
'''

STUDY = """
agents: [lbs_dreamer, choreo]
tasks: [walker_walk, walker_run]
baselines: [dreamer]
configs: dmc_states
preset: small
pretrain: {seeds: [1, 2], frames: 40, overrides: [seed_policy=random]}
finetune: {seeds: [1, 2], frames: 20, snapshots: [40]}
variants:
  less: {agents: [lbs_dreamer], tasks: [walker_run], snapshots: [20]}
  fresh: {agents: [choreo], tasks: [walker_walk], pretrain_seeds: [1], seeds: [1], overrides: [init_actor=false]}
skills: {agents: [choreo], episodes: 2}
"""
RUNS = 4 + 4 + 4 + 16 + 4 + 1
"""Pre-trainings, skills, from scratch, fine-tunings, fewer frames, the variant."""


def faked(folder: Path, replace=setattr) -> Path:
    """Every script is :data:`FAKE` from now on, and no command is composed; the file of a study in ``folder``."""
    script, study = folder / "fake.py", folder / "mine.yaml"
    if not script.exists():
        script.write_text(FAKE)
        study.write_text(STUDY)
    replace(plan, "SCRIPTS", dict.fromkeys(plan.SCRIPTS, str(script)))
    replace(command, "check_commands", lambda runs: "states")
    assert children.ROOT
    return study


if __name__ == "__main__":
    faked(Path(sys.argv[1]))
    sys.exit(command.main(sys.argv[2:]))
