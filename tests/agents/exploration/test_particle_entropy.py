"""Distances to the nearest neighbours against brute force, the value made of them, and the memory it takes."""

import math
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from settings_kit import typed

from agents.exploration import particle_entropy as module
from agents.exploration.particle_entropy import ParticleEntropy, neighbour_distances
from utils.config import CONFIGS
from utils.errors import UserError


def brute_force(particles, k, count_self=False):
    """Every pair by itself, in Python floats."""
    points = particles.double().tolist()
    table = []
    for i, x in enumerate(points):
        row = [math.dist(x, y) for j, y in enumerate(points) if count_self or j != i]
        table.append(sorted(row)[:k])
    return torch.tensor(table, dtype=torch.float64)


def cloud(count=60, size=5, seed=0):
    return torch.randn(count, size, generator=torch.Generator().manual_seed(seed))


def pairs(particles):
    """The float64 distance matrix, for clouds too large for loops."""
    return torch.cdist(particles.double(), particles.double(), compute_mode="donot_use_mm_for_euclid_dist")


# ---- distances


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 40), st.integers(1, 6), st.integers(1, 40), st.booleans(), st.integers(0, 99))
def test_equals_brute_force(count, size, k, count_self, seed):
    k = min(k, count if count_self else count - 1)
    particles = cloud(count, size, seed)
    found = neighbour_distances(particles, k, count_self)
    assert found.shape == (count, k) and found.dtype == torch.float32
    torch.testing.assert_close(found.double(), brute_force(particles, k, count_self), rtol=1e-5, atol=1e-6)


def test_the_particle_itself_is_left_out_by_its_index_not_by_its_distance():
    """Three copies of a point are neighbours of each other at distance 0."""
    particles = torch.tensor([[1.0, 2], [1, 2], [1, 2], [4, 6]])
    assert neighbour_distances(particles, 3).tolist() == [[0, 0, 5], [0, 0, 5], [0, 0, 5], [5, 5, 5]]
    assert neighbour_distances(particles, 3, count_self=True).tolist() == [[0, 0, 0]] * 3 + [[0, 5, 5]]


