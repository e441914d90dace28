"""The folder of a job's snapshots, made of what the job differs in."""

import hashlib

import pytest

from utils.variant import LONGEST, variant, variant_of


def mark(text):
    return hashlib.sha256(text.encode()).hexdigest()[:8]


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ([("agent.skill_dim", 5)], "agent.skill_dim=5"),
        ([("seed", 1), ("agent", "dreamer"), ("domain", "walker")], None),
        ([("seed", 1), ("model_opt.lr", 3e-4), ("compile", True), ("replay.device", None)],
         "model_opt.lr=0.0003,compile=true,replay.device=null"),
        ([("preset", "small"), ("batch_size", -1)], "preset=small,batch_size=-1"),
    ],
)  # fmt: skip
def test_values_are_told_by_name(values, name):
    assert variant_of(values, ("domain", "agent", "seed")) == name


def test_what_no_folder_can_be_called_is_replaced_and_stays_apart():
    one, other = (variant_of([("snapshot", name)], ()) for name in ("a/b c.pt", "a_b/c.pt"))
    assert one == f"snapshot=a_b_c.pt-{mark('snapshot=a/b c.pt')}"
    assert other == f"snapshot=a_b_c.pt-{mark('snapshot=a_b/c.pt')}"
    assert variant_of([("a", "..")], ()) == "a=.."  # the name of a folder, since it has the key


def test_long_names_fit_and_stay_apart():
    texts = ["ü" * 300 + end for end in "ab"]
    names = [variant_of([("key", text)], ()) for text in texts]
    assert len(set(names)) == 2 and all(LONGEST < len(name.encode()) <= LONGEST + 9 for name in names)


def test_a_single_run_has_none():
    assert variant() is None
