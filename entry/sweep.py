"""A sweep: its folder."""

from pathlib import Path

begun: list[Path] = []
"""The folder of the sweep that this process has begun."""
