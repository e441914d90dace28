"""Choreographer: codes for states, a policy to reach each of them in imagination, a controller that picks them."""
