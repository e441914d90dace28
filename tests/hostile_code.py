"""What a hostile file would have imported: ``sys.modules`` tells whether it was."""


class Agent:
    """Nothing."""
