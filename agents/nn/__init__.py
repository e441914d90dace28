"""Networks, distributions and the optimiser; no reinforcement learning in here."""
