"""What became of the jobs of a sweep."""

from pathlib import Path

begun: list[Path] = []
"""The folder of the sweep that this process has begun."""
