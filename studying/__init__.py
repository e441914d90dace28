"""What ``study.py`` does: many runs of the ordinary scripts, side by side if asked to, and what they show."""
