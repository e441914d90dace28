"""A long run does not eat memory."""

import re
from pathlib import Path

import pytest

from entry.start import launch
from training.off_policy import OffPolicyRun

STATUS = Path("/proc/self/status")


def anonymous_memory() -> int:
    """Resident anonymous memory of this process in kB: what cannot be dropped, unlike pages of the replay's files."""
    match = re.search(r"RssAnon:\s+(\d+) kB", STATUS.read_text())
    assert match is not None
    return int(match[1])


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.skipif(not STATUS.exists(), reason="needs /proc")
def test_anonymous_memory_grows_less_than_5_percent_from_step_2k_to_20k(settings, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = settings(
        "finetune",
        "preset=debug",
        "device=cpu",
        "progress=false",
        "snapshot_ts=0",
        "num_train_frames=40010",
        "eval_every_frames=4000",
        "recon_every_frames=4000",
    )
    memory = {}
    original = OffPolicyRun.iterate

    def measuring(self):
        original(self)
        if self.step in (2000, 20_000):
            memory[self.step] = anonymous_memory()

    monkeypatch.setattr(OffPolicyRun, "iterate", measuring)
    launch(config, tmp_path / "run", "finetune")
    growth = memory[20_000] / memory[2000] - 1
    print(f"anonymous memory: {memory[2000]} kB at step 2k, {memory[20_000]} kB at step 20k ({growth:+.1%})")
    assert growth < 0.05
