"""Published numbers in the files of studies."""

import pytest

from analysis.published import Published
from studying.expected import read_expected
from studying.settings import read_request
from utils.errors import UserError

ONE = {"agent": "dreamer", "scratch": True, "frame": 100, "source": "a paper", "returns": {"walker_walk": [475, 42]}}


def test_returns_and_scores():
    assert read_expected([ONE]) == [
        Published("dreamer", True, "", "walker_walk", 475.0, 42.0, False, 100, "a paper"),
    ]
    [one] = read_expected([{"agent": "lbs_dreamer", "variant": "mpc", "source": "x", "scores": {"walker": 0.97}}])
    assert one == Published("lbs_dreamer", False, "mpc", "walker", 0.97, None, True, None, "x")


@pytest.mark.parametrize(
    "changed, said",
    [
        ({"returns": {"walker_wolk": 1}}, ["walker_wolk", "walker_walk"]),
        ({"scores": {"walkers": 1}}, ["walkers", "walker"]),
        ({"returns": {"walker_walk": "much"}}, ["returns"]),
        ({"returns": {"walker_walk": [1, 2, 3]}}, ["returns"]),
        ({"returns": {"walker_walk": [1, -2]}}, ["returns"]),
        ({"agnt": "dreamer"}, ["agnt", "agent"]),
        ({"source": ""}, ["source"]),
    ],
)
def test_refusals_name_the_entry(changed, said):
    with pytest.raises(UserError) as error:
        read_expected([ONE, {**ONE, **changed}])
    assert all(part in str(error.value) for part in ["expected[1]", *said])
    with pytest.raises(UserError, match=r"expected\[0\]"):
        read_expected(["dreamer"])


@pytest.mark.parametrize("study, count", [("urlb_pixels", 5 + 3), ("urlb_states", 6 * 11), ("choreographer_exorl", 0)])
def test_what_ships(study, count):
    asked = read_request([f"study={study}"])
    assert len(asked.expected) == count
    agents = {*asked.runs.agents, *asked.runs.baselines}
    assert {one.agent for one in asked.expected} <= agents
    assert {one.variant for one in asked.expected} <= {"", *asked.variants}
    tasks = set(asked.runs.tasks)
    assert all(one.subject in tasks or one.normalised for one in asked.expected)
