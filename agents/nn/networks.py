"""The networks of DreamerV2: MLP, encoders and decoders of images and states, LayerNorm GRU cell."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from agents.nn.phases import conv_of_phases, from_phases, makes_phases, phases_of_transposed, reads_phases, to_phases

MATMUL_SIDE = 2
"""Convolutions with an output of this many pixels a side at most are done by :func:`conv_by_matmul`."""


class MLP(nn.Sequential):
    """``layers`` hidden layers of ``units`` with ``activation``, then a linear one: (..., inputs) -> (..., outputs).

    With ``norm`` there is a LayerNorm before every activation. The last layer runs in float32 under autocast, too:
    bfloat16 has 8 bits, and a value of 150 would be rounded to whole numbers.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        layers: int,
        units: int,
        activation: type[nn.Module] = nn.ELU,
        *,
        norm: bool = False,
    ) -> None:
        hidden = hidden_layers(inputs, layers, units, activation, norm=norm)
        super().__init__(*hidden, nn.Linear(units if layers else inputs, outputs))

    def forward(self, x: Tensor) -> Tensor:
        *hidden, last = self
        assert isinstance(last, nn.Linear)
        lead, x = x.shape[:-1], x.reshape(-1, x.shape[-1])  # an activation in place of a view's content would copy it
        for layer in hidden:
            x = layer(x)
        with torch.autocast(x.device.type, enabled=False):
            return last(x.to(last.weight.dtype)).reshape(*lead, last.out_features)

    @property
    def plain(self) -> bool:
        """Whether it is linear layers with ELU between them, and nothing else."""
        return all(isinstance(layer, nn.ELU if i % 2 else nn.Linear) for i, layer in enumerate(self))

    def narrow(self) -> list[tuple[Tensor, Tensor]]:
        """Weight and bias of every layer of one that is :attr:`plain`, in the type that autocast takes products in; the
        last ones as they are.
        """
        *hidden, last = ((layer.weight, layer.bias) for layer in self if isinstance(layer, nn.Linear))
        dtype = product_type(last[0])
        return [*((weight.to(dtype), bias.to(dtype)) for weight, bias in hidden), last]

    def traced(self, x: Tensor, layers: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, list[Tensor]]:
        """What a :attr:`plain` one makes of x (N, inputs) with the weights of :meth:`narrow`, and the input of every
        layer; nothing is recorded for gradients.
        """
        *hidden, (weight, bias) = layers
        inputs = [x.to(hidden[0][0].dtype if hidden else weight.dtype)]
        for layer in hidden:
            inputs.append(F.elu(torch.addmm(layer[1], inputs[-1], layer[0].t()), inplace=True))
        with torch.autocast(x.device.type, enabled=False):
            return F.linear(inputs[-1].to(weight.dtype), weight, bias), inputs


def product_type(weight: Tensor) -> torch.dtype:
    """The type in which autocast takes products with ``weight``."""
    kind = weight.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype


def hidden_layers(
    inputs: int, layers: int, units: int, activation: type[nn.Module] = nn.ELU, *, norm: bool = False
) -> list[nn.Module]:
    """``layers`` times Linear, LayerNorm if ``norm``, activation: from ``inputs`` numbers to ``units``."""
    sizes = [inputs] + [units] * layers
    return [
        layer
        for i, o in zip(sizes, sizes[1:], strict=False)
        for layer in (nn.Linear(i, o), *([nn.LayerNorm(o)] if norm else []), _in_place(activation()))
    ]


def _in_place(activation: nn.Module) -> nn.Module:
    """``activation`` without an output of its own where it can do so: the backward pass of what comes before it, linear
    or LayerNorm, does not need what that put out, so this saves memory.
    """
    if isinstance(activation, nn.ELU | nn.ReLU):
        activation.inplace = True
    return activation


def preprocess_image(image: Tensor) -> Tensor:
    """uint8 [0, 255] -> float32 [-0.5, 0.5], same shape."""
    return image.to(torch.float32, copy=True).div_(255).sub_(0.5)


def conv_size(size: int, kernels: Sequence[int]) -> int:
    """Side of the image after convolutions of stride 2 without padding; below 1 when it is too small for them."""
    for kernel in kernels:
        size = (size - kernel) // 2 + 1
    return size


