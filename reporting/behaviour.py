"""What a snapshot does: films of its skills, the states they cover, whether they can be told apart, returns."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from analysis.cells import MEASURES, cells
from analysis.clips import grid
from analysis.evaluate import play_all, task_of
from analysis.returns import OWN, mean
from analysis.skill_probe import PENALTY_C, Probe, probe
from envs.make import TASKS
from envs.relabel import check_relabel, relabeller
from reporting.figures import GREY, Line, lines
from reporting.media import jpeg, video
from reporting.page import Html, figure, image, joined, paragraph, row, table
from reporting.subject import RANDOM, NotHere, Subject
from training.evaluation import Played
from training.judged import judge
from training.pretrained import Pretrained
from utils.errors import UserError
from utils.statistics import stratified_bootstrap, wilson
from utils.video import tile


def skills(subject: Subject) -> Html:
    """A video grid of what is followed, and a still one of where its episodes end."""
    made = subject.episodes
    if made.unseen or not made.films:
        raise NotHere(f"Nothing can be drawn here: {made.unseen or 'the environment gives no pictures'}")
    clips = made.films
    columns = len(clips) if len(clips) <= 3 else math.ceil(len(clips) ** 0.5)
    shown, size = video(grid(clips, columns), f"Video grid of {', '.join(clips)}, from the same start")
    starts = [tile(row[:, None], len(clips))[0] for row in made.ends]
    ends = image(jpeg(np.concatenate(starts)), "image/jpeg", "Last pictures of episodes", own_size=True)
    parts = [
        figure(shown, f"The first start, with mean actions ({size}).", "wide"),
        figure(ends, f"Where episodes end: {', '.join(clips)} from left to right, a row per start.", "wide"),
    ]
    count = len(subject.agent.shown.candidates(subject.agent.device)) if subject.agent.shown.dim else 0
    followed = len(made.followed())
    note = f"Shown are {followed} of its {count} skills; skills=all shows all." if followed < count else ""
    if not count:
        note = "This agent has no skills; its own policy is shown."
    return joined(paragraph(note, "note") if note else Html(""), row(*parts))


def covered(subject: Subject) -> Html:
    """Distinct cells of a coarse grid of states, beside random actions over as many steps."""
    domain = subject.config["domain"]
    if domain not in MEASURES or subject.config.get("env_factory") is not None:
        raise NotHere(f"There is no measure of states for domain={domain}; there is one for {', '.join(MEASURES)}.")
    of_skills = {name: [one.states for one in own] for name, own in subject.episodes.skills.items()}
    every = [states for start in zip(*of_skills.values(), strict=True) for states in start]
    if every[0].shape[1] != MEASURES[domain].size:
        raise NotHere("The environment gives no simulator states of this body.")
    by_chance = subject.random_states
    ours, theirs = growth(domain, every), growth(domain, by_chance)
    own = {name: int(growth(domain, states)[-1]) for name, states in of_skills.items()}
    subject.numbers["coverage"] = (int(ours[-1]), int(theirs[-1]))
    steps = np.unique(np.linspace(0, len(ours) - 1, 60).astype(int))
    steps_random = np.unique(np.linspace(0, len(theirs) - 1, 60).astype(int))
    what = "all of them" if len(own) > 1 else next(iter(own))
    curve = lines(
        [
            Line(what, steps, ours[steps]),
            Line(RANDOM, steps_random, theirs[steps_random], colour=GREY, dashed=True),
        ],
        f"Distinct states over steps: {ours[-1]} of {what}, {theirs[-1]} of random actions",
        "steps of the agent",
        "distinct states (bins)",
        zero=True,
    )
    axes = ", ".join(axis.name for axis in MEASURES[domain].axes)
    rows = [*(own | {what: int(ours[-1])}).items(), (f"{RANDOM}, as many steps", int(theirs[-1]))]
    times = ours[-1] / max(1, theirs[-1])
    about = (
        f"Bins of a fixed grid over {axes}. Together they reach {ours[-1]} bins in {len(ours):,} states, random "
        f"actions {theirs[-1]} in {len(theirs):,}: {times:.2f} times as many."
    )
    most = max(int(value) for _, value in rows)
    bins = table(("followed", "bins"), rows, "Distinct states", shaded=[[int(value) / most] for _, value in rows])
    seen = figure(curve, "How many distinct states have been seen, start by start.")
    return joined(paragraph(about), row(seen, bins))


def growth(domain: str, episodes: Sequence[NDArray[np.float64]]) -> NDArray[np.int64]:
    """How many distinct cells the first 1, 2, ... states of ``episodes``, (T, P) each, are in."""
    found = cells(domain, np.concatenate(list(episodes)))
    _, first = np.unique(found, axis=0, return_index=True)
    new = np.zeros(len(found), np.int64)
    new[first] = 1
    return np.cumsum(new)


def told_apart(subject: Subject) -> Html:
    """Whether a linear classifier names the skill from where an episode leads."""
    followed = subject.episodes.followed()
    if len(followed) < 2:
        raise NotHere("There are no two skills to tell apart.")
    if subject.effort.episodes < 2:
        raise NotHere("One episode is held out and others are learned from: ask for episodes=2 or more.")
    agent = subject.agent
    candidates = agent.shown.candidates(agent.device)
    skills = [candidates[number].cpu().numpy() for number in subject.episodes.numbers if number >= 0]
    every = [(number, one) for number, own in enumerate(followed.values()) for one in own]
    features = np.stack([agent.embed(torch.from_numpy(one.images)).float().cpu().numpy() for _, one in every])
    found, chance = probe(features, np.array([number for number, _ in every])), 1 / len(followed)
    subject.numbers["probe"] = (found, chance)
    rows = [("end of an episode, linear classifier", *_named(found, chance))]
    judged = [judge(agent, one.images, skills[number]) for number, one in every]
    if known := [one for one in judged if one is not None]:
        steps, named = sum(len(one.rewards) for one in known), sum(one.named for one in known)
        own = Probe(named / steps, *wilson(named, steps))
        rows.append(("every step, the agent's own discriminator", *_named(own, 1 / agent.shown.dim)))
    about = (
        f"A logistic regression (L2, C = {PENALTY_C:g}) names the skill from the agent's embedding of where an episode "
        f"ends, on episodes it was not fitted to: {len(every)} episodes of {len(followed)} skills."
    )
    if found.low <= chance:
        about += " The interval holds chance: with so few episodes nothing is shown either way."
    head = ("named from", "share named", "95 % interval", "chance")
    return joined(paragraph(about), table(head, rows, "Skills named rightly"))


def _named(found: Probe, chance: float) -> tuple[str, str, str]:
    return f"{found.accuracy:.2f}", f"{found.low:.2f} .. {found.high:.2f}", f"{chance:.2f}"


def tasks(subject: Subject) -> Html:
    """Returns of what is followed on all tasks of the domain; where states say what a task rewards, from them."""
    own_task = subject.config["task"]
    made = subject.episodes.skills
    returns = {own_task: {name: [one.reward for one in own] for name, own in made.items()}}
    returns[own_task][RANDOM] = [one.reward for one in subject.random]
    notes = []
    for task in wanted_tasks(subject):
        if task == own_task:
            continue
        try:
            returns[task] = _on(subject, task)
        except UserError as error:
            notes.append(paragraph(f"{task}: {error}", "note"))
    names = [*made, RANDOM]
    means = {task: [float(np.mean(own.get(name, math.nan))) for name in names] for task, own in returns.items()}
    skilled = [number for number, name in enumerate(names) if name not in (OWN, RANDOM)]
    most = [
        (max(skilled or [0], key=lambda number: column[number]), place)
        for place, column in enumerate(means.values(), 1)
    ]
    highest = {task: np.nanmax(column) or 1.0 for task, column in means.items()}
    rows = [[name, *(_number(column[number]) for column in means.values())] for number, name in enumerate(names)]
    shaded = [[_part(column[number] / highest[task]) for task, column in means.items()] for number in range(len(names))]
    best = most[0][0]
    subject.numbers["return"] = (names[best], means[own_task][best], own_task)
    shown = table(("followed", *means), rows, "Mean return", shaded=shaded, most=most)
    relabelled = len(returns) > 1
    starts = subject.effort.episodes
    about = f"Means over {starts} starts; shades are parts of a column's highest, the best skill is bold."
    if skilled:
        about += " The best of several is so partly by luck: play it again (evaluate.py) before it is quoted."
    if relabelled:
        about += " " + _check(subject, returns[own_task])
    return joined(paragraph(about), shown, _intervals(own_task, returns[own_task]), *notes)


def wanted_tasks(subject: Subject) -> list[str]:
    """The tasks that are asked for. Raises :class:`UserError` for one there is not."""
    domain, asked = subject.config["domain"], subject.effort.tasks
    if asked == "all":
        return [subject.config["task"]] if subject.config.get("env_factory") is not None else list(TASKS[domain])
    source = Pretrained(subject.path, dict(subject.content))
    return [task_of(word.strip(), source) for word in asked.split(",")]


def _on(subject: Subject, task: str) -> dict[str, list[float]]:
    """Returns on another task: of the same episodes where its reward follows from states, else played anew."""
    made = subject.episodes.skills
    try:
        check_relabel(subject.config["domain"], task)
        rewards = relabeller(task, subject.config.get("dataset") == "exorl")
        played = {**made, RANDOM: subject.random}
        return {name: [_relabelled(subject, rewards, one) for one in own] for name, own in played.items()}
    except UserError:
        pass
    env = subject.env(task=task)
    try:
        found = play_all(
            subject.agent,
            env,
            subject.to_play(),
            subject.effort.episodes,
            seed=subject.effort.seed,
            action_repeat=subject.config["action_repeat"],
            tell=subject.tell,
        )
    finally:
        env.close()
    return {name: [one.reward for one in found if one.played == name] for name in made}


def _relabelled(subject: Subject, rewards, played: Played) -> float:  # type: ignore[no-untyped-def]
    """A step holds its action for several control steps, of which the last one's state is known: it stands for all."""
    return float(rewards(played.states[1:]).sum()) * float(subject.config["action_repeat"])


def _check(subject: Subject, played: Mapping[str, Sequence[float]]) -> str:
    """How good the relabelled returns are, in words: on the task that was played."""
    own_task = subject.config["task"]
    try:
        again = _on(subject, own_task)
    except UserError:
        return ""
    apart = max(abs(a - b) for name in again for a, b in zip(again[name], played[name], strict=False))
    return (
        f"Those of other tasks are computed from the simulator's states at every step of the agent; on {own_task} this "
        f"differs from what was played by {apart:.1f} at most."
    )


def _intervals(task: str, returns: Mapping[str, Sequence[float]]) -> Html:
    if min(map(len, returns.values())) < 2:
        return Html("")
    rows = []
    for name, own in returns.items():
        found = stratified_bootstrap([own], mean)
        rows.append((name, *(f"{value:.1f}" for value in found), f"{min(own):.1f}", f"{max(own):.1f}"))
    head = ("followed", "mean", "from", "to", "least", "most")
    return table(head, rows, f"{task}, as played: 95 % bootstrap interval of the mean over starts")


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.1f}"


def _part(value: float) -> float | None:
    return None if math.isnan(value) else value