@pytest.mark.parametrize("count_self", [False, True])
@pytest.mark.parametrize("rows", [1, 7, 59, 60, 1000])
def test_chunks_change_nothing(monkeypatch, rows, count_self):
    particles = cloud()
    per_row = 4 * (60 + 2 * (4 - count_self + module.SPARE) * 5)
    monkeypatch.setattr(module, "CHUNK_BYTES", rows * per_row)
    heights, addmm = [], torch.addmm
    monkeypatch.setattr(torch, "addmm", lambda a, x, y, **k: heights.append(len(x)) or addmm(a, x, y, **k))
    found = neighbour_distances(particles, 4, count_self)
    assert sum(heights) == 60 and max(heights) == min(rows, 60)
    torch.testing.assert_close(found.double(), brute_force(particles, 4, count_self), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("offset", [1e2, 1e3])
def test_far_from_the_origin(offset):
    """Without centring, squares of 1e6 * D would round away distances of 1."""
    particles = cloud(80, 50) + offset
    torch.testing.assert_close(
        neighbour_distances(particles, 5).double(), brute_force(particles, 5), rtol=1e-6, atol=1e-6
    )


def test_small_distances_are_not_those_of_the_product():
    """Pairs 1e-3 apart in a cloud of radius 14: |x|^2 + |y|^2 - 2 x.y has lost them, the difference has not."""
    centres = cloud(50, 200)
    particles = torch.cat([centres, centres + 1e-3 * cloud(50, 200, seed=1)])
    nearest = neighbour_distances(particles, 1)[:, 0]
    want = pairs(particles).fill_diagonal_(math.inf).amin(1)
    torch.testing.assert_close(nearest.double(), want, rtol=1e-3, atol=0)
    assert want.max() < 0.02


def test_a_cloud_of_states_in_several_chunks(monkeypatch):
    """Bounded features of 200 numbers that lie in groups, as those of a recurrent model do."""
    groups = cloud(10, 200, seed=3).repeat(120, 1)
    particles = torch.tanh(groups + 0.05 * cloud(1200, 200, seed=4))
    monkeypatch.setattr(module, "CHUNK_BYTES", 2**21)
    want = pairs(particles).fill_diagonal_(math.inf).topk(12, largest=False).values
    torch.testing.assert_close(neighbour_distances(particles, 12).double(), want, rtol=1e-5, atol=0)


def test_no_gradient_and_the_input_stays():
    particles = cloud().requires_grad_()
    before = particles.detach().clone()
    assert not neighbour_distances(particles, 3).requires_grad
    assert not ParticleEntropy(3)(particles).requires_grad
    assert torch.equal(particles, before)


def test_float32_under_autocast():
    particles = cloud(40, 30)
    with torch.autocast("cpu", torch.bfloat16):
        found, value = neighbour_distances(particles, 4), ParticleEntropy(4)(particles)
    assert found.dtype == value.dtype == torch.float32
    torch.testing.assert_close(found.double(), brute_force(particles, 4), rtol=1e-5, atol=1e-6)
    half = particles.bfloat16()
    torch.testing.assert_close(neighbour_distances(half, 4).double(), brute_force(half, 4), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("k, count_self", [(5, False), (6, True)])
def test_more_neighbours_than_there_are(k, count_self):
    particles = cloud(5)
    with pytest.raises(UserError, match=rf"{k} neighbours.*5 particles.*agent\.knn_k"):
        neighbour_distances(particles, k, count_self)
    assert neighbour_distances(particles, k - 1, count_self).shape == (5, k - 1)


def test_one_particle_counted_itself():
    assert neighbour_distances(torch.ones(1, 3), 1, count_self=True).tolist() == [[0.0]]


# ---- the value


def value_of(row, *, scale=1.0, average=True, clip=0.0):
    taken = [d / scale for d in (row if average else row[-1:])]
    if clip >= 0:
        taken = [max(d - clip, 0.0) for d in taken]
    return math.log(1 + sum(taken) / len(taken))


@pytest.mark.parametrize("count_self", [False, True])
@pytest.mark.parametrize("clip", [0.0, 0.5, 1.2, -1.0])
@pytest.mark.parametrize("average", [True, False])
@pytest.mark.parametrize("rms", [True, False])
def test_value_by_hand(rms, average, clip, count_self):
    entropy = ParticleEntropy(3, scale=module.scaled(rms), knn_avg=average, knn_clip=clip, count_self=count_self)
    total, number = 0.0, 1e-4  # the running mean starts at 0 with a weight of 1e-4
    for seed in range(3):
        particles = cloud(20, 2, seed) * (seed + 1)
        table = brute_force(particles, 3, count_self).tolist()
        taken = [d for row in table for d in (row if average else row[-1:])]
        total, number = total + sum(taken), number + len(taken)
        scale = total / number if rms else 1.0
        found = entropy(particles)
        assert found.shape == (20,)
        want = [value_of(row, scale=scale, average=average, clip=clip) for row in table]
        torch.testing.assert_close(found.double(), torch.tensor(want).double(), rtol=1e-4, atol=1e-6)
    assert (entropy.moments is not None) == rms


def test_the_running_mean_is_saved():
    first, second = (ParticleEntropy(3, scale="mean") for _ in range(2))
    first(cloud(seed=1))
    assert "moments.mean" in first.state_dict() and not ParticleEntropy(3).state_dict()
    assert not torch.allclose(first(cloud()), second(cloud()))
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(cloud(seed=2)), second(cloud(seed=2)))


def test_particles_in_one_point_are_worth_nothing():
    for rms in (False, True):
        assert ParticleEntropy(3, scale=module.scaled(rms))(torch.ones(6, 2)).tolist() == [0.0] * 6


# ---- memory

MEASURE = """
import sys
import torch
from agents.exploration import particle_entropy as module

torch.set_num_threads(1)
module.CHUNK_BYTES, most, k = map(int, sys.argv[1:])
particles = torch.rand(40_000, 200)
module.neighbour_distances(particles[:2000], k)  # libraries allocate at their first use
chunks = module.chunks
module.chunks = lambda rows, size: chunks(rows, size)[:most]
def resident(key):  # getrusage would carry the peak of the process that started this one
    line, = (line for line in open("/proc/self/status") if line.startswith(key))
    return int(line.split()[1]) * 1024
before = resident("VmRSS")
found = module.neighbour_distances(particles, k)
print(resident("VmHWM") - before, len(found))
"""


def extra_memory(chunk_bytes, most, k=12):
    """By how many bytes the resident memory of a process rose at most, and the rows that were done."""
    command = [sys.executable, "-c", MEASURE, str(chunk_bytes), str(most), str(k)]
    done = subprocess.run(command, cwd=CONFIGS.parent, capture_output=True, text=True, check=True)
    return map(int, done.stdout.split())


needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@needs_linux
@pytest.mark.parametrize("k", [12, 30])  # of APT, and of Choreographer
def test_memory_of_the_first_chunks_at_the_published_size(k):
    extra, rows = extra_memory(module.CHUNK_BYTES, 3, k)
    assert 1000 < rows < 3000 and 40e6 < extra < 200e6


@needs_linux
def test_the_measure_sees_a_larger_chunk():
    extra, rows = extra_memory(4 * module.CHUNK_BYTES, 1)
    assert rows > 1500 and extra > 300e6


@needs_linux
@pytest.mark.long
def test_memory_of_a_whole_update_at_the_published_size():
    extra, rows = extra_memory(module.CHUNK_BYTES, 10**6)
    assert rows == 40_000 and extra < 200e6


# ---- configuration


@pytest.mark.parametrize("known, most", [("false", 191), ("true", 192)])
@pytest.mark.parametrize("agent", ["apt_dreamer", "aps_dreamer", "choreo"])
def test_neighbours_of_an_update(agent, known, most):
    """The debug preset imagines 5 steps from 4 x 8 records: 192 states."""

    def check(k):
        typed("pretrain", f"agent={agent}", "preset=debug", f"agent.knn_self={known}", f"agent.knn_k={k}")

    check(most)
    with pytest.raises(
        UserError, match=rf"agent\.knn_k={most + 1} .*{most} neighbours.*agent\.knn_k={most}.*batch_size"
    ):
        check(most + 1)


@pytest.mark.parametrize("preset", ["published", "debug", "small", "quickstart"])
@pytest.mark.parametrize("agent", ["apt_dreamer", "aps_dreamer"])
def test_every_preset_has_enough(agent, preset):
    assert typed("pretrain", f"agent={agent}", f"preset={preset}").agent.knn_k == 12