class ImageEncoder(nn.Module):
    """Strided convolutions, each followed by ELU (Hafner et al. 2021, appendix); 64x64 -> 32 * depth values.

    ``forward`` takes images in [-0.5, 0.5] shaped (..., C, S, S), or where ``in_phases`` holds their phases (see
    :mod:`agents.nn.phases`), and returns (..., embed_dim).
    """

    def __init__(self, image_shape: Sequence[int], depth: int = 48, kernels: Sequence[int] = (4, 4, 4, 4)) -> None:
        super().__init__()
        channels, size, _ = image_shape
        widths = [channels] + [depth * 2**i for i in range(len(kernels))]
        self.layers = nn.ModuleList(
            nn.Conv2d(widths[i], widths[i + 1], kernel, stride=2) for i, kernel in enumerate(kernels)
        )
        size = conv_size(size, kernels)
        if size < 1:
            raise ValueError(f"an image of {image_shape[1]} px is too small for encoder kernels {tuple(kernels)}")
        self.embed_dim = self.outputs(image_shape, depth, kernels)
        self.in_phases = reads_phases(channels, image_shape[1], kernels[0])

    @staticmethod
    def outputs(image_shape: Sequence[int], depth: int, kernels: Sequence[int]) -> int:
        """``embed_dim`` of an encoder that is not built yet."""
        return depth * 2 ** (len(kernels) - 1) * conv_size(image_shape[1], kernels) ** 2

    def forward(self, image: Tensor) -> Tensor:
        lead = image.shape[:-3]
        first, *rest = self.layers
        assert isinstance(first, nn.Conv2d)
        if self.in_phases and image.shape[-3] == first.in_channels:
            image = to_phases(image)
        x = image.reshape(-1, *image.shape[-3:]).contiguous(memory_format=torch.channels_last)
        x = F.elu(conv_of_phases(first, x) if self.in_phases else first(x), inplace=True)
        for layer in rest:
            assert isinstance(layer, nn.Conv2d)
            side = conv_size(x.shape[-1], layer.kernel_size[:1])
            x = F.elu(conv_by_matmul(layer, x) if side <= MATMUL_SIDE else layer(x), inplace=True)
        return x.contiguous().reshape(*lead, self.embed_dim)


class StateEncoder(nn.Sequential):
    """``layers`` times Linear, LayerNorm, ELU: states (..., D) as they are -> (..., units)."""

    in_phases = False

    def __init__(self, inputs: int, layers: int = 4, units: int = 400) -> None:
        super().__init__(*hidden_layers(inputs, layers, units, norm=True))
        self.embed_dim = units

    def forward(self, state: Tensor) -> Tensor:
        return super().forward(state.reshape(-1, state.shape[-1])).reshape(*state.shape[:-1], self.embed_dim)


class StateDecoder(MLP):
    """Feature -> mean of a unit-variance Normal over the state, (..., feat_dim) -> (..., D): the layers of
    :class:`StateEncoder`, then a linear one.
    """

    def __init__(self, feat_dim: int, outputs: int, layers: int = 4, units: int = 400) -> None:
        super().__init__(feat_dim, outputs, layers, units, norm=True)

    def beside(self, state: Tensor, feat: Tensor) -> tuple[Tensor, Tensor]:
        """As :meth:`ImageDecoder.beside`."""
        return state, self(feat)


