"""What a world model has learned: a map of its latent states, open-loop predictions, its loss on fresh episodes."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agents.dreamer.agent import DreamerAgent
from agents.exploration.intrinsic_reward import Scored
from analysis.returns import mean
from reporting.figures import GREY, Line, lines, scatter
from reporting.media import jpeg
from reporting.page import Html, figure, image, joined, paragraph, row, table
from reporting.subject import RANDOM, NotHere, Subject
from training.evaluation import Played
from utils.csv_log import read_columns
from utils.seeding import own_randomness
from utils.statistics import Interval, stratified_bootstrap
from utils.video import label, tile, upscale

MOST_POINTS = 300
"""Of each skill, in the map of latent states."""

CONTEXT, LENGTH = 5, 50
"""Steps that are filtered before a prediction begins, and of the whole."""

TIMES = (0, 4, 5, 10, 20, 35, 49)
"""Steps that are shown of a prediction; the first two are before it begins."""

AXES = ("first", "second")

MOST_ROWS = 3
"""Episodes that are shown of the predicted."""

MOST_WINDOWS = 40
"""Windows that the model's loss is taken over, of each row."""


def batch(played: Sequence[Played], first: int, length: int) -> tuple[Tensor, Tensor, Tensor]:
    """Observations (B, T, ...), the actions (B, T, A) that led to them, and where episodes begin (B, T), of ``length``
    records from the record ``first`` on. An episode's first record has the action 0.
    """
    seen = np.stack([one.images[first : first + length] for one in played])
    led = [np.concatenate([np.zeros_like(one.actions[:1]), one.actions])[first : first + length] for one in played]
    begins = torch.zeros(len(played), length, dtype=torch.bool)
    begins[:, 0] = first == 0
    return torch.from_numpy(seen), torch.from_numpy(np.stack(led).astype(np.float32)), begins


