"""Command lines of the benchmarks: values, and what is refused."""

import pytest
import torch

from benchmarks import arguments
from utils.errors import UserError
from utils.rules import COUNT, FLAG

DEFAULTS, RULES = {"updates": 10, "baseline": False}, {"updates": COUNT, "baseline": FLAG}


def test_own_keys_are_read_and_others_left():
    values, others = arguments.split(["updates=3", "rssm.deter=8", "baseline=true"], DEFAULTS, RULES)
    assert values == {"threads": 1, "json": None, "updates": 3, "baseline": True}
    assert others == ["rssm.deter=8"]


def test_several_values_with_commas_between():
    defaults, rules = {"num_envs": [1, 2], "collect.workers": [True]}, {"num_envs": COUNT, "collect.workers": FLAG}
    assert arguments.own([], defaults, rules)["num_envs"] == [1, 2]
    values = arguments.own(["num_envs=4", "collect.workers=true,false"], defaults, rules)
    assert (values["num_envs"], values["collect.workers"]) == ([4], [True, False])
    for word, message in (("num_envs=1,,2", "num_envs=null"), ("collect.workers=true,1", "collect.workers=1")):
        with pytest.raises(UserError, match=f"{message} is not allowed"):
            arguments.own([word], defaults, rules)


def test_the_key_of_an_override():
    assert [arguments.key_of(word) for word in ("a.b=c=d", "+a=1", "++a=1", "~a")] == ["a.b", "a", "a", "a"]


def test_a_file_name_stays_a_text(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(arguments.file_of(arguments.own(["json=1e3"], DEFAULTS, RULES))) == "1e3"
    assert arguments.file_of(arguments.own([], DEFAULTS, RULES)) is None


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("--threads", "--threads: write key=value; keys of this benchmark: threads, json, updates, baseline."),
        ("--threads=2", "--threads=2: write key=value"),
        ("threads", "threads: write key=value"),
        ("=2", "=2: write key=value"),
        ("updates=0", "updates=0 is not allowed: it must be a whole number from 1"),
        ("updates=[", "updates=[ is not allowed: it must be a whole number from 1"),
        ("baseline=2", "baseline=2 is not allowed: it must be true or false."),
        ("threads=two", "threads=two is not allowed"),
        ("update=3", "update=3: there is no key update.*Did you mean updates?"),
        ("json=/dev/null/x.json", "json=/dev/null: /dev/null is not a folder"),
    ],
)
def test_what_is_refused(word, message):
    with pytest.raises(UserError, match=message.replace("[", r"\[").replace("?", r"\?")):
        arguments.own([word], DEFAULTS, RULES)


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(UserError, match=r"json=.*/benchmark\.json"):
        arguments.own([f"json={tmp_path}"], DEFAULTS, RULES)


def test_threads_are_put_back():
    with pytest.raises(RuntimeError), arguments.threads(2):
        assert torch.get_num_threads() == 2
        raise RuntimeError
    assert torch.get_num_threads() == 1
