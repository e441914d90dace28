"""Arrays to a device and results back, packed into one copy each way or not."""

import numpy as np
import pytest
import torch

from training.transfer import Transfer

CPU = torch.device("cpu")


def arrays(seed, count=3):
    draw = np.random.default_rng(seed)
    return (
        draw.integers(0, 256, (count, 3, 5, 5), dtype=np.uint8),  # 75 bytes each: what follows is not aligned by itself
        draw.random((count, 4), dtype=np.float32),
        draw.random(count) > 0.5,
        draw.integers(0, 9, (count, 2)),
    )


@pytest.mark.parametrize("packs", [False, True])
def test_to_the_device(packs):
    """Values, shapes and types; what was sent stays as it was when the next is."""
    transfer, sent = Transfer(CPU, packs=packs), []
    given = [arrays(seed) for seed in range(3)]
    for some in given:
        sent.append(transfer.to_device(*some))
    for tensors, some in zip(sent, given, strict=True):
        for tensor, array in zip(tensors, some, strict=True):
            assert tensor.dtype == torch.from_numpy(array).dtype
            assert np.array_equal(tensor.numpy(), array)


def test_shapes_may_change():
    transfer = Transfer(CPU, packs=True)
    for count in (3, 1, 3):
        some = arrays(count, count)
        assert all(
            np.array_equal(tensor.numpy(), array) for tensor, array in zip(transfer.to_device(*some), some, strict=True)
        )


@pytest.mark.parametrize("packs", [False, True])
def test_to_the_host(packs):
    action, skill = torch.randn(3, 2, requires_grad=True), torch.randn(3, 4)
    found = Transfer(CPU, packs=packs).to_host(action, skill)
    assert [x.dtype for x in found] == [np.float32, np.float32]
    assert np.array_equal(found[0], action.detach().numpy()) and np.array_equal(found[1], skill.numpy())


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_the_buffer_is_pinned_and_is_not_filled_while_it_is_copied():
    device = torch.device("cuda")
    transfer = Transfer(device)
    sent = [(transfer.to_device(*arrays(seed)), arrays(seed)) for seed in range(20)]
    assert transfer._buffer.is_pinned()
    for tensors, some in sent:
        assert all(x.device.type == "cuda" for x in tensors)
        for found, array in zip(transfer.to_host(*(x.float().reshape(3, -1) for x in tensors)), some, strict=True):
            assert np.array_equal(found, array.reshape(3, -1).astype(np.float32))
