"""Environments behind Gymnasium's API. Importing this package loads neither MuJoCo nor dm_control: see ``envs.gl``."""
