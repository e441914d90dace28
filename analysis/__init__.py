"""Tools that look at finished runs and snapshots."""
