"""What the run of a request needs: its snapshot, disk, memory, open files, folders it may write to, a wandb login."""

import netrc
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from doctoring.request import Request
from doctoring.row import Row, fail, ok, warn

MARGIN = 256
"""Open files besides the replay's segments: libraries, logs, pipes."""

OFFLINE = ("offline", "dryrun", "disabled")


def run_folder(request: Request) -> Path:
    """Where the run would write, or the folder that its own would be made in."""
    single, sweep = request.script.folders
    return request.run_dir or Path(sweep if request.first_of_sweep else single).absolute()


def snapshot(request: Request) -> Row:
    """The snapshot that the run starts from exists, can be read, and fits."""
    from training.fitting import check_fits

    if request.run_dir is not None:
        from entry.run_folder import refuse_foreign
        from training import checkpoint
        from training.run import CHECKPOINT
        from utils.config import CONFIG_FILE

        if not (request.run_dir / CONFIG_FILE).exists():
            refuse_foreign(request.run_dir)
        elif (request.run_dir / CHECKPOINT).exists():
            checkpoint.load(request.run_dir / CHECKPOINT, "checkpoint")
            return ok("not needed, the run has a checkpoint")
    source = request.script.source(request.settings)
    if source is None:
        return ok("not needed: from scratch")
    check_fits(source, request.settings, request.choices)
    return ok(f"{source.path.name} of agent={source.content['agent']}, frame {source.content.get('frame', '?')}")


def data_set(request: Request) -> Row:
    """The data that the run learns from are there; their names are looked at, not what they hold."""
    from replay.exorl import transitions
    from replay.files import readable
    from training.datasets import unconverted

    data = request.script.data(request.settings)
    if data is None:
        return ok("not needed: the run collects its own")
    there = f"{len(data.files):,} files, {transitions(data.files):,} transitions"
    left = unconverted(data)
    return ok(f"{there}, " + (f"to be converted once ({readable(left)})" if left else "converted already"))


def disk(request: Request, need: Any) -> Row:
    """The disk can take the run (see ``preflight.forecast``)."""
    from preflight.room import disk_notes
    from replay.files import free_bytes, readable

    folder = run_folder(request)
    if notes := request.worded(disk_notes(need, folder)):
        return warn("\n".join(note.partition(". ")[0] for note in notes), notes[0].partition(". ")[2])
    replay = f" (replay {readable(need.replay)})" if need.layout is not None else ""
    return ok(f"the run needs {readable(need.disk)}{replay}, {readable(free_bytes(folder))} are free")


def memory(request: Request, need: Any) -> Row:
    """The memory that is available can take the run (see ``preflight.forecast``)."""
    from preflight.room import available_memory, goes_on, memory_notes
    from replay.files import readable

    if notes := request.worded(memory_notes(need, goes_on(request.run_dir))):
        return warn(notes[0].partition(". ")[0], notes[0].partition(". ")[2])
    available = available_memory()
    there = "what is available is not known here" if available is None else f"{readable(available)} are available"
    gpu = f", {readable(need.gpu)} on the GPU" if need.on_gpu else ""
    return ok(f"the run takes about {readable(need.ram)}{gpu}; {there}")


def open_files(need: Any) -> Row:
    """The replay's mapped files stay within the limit of open files."""
    try:
        import resource
    except ImportError:  # not a POSIX system
        return ok("no limit is known here")
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = need.replay_files + MARGIN
    if limit != resource.RLIM_INFINITY and limit < wanted:
        return fail(f"a process may open {limit} files, the run needs up to {wanted}", f"ulimit -n {wanted}")
    return ok(f"up to {wanted} needed, {'no limit' if limit == resource.RLIM_INFINITY else limit} allowed")


def writable(request: Request) -> Row:
    """The run folder and others that the run writes to can be made and written to."""
    from utils.folders import check_writable

    folder = run_folder(request)
    check_writable("hydra.run.dir", str(folder))
    others = request.settings.outside(folder)
    for key, other in others.items():
        check_writable(key, str(other))
    return ok(" and ".join(("the run folder", *(f"the one of {key}" for key in others))))


def wandb_login(use_wandb: bool) -> Row:
    """``use_wandb=true`` finds a login, or WANDB_MODE=offline; the server is not asked."""
    if not use_wandb:
        return ok("not needed: use_wandb=false")
    mode = os.environ.get("WANDB_MODE", "").strip().lower()
    if mode in OFFLINE:
        return ok(f"WANDB_MODE={mode}: no login needed")
    if os.environ.get("WANDB_API_KEY", "").strip():
        return ok("WANDB_API_KEY is set")
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    if _in_netrc(host):
        return ok(f"a login for {host} is stored")
    return warn("use_wandb=true, but there is no login", "wandb login, or WANDB_MODE=offline, or use_wandb=false")


def _in_netrc(host: str) -> bool:
    """Whether the file that ``wandb login`` writes has an entry for ``host``."""
    given = os.environ.get("NETRC")
    paths = [Path(given)] if given else [Path.home() / name for name in (".netrc", "_netrc")]
    for path in paths:
        try:
            if netrc.netrc(str(path)).authenticators(host):
                return True
        except (OSError, netrc.NetrcParseError):
            continue
    return False
