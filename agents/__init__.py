"""Agents: everything that learns. Knows nothing of environments, replay or training loops."""
