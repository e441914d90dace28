"""``method``: what rewards DrQ besides the task, and by which keys; all but DIAYN are classes of agents/exploration."""

from typing import Literal, NamedTuple

from agents.drq.settings import DrQSettings
from agents.exploration.apt import APT
from agents.exploration.build import own_keys
from agents.exploration.cic import CIC
from agents.exploration.intrinsic_reward import IntrinsicReward, RunSizes, Sizes
from agents.exploration.metra import METRA
from agents.exploration.rnd import RND
from utils.rules import shown
from utils.settings import SettingError

Reads = Literal["own", "critic", "images"]
"""Features of an encoder that the method's loss trains, features of the critic's, or images."""


class Kind(NamedTuple):
    """How a method is put on DrQ."""

    rewards: type[IntrinsicReward]
    reads: Reads


KINDS = {
    "metra": Kind(METRA, "own"),
    "cic": Kind(CIC, "critic"),
    "rnd": Kind(RND, "images"),
    "apt": Kind(APT, "critic"),
}
"""The methods besides ``diayn``, which is :class:`agents.drq.discriminator.Discriminator`."""

DISCRETE = {"diayn": (True,), "metra": (False, True), "cic": (False,)}
"""The methods with skills, and what ``discrete`` may be."""

OF_DIAYN = {"reference": False, "discriminator_features": "own", "reward_state": "next"}
"""Keys that nothing but DIAYN reads, and what they are without it."""


def build_rewards(settings: DrQSettings, sizes: Sizes) -> IntrinsicReward:
    """The class of ``method`` with its keys: they have the names of its constructor's, but for those given here."""
    rewards, width = KINDS[settings.method].rewards, settings.discriminator_hidden_dim
    given = settings.plain() | {
        "skill_dim": settings.num_skills,
        "phi_layers": settings.discriminator_hidden_depth,
        **dict.fromkeys(("phi_hidden", "cic_hidden", "rnd_hidden"), width),
        "knn_rms": settings.knn_scale == "mean",
        "rnd_scale": 1.0,  # the coefficient of the reward is one already
        "target_decay": 0.0,
        "ridge": 1.0,  # of a choice of skills, and none is made
    }
    return rewards(sizes, **{name: given[name] for name in own_keys(rewards)})


def check_method(settings: DrQSettings, run: RunSizes) -> None:
    """Raise :class:`SettingError` for keys that do not go with ``method``."""
    method, skills = settings.method, settings.num_skills
    if method not in DISCRETE and skills:
        raise SettingError(
            f"`num_skills`={skills}: `method`={method} has no skills. Leave `num_skills` out, or choose one of "
            f"`method`={', '.join(DISCRETE)}."
        )
    if method in DISCRETE and method != "diayn" and not skills:
        raise SettingError(
            f"`num_skills`=0: `method`={method} learns skills of `num_skills` dimensions. Leave it out, or set "
            "`method`=diayn for DrQ without skills."
        )
    if skills and settings.discrete not in DISCRETE[method]:
        kind, other = ("one-hot", "true") if method == "diayn" else ("points of a cube", "false")
        raise SettingError(
            f"`discrete`={shown(settings.discrete)}: skills of `method`={method} are {kind}. Set `discrete`={other}, "
            "or `method`=metra, which has both kinds."
        )
    if method == "diayn":
        return
    for key, usual in OF_DIAYN.items():
        if (value := getattr(settings, key)) != usual:
            raise SettingError(
                f"`{key}`={shown(value)} is of `method`=diayn, and this run has `method`={method}. Leave `{key}` out."
            )
    if method == "apt" and settings.knn_scale == "variance":
        raise SettingError(
            "`knn_scale`=variance is what `method`=cic was published with. Set `knn_scale`=mean or none for "
            "`method`=apt."
        )
    try:
        KINDS[method].rewards.check(settings, run)
    except SettingError as error:  # the same keys lie at the root here
        raise SettingError(error.text.replace("`agent.", "`")) from None
