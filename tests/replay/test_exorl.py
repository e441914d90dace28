"""Episode files: names, what is read of them, and what is refused in a line that names the file."""

import numpy as np
import pytest
from exorl_kit import SIZES, data_set, episode, write

from replay import exorl
from replay.exorl import EpisodeFile, Sizes, episode_files, length_in, read_episode, write_episode
from utils.errors import UserError


@pytest.mark.parametrize(
    "name, length",
    [
        ("episode_000000_1000.npz", 1000),
        ("20210914T093012_3_250.npz", 250),
        ("made-by_someone-else_7_1.npz", 1),
        ("_0_5.npz", 5),
    ],
)
def test_the_length_is_in_the_last_field(tmp_path, name, length):
    assert length_in(tmp_path / "rnd_1000-x" / name) == length


@pytest.mark.parametrize(
    "name",
    ["episode_1000.npz", "a_b_1000.npz", "a_1_x.npz", "20210914T093012-0123abcd-500.npz", "a_1_-5.npz", "a_1_5_.npz",
     "a_1_².npz", "a_1_0.npz", "a_1_00000000001.npz"],
)  # fmt: skip
def test_other_names_are_refused(tmp_path, name):
    write(tmp_path, episode(3))
    write(tmp_path, episode(3), name=name)
    with pytest.raises(UserError, match=r"(?s)" + name.replace(".", r"\.")):
        episode_files(tmp_path)


def test_files_come_in_the_order_of_their_names_up_to_the_capacity(tmp_path):
    folder = tmp_path / "rnd_2-x" / "buffer"  # neither is of the name
    data_set(folder, [10, 20, 30, 5])
    (folder / "._episode_000009_7.npz").touch()  # some systems leave these
    (folder / "readme.txt").touch()
    files = [EpisodeFile(folder / f"episode_00000{i}_{n}.npz", n) for i, n in enumerate([10, 20, 30, 5])]
    assert episode_files(folder) == files
    for capacity, count in ((1, 1), (10, 1), (11, 2), (30, 2), (31, 3), (10**9, 4)):
        assert episode_files(folder, capacity) == files[:count]
    assert episode_files(folder.parent) == files  # of a method, whose archive has buffer/ and video/


def test_no_folder_and_none_with_episodes(tmp_path):
    data_set(tmp_path / "walker" / "rnd" / "buffer", [3])
    (tmp_path / "empty").mkdir()
    for wrong, named in (("nowhere", "nowhere"), ("empty", "empty"), ("walker", "walker/rnd/buffer")):
        with pytest.raises(UserError, match=named):
            episode_files(tmp_path / wrong)


def test_what_is_read_is_what_the_file_holds(tmp_path):
    arrays = episode(7, skill=np.ones((8, 3)), note=np.array("of a collector"))
    arrays["discount"][-1] = 0
    file = EpisodeFile(write(tmp_path, arrays), 7)
    found = read_episode(file, SIZES, physics=True, reward=True)
    assert found.keys() == {"observation", "action", "reward", "discount", "physics"}
    for key, array in found.items():
        assert array.dtype == (np.float64 if key == "physics" else np.float32)
        np.testing.assert_array_equal(array, arrays[key].reshape(array.shape))
    assert found["reward"].shape == found["discount"].shape == (8,)
    few = write(tmp_path, episode(7, physics=None), 1)
    assert read_episode(EpisodeFile(few, 7), SIZES, physics=False, reward=False).keys() == {
        "observation",
        "action",
        "discount",
    }


def test_numbers_of_another_type_are_taken_where_none_is_lost(tmp_path):
    observation = np.linspace(0, 1, 20).reshape(4, 5)
    exact = observation.astype(np.float32).astype(np.float64)
    path = write(tmp_path, episode(3, observation=exact, reward=np.array([0, 1, 0, 1])))
    found = read_episode(EpisodeFile(path, 3), SIZES, physics=False, reward=True)
    assert found["observation"].dtype == found["reward"].dtype == np.float32
    np.testing.assert_array_equal(found["observation"], exact)
    np.testing.assert_array_equal(found["reward"], [0, 1, 0, 1])


