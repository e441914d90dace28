"""Settles the GL backend before any test module imports MuJoCo."""

import os

from envs.gl import choose_backend
from utils.errors import UserError

try:
    choose_backend()
except UserError:
    os.environ["MUJOCO_GL"] = "disabled"  # tests of states still run; those of pixels fail and say why