def conv_by_matmul(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """``layer(x)`` for a convolution of stride 2 without padding, as one product of all patches: (N, C, S, S) -> (N, O,
    s, s).

    Three times faster on CPU than the convolution for outputs of 2 x 2, slower for larger ones.
    """
    assert layer.bias is not None
    kernel = layer.kernel_size[0]
    side = conv_size(x.shape[-1], layer.kernel_size[:1])
    x = x.permute(0, 2, 3, 1)  # as it lies in memory
    places = [(2 * row, 2 * column) for row in range(side) for column in range(side)]
    patches = torch.stack([x[:, i : i + kernel, j : j + kernel] for i, j in places], 1).flatten(2)
    out = F.linear(patches, layer.weight.permute(0, 2, 3, 1).flatten(1), layer.bias)
    return out.transpose(1, 2).unflatten(2, (side, side))


def transposed_conv(layer: nn.ConvTranspose2d, x: Tensor) -> Tensor:
    """``layer(x)`` with the bias added afterwards: its gradient is a tenth of the layer's time otherwise (CPU)."""
    assert layer.bias is not None
    return F.conv_transpose2d(x, layer.weight, stride=layer.stride).add_(layer.bias[:, None, None])  # type: ignore[arg-type]


class ImageDecoder(nn.Module):
    """Feature -> mean of a unit-variance Normal over the image, (..., feat_dim) -> (..., C, S, S).

    Linear to ``32 * depth``, then transposed convolutions of stride 2 with ELU between them and none after the last.
    ``elu_output=True`` restores the published defect of an ELU after the last one too (mastering-urlb).
    """

    def __init__(
        self,
        feat_dim: int,
        image_shape: Sequence[int],
        depth: int = 48,
        kernels: Sequence[int] = (5, 5, 6, 6),
        elu_output: bool = False,
    ) -> None:
        super().__init__()
        widths = [32 * depth] + [depth * 2 ** (len(kernels) - 2 - i) for i in range(len(kernels) - 1)]
        widths.append(image_shape[0])
        self.input = nn.Linear(feat_dim, widths[0])
        self.layers = nn.ModuleList(
            nn.ConvTranspose2d(widths[i], widths[i + 1], kernel, stride=2) for i, kernel in enumerate(kernels)
        )
        self.elu_output = elu_output
        self.in_phases = makes_phases(widths[-1], kernels[-1])
        size = 1
        for kernel in kernels:
            size = (size - 1) * 2 + kernel
        if size != image_shape[1]:
            raise ValueError(f"decoder kernels {tuple(kernels)} make {size} px images, not {image_shape[1]}")

    def forward(self, feat: Tensor) -> Tensor:
        x = self._made(feat)
        x = from_phases(x) if self.in_phases else x
        return x.contiguous().reshape(*feat.shape[:-1], *x.shape[1:])

    def beside(self, image: Tensor, feat: Tensor) -> tuple[Tensor, Tensor]:
        """``image`` and the mean at ``feat`` in one layout, for what is summed over pixels, (..., c, s, s) each.

        ``image`` (..., C, S, S), or its phases, has as many leading dimensions as ``feat`` (..., feat_dim).
        """
        channels = self.layers[-1].out_channels
        if self.in_phases and image.shape[-3] == channels:
            image = to_phases(image)
        elif not self.in_phases and image.shape[-3] != channels:
            image = from_phases(image.flatten(0, -4)).unflatten(0, image.shape[:-3])
        return image, self._made(feat).unflatten(0, feat.shape[:-1])

    def _made(self, feat: Tensor) -> Tensor:
        """The images as they are made, channels last in memory: their phases (N, 4 C, S / 2, S / 2) where ``in_phases``
        holds (see :mod:`agents.nn.phases`), (N, C, S, S) elsewhere.
        """
        x = self.input(feat.reshape(-1, feat.shape[-1]))
        first, *rest = self.layers
        assert isinstance(first, nn.ConvTranspose2d) and first.bias is not None
        # a transposed convolution of a 1x1 input is a matrix product, several times faster on CPU
        kernel = first.kernel_size[0]
        x = (x @ first.weight.flatten(1)).reshape(-1, first.out_channels, kernel, kernel) + first.bias[:, None, None]
        x = x.contiguous(memory_format=torch.channels_last)
        for layer in rest:
            assert isinstance(layer, nn.ConvTranspose2d)
            x = F.elu(x, inplace=True)
            x = phases_of_transposed(layer, x) if self.in_phases and layer is rest[-1] else transposed_conv(layer, x)
        return F.elu(x) if self.elu_output else x


def orthogonal_(network: nn.Module) -> nn.Module:
    """Orthogonal weights, gain sqrt 2 for convolutions and 1 for linear layers, and zero biases; in place."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.orthogonal_(layer.weight, gain=2**0.5 if isinstance(layer, nn.Conv2d) else 1.0)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
    return network


def parameter_count(module: nn.Module) -> int:
    """Number of trainable and frozen parameters, buffers not counted."""
    return sum(p.numel() for p in module.parameters())
