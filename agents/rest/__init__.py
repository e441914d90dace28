"""ReST: skills trained in turns, each away from where the others go (Jiang et al. 2022)."""
