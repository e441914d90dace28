"""Reports on a snapshot: one self-contained HTML page."""
