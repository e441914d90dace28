"""Phases: images taken apart and put together, and convolutions on them against torch's own, in float64."""

import pytest
import torch
from conv_kit import convolved_alike
from torch import nn

from agents.nn.networks import ImageDecoder, ImageEncoder, preprocess_image
from agents.nn.phases import conv_of_phases, from_phases, phases_of_transposed, to_phases


@pytest.mark.parametrize("lead", [(), (3,), (2, 3)])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float64])
def test_to_phases_and_back(lead, dtype):
    image = torch.randint(0, 256, (*lead, 3, 6, 8)).to(dtype)
    phases = to_phases(image)
    assert phases.shape == (*lead, 12, 3, 4) and phases.dtype == dtype
    for i in range(2):
        for j in range(2):
            channel = (2 * i + j) * 3
            assert torch.equal(phases[..., channel : channel + 3, :, :], image[..., i::2, j::2])


def test_put_together():
    image = torch.randn(2, 3, 6, 6)
    assert torch.equal(from_phases(to_phases(image)), image)


@pytest.mark.parametrize("kernel", [2, 4, 6])
@pytest.mark.parametrize("size", [6, 8])
def test_a_convolution_of_stride_two_on_phases(kernel, size):
    layer = nn.Conv2d(3, 5, kernel, stride=2).double()
    convolved_alike(layer, lambda layer, x: conv_of_phases(layer, to_phases(x)), torch.randn(2, 3, size, size).double())


@pytest.mark.parametrize("kernel", [2, 4, 6])
@pytest.mark.parametrize("size", [1, 5])
def test_a_transposed_convolution_that_makes_phases(kernel, size):
    layer = nn.ConvTranspose2d(4, 3, kernel, stride=2).double()
    convolved_alike(
        layer, lambda layer, x: from_phases(phases_of_transposed(layer, x)), torch.randn(2, 4, size, size).double()
    )


@pytest.mark.parametrize(
    "shape, kernels", [((3, 64, 64), (4, 4, 4, 4)), ((3, 63, 63), (4, 4, 4, 4)), ((6, 64, 64), (4, 4, 4, 4))]
)
def test_an_encoder_reads_images_and_their_phases(shape, kernels):
    encoder = ImageEncoder(shape, 2, kernels)
    image = torch.rand(2, 3, *shape) - 0.5
    assert encoder.in_phases == (shape == (3, 64, 64))
    if encoder.in_phases:
        assert torch.equal(encoder(image), encoder(to_phases(image)))
    plain = image.flatten(0, 1)
    for layer in encoder.layers:
        plain = nn.functional.elu(layer(plain))
    torch.testing.assert_close(encoder(image), plain.flatten(1).unflatten(0, (2, 3)))


@pytest.mark.parametrize(
    "shape, kernels", [((3, 64, 64), (5, 5, 6, 6)), ((3, 63, 63), (5, 5, 6, 5)), ((6, 64, 64), (5, 5, 6, 6))]
)
@pytest.mark.parametrize("given", ["image", "phases"])
def test_a_decoder_lies_beside_either_form(shape, kernels, given):
    decoder = ImageDecoder(7, shape, 2, kernels)
    image, feat = torch.rand(4, 1, *shape) - 0.5, torch.randn(4, 5, 7)
    if given == "phases" and shape[1] % 2:
        pytest.skip("an image of odd size has none")
    value, mean = decoder.beside(to_phases(image) if given == "phases" else image, feat)
    want = (image - decoder(feat)).square().sum((-3, -2, -1))
    torch.testing.assert_close((value - mean).square().sum((-3, -2, -1)), want)


def test_preprocessing_keeps_the_layout():
    phases = to_phases(torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8))
    assert preprocess_image(phases).is_contiguous(memory_format=torch.channels_last)
