"""``augmentation``: by name and as a list, alike over a stack, as published, and exact where it always was."""

import pytest
import torch
from drq_kit import make_drq, transitions

from agents.drq.augmentation import random_shift
from agents.drq.augmentations import NAMES, Augmentation, check_augmentation, is_steps
from utils.settings import SettingError

SIZE, STACK = 24, 3
OF_KORNIA = sorted({*NAMES} - {"none", "shift"})


def stacks(*lead, seed=0):
    """Stacks of three different frames, uint8 (*lead, 9, S, S)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (*lead, 3 * STACK, SIZE, SIZE), generator=generator, dtype=torch.uint8)


def still(count):
    """Stacks of three times the same frame, float (count, 9, S, S): a row and a column differ from all others."""
    return stacks(count)[:, :3].repeat(1, STACK, 1, 1)


def drawn(steps, image, seed=1, pad=4):
    torch.manual_seed(seed)
    return Augmentation(steps, STACK, pad)(image)


@pytest.mark.parametrize("steps", ["shift", ["shift"], ["none", "shift", "none"]])
def test_shifts_are_what_they_were_byte_for_byte(steps):
    image = stacks(2, 16)
    found = drawn(steps, image)
    torch.manual_seed(1)
    assert found.dtype == torch.uint8 and torch.equal(found, random_shift(image, 4))
    assert not Augmentation(steps, STACK, 4).on_host


def test_none_leaves_images_alone():
    image = stacks(2, 3)
    before = torch.get_rng_state()
    assert drawn("none", image) is image
    torch.set_rng_state(before)
    Augmentation("none", STACK, 4)(image)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", OF_KORNIA)
def test_the_frames_of_a_stack_get_the_same_and_stacks_their_own(name):
    found = drawn(name, still(64))
    assert found.shape == still(64).shape and found.dtype == torch.float32
    frames = found.unflatten(1, (STACK, 3))
    assert torch.equal(frames[:, 0], frames[:, 1]) and torch.equal(frames[:, 0], frames[:, 2])
    changed = (found != still(64)).flatten(1).any(1)
    assert changed.any()
    if name in ("rotation", "intensity"):  # of every image; the others happen to some
        assert changed.all() and len({row.sum().item() for row in found}) == 64
    else:
        assert not changed.all()
    assert found.max() <= 255 * (1.1 if name == "intensity" else 1) + 1e-3 and found.min() >= 0


@pytest.mark.parametrize(("name", "dim"), [("horizontal_flip", -1), ("flip", -1), ("vertical_flip", -2)])
def test_flips_turn_whole_stacks_over_in_a_tenth_of_the_cases(name, dim):
    image = stacks(1000)
    found = drawn(name, image).round().to(torch.uint8)
    over = torch.tensor([torch.equal(one, other.flip(dim)) for one, other in zip(found, image, strict=True)])
    kept = torch.tensor([torch.equal(one, other) for one, other in zip(found, image, strict=True)])
    assert torch.equal(over, ~kept)
    assert 100 - 4 * 9.5 < over.sum() < 100 + 4 * 9.5  # 4 standard deviations of a binomial


def test_cutout_blackens_one_rectangle_of_half_the_stacks():
    image = stacks(400).clamp(min=1)
    black = drawn("cutout", image) == 0
    hit = black.flatten(1).any(1)
    assert 200 - 40 < hit.sum() < 200 + 40
    for one in black[hit]:
        rows, columns = one[0].any(1), one[0].any(0)
        assert torch.equal(one, (rows[:, None] & columns[None]).expand_as(one))  # in all channels
        assert rows.nonzero().flatten().diff().eq(1).all() and columns.nonzero().flatten().diff().eq(1).all()
        assert 0.5 * 0.02 < one[0].float().mean() < 0.33 + 0.1  # the size is rounded to pixels


def test_intensity_is_one_factor_for_a_stack_as_published():
    image = stacks(4000).clamp(min=1)[..., :4, :4]
    factor = drawn("intensity", image) / image
    assert (factor.flatten(1).amax(1) - factor.flatten(1).amin(1)).max() < 1e-5
    factor = factor[:, 0, 0, 0]
    assert 0.9 - 1e-6 < factor.min() < 0.901 and 1.099 < factor.max() < 1.1 + 1e-6
    assert abs(factor.mean() - 1) < 4 * 0.05 / 4000**0.5
    assert abs((factor - 1).abs().lt(0.05).float().mean() - 0.6827) < 0.03


def test_rotation_turns_by_five_degrees_at_most():
    """Where a bright point lands, against the angle."""
    image = torch.zeros(200, 9, 41, 41)
    image[:, :, 20, 36] = 255  # 16 px to the right of the centre
    found = drawn("rotation", image)[:, 0]
    place = torch.arange(41.0) - 20
    weight = found.sum((1, 2))
    x, y = (found.sum(1) * place).sum(1) / weight, (found.sum(2) * place).sum(1) / weight
    angle = torch.rad2deg(torch.atan2(-y, x))
    assert angle.abs().max() < 5.3 and angle.max() > 4.5 and angle.min() < -4.5
    assert ((x.square() + y.square()).sqrt() - 16).abs().max() < 0.3


def test_lists_are_applied_in_order():
    image = stacks(6)
    torch.manual_seed(3)
    want = Augmentation("intensity", STACK, 2)(random_shift(image, 2))
    assert torch.equal(drawn(["shift", "intensity"], image, seed=3, pad=2), want)
    assert not torch.equal(drawn(["intensity", "shift"], image, seed=3, pad=2), want)


def test_classes_of_kornia_with_arguments():
    image = stacks(5)
    found = drawn([{"RandomHorizontalFlip": {"p": 1.0}}, {"RandomVerticalFlip": {"p": 1.0}}], image)
    assert torch.equal(found.round().to(torch.uint8), image.flip(-1, -2))
    crop = {"RandomCrop": {"size": [SIZE, SIZE], "padding": 2, "padding_mode": "replicate", "cropping_mode": "slice"}}
    shifted = drawn(crop, image).round().to(torch.uint8)  # kornia's own form of shift
    places = {random_shift(image[:1], 0).numpy().tobytes()}
    from agents.drq.augmentation import shift

    for down in range(5):
        places |= {
            shift(image[:1], torch.tensor([down]), torch.tensor([right]), 2).numpy().tobytes() for right in range(5)
        }
    assert shifted[:1].contiguous(memory_format=torch.channels_last).numpy().tobytes() in places


@pytest.mark.parametrize(
    ("steps", "named"),
    [
        ("cutouts", ["augmentation=cutouts", "Did you mean cutout?"]),
        ("RandomErase", ["augmentation=RandomErase", "Did you mean RandomErasing?"]),
        (["shift", "Rotation"], ["augmentation=Rotation", "Did you mean rotation?"]),
        ("RandomMixUpV2", ["augmentation=RandomMixUpV2"]),  # of two transitions
        ("VideoSequential", ["augmentation=VideoSequential"]),
        ({"RandomErasing": {"q": 1}}, ["RandomErasing", "'q'"]),
        ({"RandomErasing": {"p": "often"}}, ["RandomErasing", "often"]),
        ("RandomRotation", ["augmentation=RandomRotation", "degrees"]),
        ({"RandomCrop": {"size": [20, 20]}}, ["RandomCrop", "(3, 20, 20)"]),
        ("RandomChannelDropout", ["augmentation=RandomChannelDropout", "come out different"]),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_built(steps, named):
    before = torch.get_rng_state()
    with pytest.raises(SettingError) as caught:
        check_augmentation(steps, SIZE)
    message = str(caught.value)
    assert all(part in message for part in named) and "\n" not in message
    assert torch.equal(torch.get_rng_state(), before)


def test_what_may_be_written():
    good = ["shift", ["shift", "cutout"], [], {"A": {}}, ["shift", {"A": {"p": 1}}]]
    bad = [None, 3, True, "", [3], [["shift"]], {}, {"A": 1}, {"A": None}, {"A": {}, "B": {}}, [{"A": {3: 1}}]]
    assert all(map(is_steps, good)) and not any(map(is_steps, bad))


def test_an_agent_goes_on_with_the_draws_of_kornia():
    """Random states put back, two updates give the same weights; without, others."""
    batch = transitions(skills=3)
    steps = ["shift", "cutout", {"RandomAffine": {"degrees": 5.0, "translate": [0.1, 0.1]}}, "intensity"]

    def weights(seed):
        agent = make_drq(augmentation=steps)
        torch.manual_seed(seed)
        for _ in range(2):
            updated = agent.update(batch)
        assert all(loss.isfinite() for loss in updated.losses.values())
        return torch.cat([p.flatten() for p in agent.state_dict().values()])

    assert torch.equal(weights(5), weights(5)) and not torch.equal(weights(5), weights(6))
    assert make_drq(augmentation=steps).state_dict().keys() == make_drq().state_dict().keys()


def test_what_draws_on_the_host_is_in_no_graph():
    assert make_drq(augmentation="cutout").graph_key(None) is None
    assert make_drq(augmentation="cutout").graph_key("train") == make_drq().graph_key(None) == ()
