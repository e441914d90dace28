import pytest
import reference64 as ref
import torch
from conv_kit import convolved_alike
from torch import nn

from agents.nn.latent import Latent
from agents.nn.networks import (
    MLP,
    ImageDecoder,
    ImageEncoder,
    conv_by_matmul,
    parameter_count,
    preprocess_image,
    transposed_conv,
)


def close(got, want, tolerance=1e-5):
    assert got.shape == want.shape
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.double(), want, rtol=tolerance, atol=tolerance)


def spread(module):
    """Larger weights than the initial ones, so that ELU and gates leave their linear range."""
    with torch.no_grad():
        for p in module.parameters():
            p.mul_(3).add_(0.1 * torch.randn_like(p))
    return module


def test_mlp():
    net = spread(MLP(5, 3, 4, 7))
    x = torch.randn(2, 6, 5)
    close(net(x).detach(), ref.mlp(ref.weights(net), x.double()).detach())
    assert parameter_count(net) == 5 * 7 + 7 + 3 * (7 * 7 + 7) + 7 * 3 + 3


def test_parameter_count_takes_frozen_parameters_and_no_buffers():
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)).requires_grad_(False)
    assert parameter_count(net) == 9 + 6


def test_preprocess_image():
    image = torch.arange(256, dtype=torch.uint8)
    want = torch.arange(256).double() / 255 - 0.5
    got = preprocess_image(image)
    close(got, want, 1e-6)
    assert (got[0], got[255]) == (-0.5, 0.5)


@pytest.mark.parametrize("lead", [(3,), (2, 3)])
def test_encoder(lead):
    encoder = spread(ImageEncoder((3, 64, 64), depth=4))
    image = torch.rand(*lead, 3, 64, 64) - 0.5
    want = ref.encode(ref.weights(encoder), image.double().reshape(-1, 3, 64, 64)).reshape(*lead, -1)
    close(encoder(image).detach(), want.detach(), 1e-4)
    assert encoder.embed_dim == 2 * 2 * 32


def test_encoder_gradients():
    encoder = spread(ImageEncoder((3, 64, 64), depth=2))
    image, target = torch.rand(4, 3, 64, 64) - 0.5, torch.randn(4, 64)
    (encoder(image) * target).sum().backward()
    weight = ref.weights(encoder, grad=True)
    (ref.encode(weight, image.double()) * target.double()).sum().backward()
    for name, p in encoder.named_parameters():
        scale = weight[name].grad.abs().max().item()
        torch.testing.assert_close(p.grad.double(), weight[name].grad, rtol=1e-3, atol=1e-5 * scale, msg=name)


@pytest.mark.parametrize("kernel, size", [(4, 6), (4, 7), (3, 5), (5, 5)])
def test_a_convolution_as_one_product(kernel, size):
    layer = nn.Conv2d(3, 5, kernel, stride=2).double()
    convolved_alike(layer, conv_by_matmul, torch.randn(2, 3, size, size).double())


@pytest.mark.parametrize("kernel", [5, 6])
def test_a_transposed_convolution_with_its_bias_added(kernel):
    convolved_alike(
        nn.ConvTranspose2d(4, 3, kernel, stride=2).double(), transposed_conv, torch.randn(2, 4, 3, 3).double()
    )


def test_an_mlp_takes_any_leading_dimensions():
    net = spread(MLP(5, 3, 2, 7))
    x = torch.randn(2, 4, 6, 5)
    close(net(x).detach(), ref.mlp(ref.weights(net), x.double()).detach())
    close(net(x[0, 0, 0]).detach(), ref.mlp(ref.weights(net), x[0, 0, 0].double()).detach())


def test_preprocessing_leaves_its_input_alone():
    for image in (torch.arange(256, dtype=torch.uint8), torch.arange(256).float()):
        before = image.clone()
        preprocess_image(image)
        assert torch.equal(image, before)


@pytest.mark.parametrize("elu_output", [False, True])
@pytest.mark.parametrize("lead", [(3,), (2, 3)])
def test_decoder(lead, elu_output):
    decoder = spread(ImageDecoder(9, (3, 64, 64), depth=2, elu_output=elu_output))
    feat = torch.randn(*lead, 9)
    want = ref.decode(ref.weights(decoder), feat.double().reshape(-1, 9), elu_output).reshape(*lead, 3, 64, 64)
    got = decoder(feat).detach()
    close(got, want.detach(), 1e-4)
    # a linear output goes below -1, an ELU never does
    assert (got.min() < -1) == (not elu_output)


def test_decoder_gradients():
    """The first layer is written as a matrix product; its weights must get the transposed convolution's gradient."""
    decoder = spread(ImageDecoder(5, (3, 64, 64), depth=2))
    feat = torch.randn(4, 5, requires_grad=True)
    target = torch.randn(4, 3, 64, 64)
    (decoder(feat) * target).sum().backward()
    weight = ref.weights(decoder, grad=True)
    feat64 = feat.detach().double().requires_grad_()
    (ref.decode(weight, feat64) * target.double()).sum().backward()
    for name, p in decoder.named_parameters():
        scale = weight[name].grad.abs().max().item()
        torch.testing.assert_close(p.grad.double(), weight[name].grad, rtol=1e-3, atol=1e-5 * scale, msg=name)
    torch.testing.assert_close(feat.grad.double(), feat64.grad, rtol=1e-3, atol=1e-3)


def test_misfitting_kernels_are_named():
    with pytest.raises(ValueError, match="16 px"):
        ImageEncoder((3, 16, 16))
    with pytest.raises(ValueError, match=r"\(5, 5, 6\)"):
        ImageDecoder(9, (3, 64, 64), kernels=(5, 5, 6))


def test_latent_layout():
    stoch, deter = torch.arange(24.0).reshape(2, 3, 4), -torch.arange(1.0, 11.0).reshape(2, 5)
    latent = Latent(deter, stoch, stoch + 100)
    want = torch.tensor([[*range(12), -1, -2, -3, -4, -5], [*range(12, 24), -6, -7, -8, -9, -10]]).float()
    assert torch.equal(latent.feat, want)
    deep = Latent(*(x.reshape(1, 2, *x.shape[1:]).requires_grad_() for x in latent))
    assert torch.equal(deep.flatten().feat, want)
    assert [x.shape for x in deep.flatten()] == [(2, 5), (2, 3, 4), (2, 3, 4)]
    assert not any(x.requires_grad for x in deep.detach())