def principal(features: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Mean (F,), the two directions (2, F) in which ``features`` (N, F) vary most, and the shares (2,) of the variance
    that lie in them.
    """
    middle = features.mean(0, dtype=np.float64)
    _, sizes, directions = np.linalg.svd(features.astype(np.float64) - middle, full_matrices=False)
    power = sizes**2
    return middle, directions[:2], power[:2] / max(power.sum(), 1e-12)


@torch.no_grad()
def latents(subject: Subject) -> Html:
    """The latent states of every episode, in the plane in which all of them vary most."""
    followed = {RANDOM: subject.random, **subject.episodes.skills}
    with own_randomness(subject.agent.device, subject.effort.seed):
        every = {name: [_features(subject, one) for one in own] for name, own in followed.items()}
    clouds = {name: _thin(np.concatenate(own)) for name, own in every.items()}
    middle, directions, shares = principal(np.concatenate(list(clouds.values())))
    flat = [(name, (cloud - middle) @ directions.T) for name, cloud in clouds.items()]
    named = [f"{axis} component, {share:.0%} of the variance" for axis, share in zip(AXES, shares, strict=True)]
    alt = f"Latent states of {', '.join(clouds)} in their first two principal components"
    kind = "The model's state (deterministic and stochastic)" if _dreams(subject) else "The agent's embedding of images"
    about = f"{kind} at up to {MOST_POINTS} steps of each, projected by one PCA of all of them."
    apart = _silhouette(flat)
    if apart is not None:
        about += f" The mean distance between the skills' centres is {apart:.2f} times the mean spread around them."
    shown = figure(scatter(flat, alt, *named), "One colour per skill; grey: random actions.")
    return joined(paragraph(about), row(shown))


def _features(subject: Subject, played: Played) -> NDArray[np.float32]:
    """(T, F)."""
    agent = subject.agent
    if isinstance(agent, DreamerAgent):
        seen = agent.world_model.observe(*batch([played], 0, len(played.images)))
        return seen.feat[0].float().numpy()
    images = torch.from_numpy(played.images)
    stride = max(1, len(images) // 40)
    return np.stack([agent.embed(images[max(0, t - 8) : t + 1]).float().numpy() for t in range(0, len(images), stride)])


def _thin(features: NDArray[np.float32]) -> NDArray[np.float32]:
    return features[np.linspace(0, len(features) - 1, min(MOST_POINTS, len(features))).astype(int)]


def _silhouette(flat: Sequence[tuple[str, NDArray[np.float64]]]) -> float | None:
    """Distance between the centres of the clouds but the first, over their spread; None for fewer than two."""
    clouds = [cloud for _, cloud in flat[1:]]
    if len(clouds) < 2:
        return None
    centres = np.stack([cloud.mean(0) for cloud in clouds])
    between = [np.linalg.norm(a - b) for i, a in enumerate(centres) for b in centres[:i]]
    within = [np.linalg.norm(cloud - centre, axis=1).mean() for cloud, centre in zip(clouds, centres, strict=True)]
    return float(np.mean(between) / max(np.mean(within), 1e-12))


def _dreams(subject: Subject) -> bool:
    return isinstance(subject.agent, DreamerAgent)


@torch.no_grad()
def open_loop(subject: Subject) -> Html:
    """What the model predicts of episodes it has not learned from, and how far it is off."""
    agent = subject.agent
    if not isinstance(agent, DreamerAgent):
        raise NotHere(f"agent={subject.content['agent']} has no world model.")
    if not subject.sees_images:
        raise NotHere("A world model of states predicts no images.")
    played = [own[0] for own in subject.episodes.skills.values()] + subject.random[:1]
    names = [*subject.episodes.skills, RANDOM]
    length = min(LENGTH, *(len(one.images) for one in played))
    with own_randomness(agent.device, subject.effort.seed):
        shown = agent.world_model.open_loop(*batch(played, 0, length), context=CONTEXT)
    truth, model, _ = shown.chunk(3, dim=-2)
    off = (model - truth).square().mean((2, 3, 4)).sqrt().numpy()  # (B, T)
    still = (truth[:, CONTEXT - 1 : CONTEXT] - truth).square().mean((2, 3, 4)).sqrt().numpy()
    steps = np.arange(length)
    curve = lines(
        [
            _band("model", steps, off, None),
            _band("last image seen, repeated", steps[CONTEXT:], still[:, CONTEXT:], GREY),
        ],
        f"Error over steps: {off[:, -1].mean():.3f} at the end, of a still image {still[:, -1].mean():.3f}",
        "steps; prediction begins after the first five",
        "error of a pixel (RMS, 0 to 1)",
        zero=True,
    )
    after = slice(CONTEXT, None)
    better = off[:, after].mean() / max(still[:, after].mean(), 1e-9)
    subject.numbers["open loop"] = better
    about = (
        f"Five steps are seen, then {length - CONTEXT} are predicted from the actions alone. The error is "
        f"{off[:, after].mean():.3f}, {better:.2f} times that of repeating the last image seen."
    )
    strip = _strip(truth, model, names, length)
    caption = "Above what happened, below what was predicted; the first two columns are still seen."
    curves = figure(curve, "Mean over what was followed; band: its range.")
    return joined(paragraph(about), row(figure(strip, caption, "wide"), curves))


def _band(name: str, x: NDArray[np.int64], values: NDArray[np.float32], colour: str | None) -> Line:
    return Line(name, x, values.mean(0), values.min(0), values.max(0), colour, dashed=colour is not None)


def _strip(truth: Tensor, model: Tensor, names: Sequence[str], length: int) -> Html:
    times = [time for time in TIMES if time < length]
    chosen = np.unique(np.linspace(0, len(names) - 1, MOST_ROWS).astype(int))
    tiles = []
    for number in chosen:
        for video, kind in ((truth, names[number]), (model, "model")):
            pictures = (video[number, times].clamp(0, 1) * 255).byte().permute(0, 2, 3, 1).numpy()
            large = upscale(pictures, 2)
            steps = [f"step {time}" if kind != "model" else "" for time in times[1:]]
            text = [kind, *steps]
            tiles += list(label(large, text)[:, None])
    words = f"Film strips of {', '.join(names[number] for number in chosen)}: truth above, prediction below"
    return image(jpeg(tile(np.stack(tiles), len(times))[0]), "image/jpeg", words, own_size=True)


@torch.no_grad()
def held_out(subject: Subject) -> Html:
    """The parts of the world model's loss on the episodes of this report, beside those of the last training rows."""
    agent = subject.agent
    if not isinstance(agent, DreamerAgent):
        raise NotHere(f"agent={subject.content['agent']} has no world model.")
    length = int(subject.config["batch_length"])
    constant = 0.5 * math.log(2 * math.pi) * math.prod(agent.world_model.obs_shape)
    rows = []
    played = {"skills" if subject.agent.shown.dim else "its policy": sum(subject.episodes.skills.values(), [])}
    for name, own in (played | {RANDOM: subject.random}).items():
        with own_randomness(agent.device, subject.effort.seed):
            found = losses(agent, own, length)
        kl, observation = (stratified_bootstrap([values], mean) for values in found)
        half = Interval(*(value - constant for value in observation))
        rows.append((f"{name}, {len(found[0])} windows", _between(kl, 2), _between(half, 1)))
    trained = _trained(subject)
    if trained is not None:
        rows.append(("training, mean of the last rows", f"{trained[0]:.2f}", f"{trained[1] - constant:.1f}"))
    about = (
        f"Windows of {length} steps, as in training, of episodes that were played for this report. KL(posterior || "
        f"prior) in nats a step, and the observation loss without its constant {constant:,.1f}, which is half the "
        "squared error of a step; with 95 % bootstrap intervals of the means over windows."
    )
    if trained is None:
        about += " The run's train.csv is not there to compare with."
    head = ("episodes of", "KL", "observation loss")
    return joined(paragraph(about), table(head, rows, "World-model loss on fresh episodes"))


def _between(found: Interval, digits: int) -> str:
    return f"{found.value:.{digits}f} ({found.low:.{digits}f} .. {found.high:.{digits}f})"


def losses(
    agent: DreamerAgent, played: Sequence[Played], length: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """KL and observation loss, (W,) each, of windows of ``length`` records, from a state of zeros as in training."""
    windows = [(one, first) for one in played for first in range(0, len(one.images) - length + 1, length)]
    if not windows:
        raise NotHere(f"Episodes are shorter than the {length} steps of a training window.")
    chosen = np.linspace(0, len(windows) - 1, min(MOST_WINDOWS, len(windows))).astype(int)
    model, found = agent.world_model, []
    for number in chosen:
        one, first = windows[number]
        seen = model.observe(*batch([one], first, length))
        outputs = model.reward_head(seen.feat).shape[-1]
        nothing = torch.zeros(1, length, *([outputs] if outputs > 1 else []))
        _, parts = model.loss(seen, Scored(nothing, torch.zeros(1, length, dtype=torch.bool)))
        found.append((float(seen.kl.mean()), float(parts.losses["observation_loss"])))
    kl, observation = np.array(found).T
    return kl, observation


def _trained(subject: Subject) -> tuple[float, float] | None:
    path = (subject.run or Path(subject.content["run"])) / "train.csv"
    if not path.is_file():
        return None
    columns = read_columns(path)
    if not {"frame", "model_kl", "observation_loss"} <= columns.keys():
        return None
    rows = np.array([columns["frame"], columns["model_kl"], columns["observation_loss"]])
    rows = rows[:, np.isfinite(rows).all(0) & (rows[0] <= subject.content["frame"])][1:, -3:]
    return (float(rows[0].mean()), float(rows[1].mean())) if rows.shape[1] else None
