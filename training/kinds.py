"""The runs that scripts make: which evaluator, which logs, which last snapshot."""

from pathlib import Path

from training.clock import Clock
from training.episode_log import EpisodeLog, SkillEpisodeLog
from training.evaluators import EverySkill, MeanActions
from training.off_policy import OffPolicyRun
from training.offline import OfflineRun
from training.offline_parts import OfflineParts
from training.offline_settings import OfflineKeys
from training.on_policy import OnPolicyRun
from training.parts import Parts, episode_records
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
    evaluator = MeanActions(
        settings.num_eval_episodes, most_skills=settings.num_skill_videos, skill_steps=settings.skill_video_steps
    )
    run = OffPolicyRun(settings, run_dir, parts, clock, logger, origin, evaluator, EpisodeLog())
    if isinstance(settings, FinetuneKeys) and settings.save_ft_model:
        run.final = run_dir / FINETUNED
    return run


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
