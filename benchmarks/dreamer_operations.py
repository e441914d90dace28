"""The operations of one update of ``agent=dreamer`` at published sizes, counted from the shapes of its layers.

Forward, in millions of multiply-adds, and how often an update makes them: a backward pass costs a forward's operations
once for the weights (W) and once for the inputs (I). Frozen parts need no W; a first layer whose input takes no
gradient (images, detached features) needs no I. F = 32 * 32 + 200 = 1224 features, A = 6 actions, B * T images.

    per image                      multiply-adds                     forward   update    B = T = 16, GFLOP
    encoder 4x4/2   3 ->  48       31^2 *  48 *  48          =  2.21     + W
                   48 ->  96       14^2 *  96 *  768         = 14.45     + W + I
                   96 -> 192        6^2 * 192 * 1536         = 10.62     + W + I
                  192 -> 384        2^2 * 384 * 3072         =  4.72     + W + I     encoder      48.02
    RSSM     [s, a] -> 200         1030 * 200                =  0.21     + W + I *
             GRU 200, 200 -> 600    400 * 600                =  0.24     + W + I
             posterior             (1536 + 200) * 200 + 200 * 1024 = 0.55  + W + I
             prior                  200 * 200 + 200 * 1024   =  0.24     + W + I     RSSM          1.90
    decoder  1224 -> 1536          1224 * 1536               =  1.88     + W + I
             5x5    1536 -> 192    1 * 192 * 25 * 1536       =  7.37     + W + I
             5x5/2   192 ->  96     5^2 *  96 * 25 * 192     = 11.52     + W + I
             6x6/2    96 ->  48    13^2 *  48 * 36 *  96     = 28.04     + W + I
             6x6/2    48 ->   3    30^2 *   3 * 36 *  48     =  4.67     + W + I     decoder      82.14
    reward head, detached          1224 * 400                =  0.49     + W
             400 -> 400 -> 400 -> 400 -> 1                   =  0.48     + W + I     reward head   1.24
    per imagined state: H = 15 steps of B * T
    RSSM     [s, a], GRU, prior, frozen                      =  0.69     + I         imagination  10.61
    actor, detached                1224 * 400                =  0.49     + W
             400 -> 400 -> 400 -> 400 -> 12                  =  0.48     + W + I     actor        18.69
    critic, detached               1224 * 400                =  0.49     + W
             400 -> 400 -> 400 -> 400 -> 1                   =  0.48     + W + I     critic       18.59
    the same and the start, H + 1 states
    reward head, slow critic, frozen                         =  1.94     + I         values       31.78
                                                                                     sum         212.97

    * not at the first step of a window, whose state is zero

``PUBLISHED`` = 215 GFLOP, the numerator of the ratio, is this sum rounded up by 2.03 GFLOP (0.95 %): a fixed number, so
that ratios stay comparable. Only products of matrices and convolutions are counted: activations, LayerNorm, biases,
sampling, losses, clipping, Adam and the slow target are overhead. Torch's counter leaves out the same ones, and gives
this sum to the last operation for the layers as they stand above. It counts besides what an implementation multiplies
by a padded border: 0.46 % more with the decoder's last layer as four convolutions on 32^2 places instead of 30^2. A
test holds the two together.
"""

PUBLISHED = 215e9
"""Floating-point operations of one update at batch_size=16, batch_length=16, which floors are counted with."""

ACTIONS, EMBED, STOCH, DETER, HIDDEN, UNITS, HORIZON = 6, 1536, 32 * 32, 200, 200, 400, 15
FEAT = STOCH + DETER
ENCODER = ((31, 3, 48, 4), (14, 48, 96, 4), (6, 96, 192, 4), (2, 192, 384, 4))
"""Side of the output, channels in and out, kernel."""
DECODER = ((1, EMBED, 192, 5), (5, 192, 96, 5), (13, 96, 48, 6), (30, 48, 3, 6))
"""Side of the input, channels in and out, kernel."""


def floor_operations(batch: int, length: int) -> float:
    """``PUBLISHED``, scaled to a batch of ``batch`` sequences of ``length`` records."""
    return PUBLISHED * batch * length / 256


def floating_point_operations(batch: int, length: int) -> float:
    """Of one update on ``batch`` sequences of ``length`` records, 2 per multiply-add; see above."""
    return sum(parts(batch, length).values())


def parts(batch: int, length: int) -> dict[str, float]:
    """The last column of the table above."""
    encoder = [side**2 * inputs * outputs * kernel**2 for side, inputs, outputs, kernel in ENCODER]
    decoder = [side**2 * inputs * outputs * kernel**2 for side, inputs, outputs, kernel in DECODER]
    advance = (STOCH + ACTIONS) * HIDDEN
    cell = (HIDDEN + DETER) * 3 * DETER
    prior = DETER * HIDDEN + HIDDEN * STOCH
    posterior = EMBED * HIDDEN + prior
    first, deep = FEAT * UNITS, 3 * UNITS**2
    detached = 2 * first + 3 * (deep + UNITS)
    per_image = {
        "encoder": 3 * sum(encoder) - encoder[0],
        "RSSM": 3 * (advance + cell + posterior + prior) - advance / length,
        "decoder": 3 * (FEAT * EMBED + sum(decoder)),
        "reward head": detached,
        "imagination": HORIZON * 2 * (advance + cell + prior),
        "actor": HORIZON * (2 * first + 3 * (deep + UNITS * 2 * ACTIONS)),
        "critic": HORIZON * detached,
        "values": (HORIZON + 1) * 2 * 2 * (first + deep + UNITS),
    }
    return {name: 2.0 * batch * length * operations for name, operations in per_image.items()}
