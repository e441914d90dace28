"""Numbers of others beside those of runs."""

import pytest
from runs_kit import result

from analysis.published import Judged, Published, judged
from envs.make import TASKS

EXPERTS = dict.fromkeys(TASKS["walker"], 100.0)


def published(subject="walker_walk", value=50.0, error=10.0, **changed):
    made = Published("lbs_dreamer", False, "", subject, value, error, False, None, "a paper")
    return made._replace(**changed)


def runs(*values, task="walker_walk", agent="lbs_dreamer", **facts):
    facts = {"snapshot_ts": 5, **facts}
    return [
        result(f"{task}{s}", agent, task, s, {0: 0.0, 10: value, 20: 999.0}, **facts) for s, value in enumerate(values)
    ]


@pytest.mark.parametrize(
    "values, error, verdict",
    [
        ((45.0, 47.0), 10.0, "the two ranges overlap"),
        ((30.0, 45.0), 10.0, "the two ranges overlap"),
        ((61.0, 65.0), 10.0, "above"),
        ((10.0, 39.0), 10.0, "below"),
        ((40.0, 60.0), None, "in the interval"),
        ((51.0, 60.0), None, "above"),
    ],
)
def test_verdicts(values, error, verdict):
    found = judged(published(error=error, frame=10), runs(*values), {})
    assert found.verdict == verdict and found.runs == 2
    assert found.measured.value == sum(values) / 2


def test_only_runs_that_stand_for_it_count():
    others = [
        *runs(1.0, agent="dreamer"),
        *runs(1.0, snapshot_ts=0),
        *runs(1.0, variant="mpc"),
        *runs(1.0, task="walker_run"),
    ]
    assert judged(published(), others, {}) == Judged(None, 0, "no runs of walker_walk")
    assert judged(published(scratch=True, frame=10), others, {}).measured.value == 1
    assert judged(published(variant="mpc", frame=10), others, {}).measured.value == 1
    assert "30" in judged(published(frame=30), runs(1.0), {}).verdict  # none has come so far


def test_a_domain_is_all_of_its_tasks_in_units_of_the_experts():
    one = published("walker", 0.5, None, normalised=True, frame=15)
    some = [run for task in TASKS["walker"] for run in runs(40.0, 60.0, task=task)]
    found = judged(one, some, EXPERTS)
    assert found.measured.value == pytest.approx(0.5) and found.runs == 8
    missing = judged(one, some[2:], EXPERTS)
    assert missing.measured is None and TASKS["walker"][0] in missing.verdict
    assert judged(one, some, {}).measured is None
    assert published(scratch=True, variant="x").who == "lbs_dreamer, from scratch, x"
