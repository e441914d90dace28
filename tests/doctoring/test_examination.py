"""The row of the renderer, by what the run sees and whether videos are wanted."""

import pytest

from doctoring import machine, packages
from doctoring.child import Done
from doctoring.examination import Examination
from doctoring.row import Status, fail, ok
from utils.errors import UserError

WORKS, BROKEN = ok("MUJOCO_GL=egl: 12.3 ms"), fail("no frame was drawn", "apt-get install libegl1")


@pytest.fixture
def rendered(monkeypatch):
    """``rendered(found, *arguments)``: the row rendering, with ``found`` of the machine's renderer."""
    monkeypatch.setattr(machine, "probe_torch", lambda: Done('["2.13.0", []]\n', ""))
    monkeypatch.setattr(machine, "import_dm_control", lambda: ok("walker_stand resets"))

    def row(found, *arguments):
        monkeypatch.setattr(machine, "rendering", lambda: found)
        return Examination([*arguments, "device=cpu"])._rendered()

    return row


@pytest.mark.parametrize("found", [WORKS, BROKEN])
def test_pixels_need_it(rendered, found):
    assert rendered(found, "configs=dmc_pixels") == found


def refuse(arguments):
    raise UserError("no settings")


@pytest.mark.parametrize("known", [True, False])
def test_states_want_it_for_videos(rendered, monkeypatch, known):
    """Also where the settings as a whole are refused."""
    if not known:
        monkeypatch.setattr("doctoring.examination.read", refuse)
    row = rendered(WORKS, "configs=dmc_states")
    assert row.status is Status.OK and "obs_type=states" in row.found and WORKS.found in row.found
    row = rendered(BROKEN, "configs=dmc_states_ar2")
    assert row.status is Status.WARN and "no videos" in row.found and row.fix == BROKEN.fix
    row = rendered(BROKEN, "configs=dmc_states", "save_video=false")
    assert row.status is Status.OK and "not needed" in row.found


def test_meta_world_is_missed_where_it_is_wanted(monkeypatch):
    monkeypatch.setattr(machine, "probe_torch", lambda: Done('["2.13.0", []]\n', ""))
    monkeypatch.setattr(machine, "import_dm_control", lambda: ok("walker_stand resets"))
    monkeypatch.setattr(machine, "rendering", lambda: WORKS)
    there = packages.installed
    monkeypatch.setattr(packages, "installed", lambda name: None if name == "metaworld" else there(name))
    assert Examination(["device=cpu"])._packages().status is Status.OK
    row = Examination(["configs=mw_pixels", "domain=mw", "agent=choreo", "device=cpu"])._packages()
    assert row.status is Status.FAIL and "metaworld" in row.found and row.fix == "pip install -e '.[metaworld]'"
