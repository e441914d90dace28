"""The checks of ``doctor.py``, one idea per file.

Nothing here imports a package at the top that may be missing or broken: a check imports what it needs when it runs.
"""
