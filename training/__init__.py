"""Training loops, evaluation and checkpoints: joins agents, environments and replay."""
