"""What is said of the jobs of a sweep."""

from entry.words import Jobs

JOBS = Jobs([[f"seed={seed}", "preset=debug"] for seed in range(9)], True, ("seed",))


def test_a_fault_of_several_jobs_is_told_once_and_all_faults_in_one_message():
    faults = [(1, "domain=hoper is not known"), (2, "batch_size=-1"), (4, "domain=hoper is not known")]
    assert JOBS.together(faults).splitlines() == [
        "job 1 of 9 (seed=1): domain=hoper is not known",
        "  the same: seed=4",
        "job 2 of 9 (seed=2): batch_size=-1",
    ]


def test_of_many_jobs_and_faults_the_first_are_named():
    assert JOBS.together([(number, "the same") for number in range(9)]).splitlines() == [
        "job 0 of 9 (seed=0): the same",
        "  the same: seed=1; seed=2; seed=3; seed=4; seed=5 and 3 more",
    ]
    lines = JOBS.together([(number, f"fault {number}") for number in range(7)]).splitlines()
    assert lines[:5] == [f"job {number} of 9 (seed={number}): fault {number}" for number in range(5)]
    assert lines[5:] == ["and 2 more faults"]


def test_a_sweep_of_one_job_does_not_name_it():
    assert Jobs([["batch_size=-1"]], True, ()).together([(0, "batch_size=-1")]) == "batch_size=-1"
