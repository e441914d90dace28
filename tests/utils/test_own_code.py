"""Code that a file names: this project's own, or named by the user as well."""

import pytest

from utils.config import resume_words
from utils.errors import UserError
from utils.own_code import code_in, foreign_in, options, refuse_unnamed

OWN = {
    "agent": {"name": "x", "_target_": "agents.dreamer.agent.DreamerAgent", "method": "agents.exploration.rnd.RND"},
    "env_factory": "envs.metaworld.make",
}
"""Of this project."""

FOREIGN = {
    "agent._target_": {"agent": {"_target_": "os.system"}},
    "agent.method": {"agent": {"method": "agents_of_mine.Method"}},
    "agent.drives": {"agent": {"drives": "training.checkpoint.save"}},
    "env_factory": {"env_factory": "environs.make"},
}


def test_this_projects_own_needs_no_word():
    refuse_unnamed(OWN, (), "the snapshot")
    refuse_unnamed({"agent": {"drives": None}, "env_factory": None}, (), "the snapshot")
    assert foreign_in(OWN) == {} and len(code_in(OWN)) == 3


@pytest.mark.parametrize("key", FOREIGN)
def test_other_code_is_named_by_the_user_or_refused(key):
    (path,) = code_in(FOREIGN[key]).values()
    refuse_unnamed(FOREIGN[key], (path,), "the snapshot")
    for named in ((), (None,), (path + "x",), (path[1:],)):
        with pytest.raises(UserError) as refused:
            refuse_unnamed(FOREIGN[key], named, "resume=run")
        assert str(refused.value).startswith("resume=run") and f"{key}={path}" in str(refused.value)
    with pytest.raises(UserError) as refused:
        refuse_unnamed(FOREIGN[key], (), "the snapshot", options)
    assert f"--{'env-factory' if key == 'env_factory' else 'import'}={path}" in str(refused.value)


@pytest.mark.parametrize(
    "path", ["", "agents", "agents.", ".agents.x", "agents..x", "agents.x y", "agents.x\n", 3, ["a"]]
)
@pytest.mark.parametrize("key", ["_target_", "method", "drives"])
def test_what_is_no_import_path_is_not_imported(key, path):
    with pytest.raises(UserError, match=f"agent.{key}"):
        refuse_unnamed({"agent": {key: path}}, (path,) if isinstance(path, str) else (), "the snapshot")


def test_words_that_go_on_name_the_code():
    assert resume_words("run", OWN) == "resume=run"
    assert resume_words("run", {"env_factory": "dots.make"}) == "resume=run env_factory=dots.make"
    config = {"agent": {"_target_": "my.Agent", "method": "my.Method", "drives": "my.drives"}, "env_factory": None}
    assert (
        resume_words("run", config)
        == "resume=run agent._target_=my.Agent agent.method=my.Method ++agent.drives=my.drives"
    )
