"""DreamerV2: world model, behaviours learned in imagination, and the agent that joins them."""
