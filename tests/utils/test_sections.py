"""Sections of settings: what is refused, and in which words."""

from typing import Annotated, Literal

import pytest
from pydantic import Field, ValidationError

from utils.rules import Count, Flag, Fraction, Kernels, OneOf, Text, choice
from utils.settings import MissingKey, Section, SettingError, UnknownKey, in_words, keys_of, parse, pick


class Inner(Section):
    size: Count
    share: Fraction | None
    overlap: Flag = Field(alias="async")


class Outer(Section):
    inner: Inner
    mode: OneOf[Literal[16, "bf16", True]]
    kind: Annotated[str, choice("full", "lite")]
    kernels: Kernels
    name: Text
    more: Inner | None = None
    count: int = 3
    several: list[int] = []


GOOD = {
    "inner": {"size": 3, "share": None, "async": True},
    "mode": 16,
    "kind": "lite",
    "kernels": [4, 4],
    "name": "x",
}


def changed(**changes):
    return GOOD | {"inner": GOOD["inner"] | changes.pop("inner", {})} | changes


def test_values_stay_as_they_were_written():
    found = parse(Outer, GOOD | {"more": {"size": 1, "share": 0, "async": False}})
    assert (found.inner.size, found.inner.overlap, found.mode, found.more.share) == (3, True, 16, 0)
    assert type(found.more.share) is int
    assert {key: found.plain()[key] for key in GOOD} == GOOD
    with pytest.raises(ValidationError):
        found.mode = "bf16"


@pytest.mark.parametrize(
    ("config", "named"),
    [
        (changed(inner={"size": True}), "inner.size=true"),
        (changed(inner={"size": 1.0}), "inner.size=1.0"),
        (changed(inner={"size": "3"}), "inner.size=3"),
        (changed(inner={"size": None}), "inner.size=null"),
        (changed(inner={"share": float("nan")}), "inner.share=nan"),
        (changed(inner={"share": 10**400}), "inner.share="),
        (changed(inner={"share": 2}), "or null"),
        (changed(inner={"async": 1}), "inner.async=1"),
        (changed(mode=16.0), "mode=16.0"),
        (changed(mode=1), "mode=1"),
        (changed(mode=[16]), "mode=[16]"),
        (changed(kind="medium"), "one of full, lite"),
        (changed(kernels=[]), "kernels=[]"),
        (changed(kernels=[0]), "kernels=[0]"),
        (changed(name=" "), "name="),
        (changed(count="3"), "a whole number"),
        (changed(several=["a"]), "several="),
        (GOOD | {"inner": 3}, "a section with the keys size, share, async"),
        (GOOD | {"more": "x"}, "more=x"),
    ],
)
def test_what_is_refused(config, named):
    with pytest.raises(SettingError) as refused:
        parse(Outer, config)
    message = str(refused.value)
    assert named in message and "`" not in message and "\n" not in message


def test_values_come_before_missing_and_missing_before_unknown():
    config = changed(inner={"size": 0, "depth": 3})
    del config["name"]
    with pytest.raises(SettingError) as refused:
        parse(Outer, config)
    assert "inner.size=0" in str(refused.value)
    config["inner"]["size"] = 1
    with pytest.raises(MissingKey) as missing:
        parse(Outer, config)
    assert missing.value.key == "name"
    with pytest.raises(UnknownKey) as unknown:
        parse(Outer, config | {"name": "x"})
    assert unknown.value.key == "inner.depth" and "inner.size" in unknown.value.known


def test_keys():
    assert {"inner", "inner.async", "more.size", "mode"} <= set(keys_of(Outer))
    assert pick(Inner, {"size": 1, "async": True, "mode": 2}) == {"size": 1, "async": True}


def test_a_script_shows_keys_by_its_own_names():
    names = {"replay.capacity": "replay_buffer_capacity"}.get
    error = SettingError("`replay.capacity`=3 is too small for `num_envs`=2.")
    assert str(error) == "replay.capacity=3 is too small for num_envs=2."
    assert error.worded(lambda key: names(key, key)) == "replay_buffer_capacity=3 is too small for num_envs=2."
    assert in_words("a `b c` `d`", str.upper) == "a `b c` D"
