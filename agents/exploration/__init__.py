"""Exploration methods: one file per idea, all behind the interface of ``intrinsic_reward``."""