BAD = np.full((4, 5), np.nan, np.float32)
WRONG = {
    "lossy": ({"observation": np.linspace(0, 1, 20).reshape(4, 5)}, "observation.*float64"),
    "too large": ({"observation": np.full((4, 5), 1e300)}, "observation.*float64"),
    "whole": ({"observation": np.full((4, 5), 2**24 + 1)}, "observation.*int64"),
    "text": ({"action": np.full((4, 2), "a")}, "action"),
    "nan": ({"observation": BAD}, "observation.*finite"),
    "reward nan": ({"reward": np.array([0, np.inf, 0, 0], np.float32)}, "reward.*finite"),
    "columns": ({"reward": np.zeros((4, 4), np.float32)}, "reward.*4 columns.*relabel_task"),
    "no reward": ({"reward": np.zeros((4, 0), np.float32)}, "reward"),
    "rows": ({"observation": np.zeros((5, 5), np.float32)}, "observation.*3 transitions.*4 rows"),
    "no rows": ({"discount": np.float32(1)}, "discount"),
    "missing": ({"discount": None}, "discount"),
    "no physics": ({"physics": None}, "physics"),
    "wide discount": ({"discount": np.ones((4, 2), np.float32)}, "discount"),
    "domain": ({"observation": np.zeros((4, 6), np.float32)}, "observation.*6.*5.*another domain"),
    "action": ({"action": np.zeros((4, 3), np.float32)}, "action.*3.*2"),
    "physics": ({"physics": np.zeros((4, 9))}, "physics.*9.*4"),
    "images": ({"observation": np.zeros((4, 3, 8, 8), np.uint8)}, "observation.*3 x 8 x 8"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said_with_the_file(tmp_path, case):
    changes, expected = WRONG[case]
    path = write(tmp_path, episode(3, **changes), name="a_0_3.npz")
    with pytest.raises(UserError, match=f"{path.name}.*{expected}") as error:
        read_episode(EpisodeFile(path, 3), SIZES, physics=True, reward=True)
    assert "\n" not in str(error.value)


def test_objects_are_never_unpickled(tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ("unpickled",))

    path = write(tmp_path, episode(3, observation=np.array([Evil()] * 4)))
    with pytest.raises(UserError, match=path.name):
        read_episode(EpisodeFile(path, 3), SIZES, physics=False, reward=True)


def test_damaged_files_at_every_place(tmp_path):
    path = write(tmp_path, episode(3))
    whole, file = path.read_bytes(), EpisodeFile(path, 3)
    for size in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(UserError, match=path.name):
            read_episode(file, SIZES, physics=True, reward=True)
    random, refused = np.random.default_rng(0), 0
    for _ in range(150):
        bytes_ = bytearray(whole)
        bytes_[random.integers(len(whole))] ^= 1 << random.integers(8)
        path.write_bytes(bytes_)
        try:
            read_episode(file, SIZES, physics=True, reward=True)
        except UserError as error:
            assert path.name in str(error)
            refused += 1
    assert refused > 100  # the rest hit names' padding or times of the archive
    np.save(path.with_suffix(".npy"), np.zeros(3))
    path.with_suffix(".npy").rename(path)
    with pytest.raises(UserError, match=path.name):
        read_episode(file, SIZES, physics=True, reward=True)
    path.unlink()
    path.mkdir()
    with pytest.raises(UserError, match=path.name):
        read_episode(file, SIZES, physics=True, reward=True)


def test_written_files_are_read_back(tmp_path):
    arrays = episode(4)
    path = write_episode(tmp_path, 12, arrays)
    assert [file.name for file in tmp_path.iterdir()] == [path.name] == ["episode_000012_4.npz"]
    found = exorl.load_arrays(path, exorl.NEEDED, others=True)
    assert found.keys() == arrays.keys()
    for key, array in arrays.items():
        assert found[key].dtype == array.dtype
        np.testing.assert_array_equal(found[key], array)


def test_any_sizes_where_none_are_known(tmp_path):
    file = EpisodeFile(write(tmp_path, episode(3)), 3)
    read_episode(file, None, physics=True, reward=True)
    with pytest.raises(UserError, match="another domain"):
        read_episode(file, Sizes(24, 6, 18), physics=True, reward=True)
