"""Images and states: encoders and decoders by shape, and what they are given."""

import pytest
import torch
from torch import nn

from agents.nn import observations
from agents.nn.networks import ImageDecoder, ImageEncoder, StateDecoder, StateEncoder, parameter_count
from agents.nn.phases import to_phases
from utils.errors import UserError

CODEC = {"cnn_depth": 2, "cnn_kernels": [4, 4, 4, 4], "mlp_layers": 3, "mlp_units": 7}
UP = CODEC | {"cnn_kernels": [5, 5, 6, 6]}
IMAGE, STATE = (3, 64, 64), (5,)


def layered(net, x, layers):
    """``layers`` times linear, LayerNorm, ELU, and the linear layer that may follow, in float64."""
    parts = list(net)
    for linear, norm in zip(parts[0 : 3 * layers : 3], parts[1 : 3 * layers : 3], strict=True):
        y = x @ linear.weight.double().T + linear.bias.double()
        centred = y - y.mean(-1, keepdim=True)
        y = centred / (centred.square().mean(-1, keepdim=True) + norm.eps).sqrt()
        y = y * norm.weight.double() + norm.bias.double()
        x = torch.where(y > 0, y, y.exp() - 1)
    for linear in parts[3 * layers :]:
        x = x @ linear.weight.double().T + linear.bias.double()
    return x


def spread(net):
    with torch.no_grad():
        for p in net.parameters():
            p.mul_(2).add_(0.1 * torch.randn_like(p))
    return net


@pytest.mark.parametrize("lead", [(4,), (2, 3)])
def test_states_are_encoded_raw_by_layers_with_a_norm_each(lead):
    net = spread(observations.build_encoder(STATE, CODEC))
    x = 100 * torch.randn(*lead, *STATE)
    kept = x.clone()
    got = net(observations.prepare(x, STATE))
    torch.testing.assert_close(got.double(), layered(net, x.double(), 3), rtol=1e-4, atol=1e-4)
    assert isinstance(net, StateEncoder) and torch.equal(x, kept)
    assert net.embed_dim == observations.embed_dim(STATE, CODEC) == got.shape[-1] == 7
    assert [type(layer) for layer in net] == [nn.Linear, nn.LayerNorm, nn.ELU] * 3


def test_states_are_decoded_by_the_same_layers_and_a_linear_one():
    net = spread(observations.build_decoder(6, STATE, CODEC))
    x = torch.randn(2, 3, 6)
    got = net(x)
    assert isinstance(net, StateDecoder) and got.shape == (2, 3, *STATE)
    torch.testing.assert_close(got.double(), layered(net, x.double(), 3), rtol=1e-4, atol=1e-4)
    state = torch.randn(2, 3, *STATE)
    assert net.beside(state, x)[0] is state and torch.equal(net.beside(state, x)[1], got)
    assert parameter_count(net) == 6 * 7 + 7 + 2 * (7 * 7 + 7) + 3 * 2 * 7 + 7 * 5 + 5


def test_images_have_the_convolutions():
    encoder, decoder = observations.build_encoder(IMAGE, CODEC), observations.build_decoder(6, IMAGE, UP)
    assert isinstance(encoder, ImageEncoder) and isinstance(decoder, ImageDecoder) and not decoder.elu_output
    assert observations.build_decoder(6, IMAGE, UP, elu_output=True).elu_output
    assert encoder.embed_dim == observations.embed_dim(IMAGE, CODEC) == 64


def test_what_is_prepared():
    image = torch.randint(0, 256, (2, *IMAGE), dtype=torch.uint8)
    assert torch.equal(
        observations.prepare(image, IMAGE, in_phases=True), to_phases(observations.prepare(image, IMAGE))
    )
    assert observations.prepare(image, IMAGE).double().sub(image.double() / 255 - 0.5).abs().max() < 1e-6
    state = torch.tensor([[1e4, -3.0, 0.0, 1e-6, 7.0]], dtype=torch.float64)
    assert torch.equal(observations.prepare(state, STATE), state.float())


@pytest.mark.parametrize(
    ("given", "shape", "told"),
    [
        (torch.zeros(2, *IMAGE, dtype=torch.uint8), STATE, ["states float32 (5,)", "uint8 (2, 3, 64, 64)"]),
        (torch.zeros(2, 4), STATE, ["states float32 (5,)", "float32 (2, 4)"]),
        (torch.zeros(2, 5), IMAGE, ["images uint8 (3, 64, 64)", "float32 (2, 5)"]),
        (torch.zeros(2, *IMAGE), IMAGE, ["images uint8 (3, 64, 64)", "float32 (2, 3, 64, 64)"]),
        (torch.zeros(2, 3, 5, dtype=torch.uint8), STATE, ["states float32 (5,)", "uint8 (2, 3, 5)"]),
    ],
)
def test_other_observations_are_refused_in_words(given, shape, told):
    with pytest.raises(UserError) as refused:
        observations.prepare(given, shape)
    assert all(word in str(refused.value) for word in told)
