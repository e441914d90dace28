"""Whether the commands of a study will be taken, before the first of them is started."""

from collections.abc import Sequence
from shlex import split

from entry.scripts import SCRIPTS
from entry.settings import composed, settings_of
from studying.plan import Planned
from utils.errors import UserError

PHASES = {script.file: phase for phase, script in SCRIPTS.items()}


def check_commands(runs: Sequence[Planned]) -> str:
    """Compose and check one run of every agent and variant, and of one agent in every domain.

    Returns what they observe, ``pixels`` or ``states``. Raises :class:`UserError` that names the run.
    """
    seen: set[tuple[str, ...]] = set()
    observes = {"pixels"} if not runs else set()
    first = runs[0].agent if runs else ""
    for run in runs:
        key = (run.kind, run.agent, run.variant, run.domain if run.agent == first else "")
        if run.kind == "skills" or key in seen:
            continue
        seen.add(key)
        phase, words = PHASES[run.script], bare_words(run)
        try:
            settings = settings_of(phase, composed(phase, words))
        except UserError as error:
            raise UserError(f"{run.name}: {error}") from error
        if run.kind == "finetune" and not settings.evaluate:
            raise UserError(
                f"{run.name}: evaluate=false leaves nothing to compare. Set evaluate=true, or leave it out."
            )
        if settings.agent.name != run.agent:
            raise UserError(
                f"{run.name}: agent={run.agent} calls itself {settings.agent.name}; a study needs one name."
            )
        observes.add(settings.obs_type)
    if len(observes) > 1:
        raise UserError("configs: some runs observe pixels and some states. Give all of them the same configs=.")
    return observes.pop()


def check_data(runs: Sequence[Planned]) -> None:
    """Raise :class:`UserError` where the data are missing that some of ``runs`` learn from."""
    script = SCRIPTS["offline_train"]
    for run in {run.domain: run for run in reversed(runs) if run.kind == "pretrain" and run.data}.values():
        try:
            script.data(settings_of("offline_train", composed("offline_train", bare_words(run))))
        except UserError as error:
            raise UserError(f"{run.name}: {error}") from error


def bare_words(run: Planned) -> list[str]:
    """The overrides of a run as Hydra takes them; the snapshot is named by its frames, as in the published folders, so
    that it need not be there.
    """
    words = [word for part in run.words for word in split(part)]
    if not run.needs:
        return words
    return [*words, f"snapshot_ts={run.pretrain_frames}", *(["from_offline=true"] if run.data else [])]
