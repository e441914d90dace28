"""The runs that scripts make: which evaluator, which logs, which last snapshot."""

from pathlib import Path

from envs.make import EnvSettings, goals_of, make, places
from training.clock import Clock
from training.episode_log import EpisodeLog, SkillEpisodeLog
from training.evaluators import EverySkill, MeanActions
from training.goal_kinds import goal_kind
from training.goals import GoalLog, GoalViews, ReachedGoals, Target
from training.off_policy import OffPolicyRun
from training.offline import OfflineRun
from training.offline_parts import OfflineParts
from training.offline_settings import OfflineKeys
from training.on_policy import OnPolicyRun
from training.parts import Parts, env_arguments, episode_records
from training.rest_parts import RestParts
from training.run import Origin
from training.settings import DreamerRunKeys, DrQKeys, FinetuneKeys, RestKeys
from utils.logger import Logger

FINETUNED = "finetuned_snapshot.pt"
FINAL_MODEL = Path("models", "final_model.pt")


def dreamer_run(
    settings: DreamerRunKeys, run_dir: Path, parts: Parts, clock: Clock, logger: Logger, origin: Origin
) -> OffPolicyRun:
    """Of ``dreamer_pretrain.py`` and ``dreamer_finetune.py``."""
    grid = {"most_skills": settings.num_skill_videos, "skill_steps": settings.skill_video_steps}
    goals = goals_of(settings.task, settings.env_factory)
    evaluator: MeanActions = MeanActions(settings.num_eval_episodes, **grid)
    episodes = EpisodeLog()
    if goals is not None and goals.in_sets:
        evaluator.reached_above = goals.reached_above
    if isinstance(settings, FinetuneKeys) and settings.eval_goals:
        evaluator, episodes = _reaching(settings, run_dir, grid)
    run = OffPolicyRun(settings, run_dir, parts, clock, logger, origin, evaluator, episodes)
    if isinstance(settings, FinetuneKeys) and settings.save_ft_model:
        run.final = run_dir / FINETUNED
    return run


def _reaching(settings: FinetuneKeys, run_dir: Path, grid: dict[str, int]) -> tuple[ReachedGoals, GoalLog]:
    """How goals are evaluated; the settings were checked for whether they can be."""
    goals, made = goals_of(settings.task), env_arguments(settings)
    assert goals is not None
    kind, views = goal_kind(goals), None
    if settings.goal_mode != "random_skills":
        views = GoalViews(lambda: make(settings.task, seed=settings.seed, **made), kind.look)
    log = GoalLog(run_dir)
    evaluator = ReachedGoals(
        settings.num_eval_episodes,
        [Target(number, place) for number, place in places(EnvSettings(settings.task, seed=settings.seed, **made))],
        reached=kind.reached,
        aims=goals.in_sets,
        period=settings.agent.update_skill_every_step,  # type: ignore[attr-defined]  # of every agent with skills
        mode=settings.goal_mode,
        views=views,
        log=log,
        run_dir=run_dir,
        names=kind.names,
        **grid,
    )
    return evaluator, log


def drq_run(
    settings: DrQKeys, run_dir: Path, parts: Parts, clock: Clock, logger: Logger, origin: Origin
) -> OffPolicyRun:
    """Of ``drq_train.py``."""
    episodes = SkillEpisodeLog(run_dir, logger)
    _, count = settings.evaluation
    evaluator = EverySkill(count, length=episode_records(settings), record=episodes.record)
    run = OffPolicyRun(settings, run_dir, parts, clock, logger, origin, evaluator, episodes)
    run.final = run_dir / FINAL_MODEL
    return run


def rest_run(
    settings: RestKeys, run_dir: Path, parts: RestParts, clock: Clock, logger: Logger, origin: Origin
) -> OnPolicyRun:
    """Of ``rest_train.py``."""
    return OnPolicyRun(settings, run_dir, parts, clock, logger, origin)


def offline_run(
    settings: OfflineKeys, run_dir: Path, parts: OfflineParts, clock: Clock, logger: Logger, origin: Origin
) -> OfflineRun:
    """Of ``offline_train.py``."""
    return OfflineRun(settings, run_dir, parts, clock, logger, origin)
