"""Short episodes for the tools that play a snapshot."""

from analysis import snapshot_tool


def cut_after(steps):
    """``build_env`` of the tools, whose environments end an episode after so many steps."""
    original = snapshot_tool.build_env

    def cut(*arguments):
        env = original(*arguments)
        step, count = env.unwrapped.step, [0]

        def stepping(action):
            count[0] += 1
            seen, reward, terminated, _, info = step(action)
            return seen, reward, terminated, count[0] % steps == 0, info

        env.unwrapped.step = stepping
        return env

    return cut
