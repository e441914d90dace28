"""The runs that an older version wrote, of a few seconds each, unpacked where a test wants them."""

import tarfile
from pathlib import Path

from utils.config import CONFIG_FILE
from utils.plain_yaml import dump, read

ARCHIVE = Path(__file__).parent / "data" / "written_by_9df961d.tar.xz"
"""Commit 9df961d: a pre-training with DIAYN on the pendulum, a fine-tuning of its snapshot and a run of DrQ with
skills, all of them finished, with their replays; and the snapshot."""

SNAPSHOT = "snaps/pixels/pendulum/diayn_dreamer/1/snapshot_2000.pt"


def unpack(folder: Path) -> Path:
    """The archive in ``folder``; its settings name folders in there."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    for path in folder.glob(f"*/{CONFIG_FILE}"):
        then = Path(read(path, "")["snapshot_base_dir"]).parent
        path.write_text(path.read_text().replace(str(then), str(folder)))
    return folder


def put_settings(folder: Path, **changes: object) -> None:
    """Other values in the stored settings of the run in ``folder``."""
    stored = read(folder / CONFIG_FILE, "")
    (folder / CONFIG_FILE).write_text(dump(stored | changes))
