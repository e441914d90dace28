"""What an update keeps in memory for its gradients, roughly."""

from torch import nn


def activation_bytes(agent: nn.Module, batch_size: int, shifts: int, channels: int, image_size: int) -> int:
    """Bytes in float32 of an update of ``batch_size`` transitions, whose layers see ``shifts`` shifted stacks each.

    All shifted stacks (``channels`` in all) of both states are there throughout. Critic, actor and what gives the
    intrinsic reward are trained one after the other, the largest counts: inputs and outputs of its layers that are
    trained, twice where both states go through them. Measured with the published networks and 10 skills: 0.31 GB with
    a batch of 64, 0.50 GB with 128; this says 0.29 and 0.58 GB.
    """
    largest = 0
    for part in agent.children():
        kept, side = 0, image_size
        for layer in part.modules():
            if not any(p.requires_grad for p in layer.parameters(recurse=False)):
                continue
            if isinstance(layer, nn.Conv2d):
                before = side
                side = (before - layer.kernel_size[0]) // layer.stride[0] + 1
                kept += layer.in_channels * before**2 + layer.out_channels * side**2
            elif isinstance(layer, nn.Linear):
                kept += layer.in_features + layer.out_features
        largest = max(largest, kept * getattr(part, "states", 1))
    return 4 * shifts * batch_size * (2 * channels * image_size**2 + largest)
