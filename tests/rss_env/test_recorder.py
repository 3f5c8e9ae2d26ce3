"""Films and strips: every moment is there, and nothing grows without bound."""

from __future__ import annotations

import sys

import gymnasium as gym
import numpy as np
import pytest
from PIL import Image

from rss_env.errors import InputError
from rss_env.recorder import Film, RecordEpisodes
from rss_env.rendering import HEAD_HEIGHT


def panel(value: int, shape: tuple[int, int] = (130, 130)) -> np.ndarray:
    return np.full((*shape, 3), value, np.uint8)


def make(**options):
    return gym.make_vec(
        "RSS/Shapes-ImageReward-v0",
        num_envs=3,
        render_mode="rgb_array",
        num_scenes=8,
        image_size=16,
        scales=(4, 1),
        **options,
    )


def colours(path) -> list[int]:
    """The first pixel of every frame."""
    with Image.open(path) as film:
        found = []
        for number in range(getattr(film, "n_frames", 1)):
            film.seek(number)
            found.append(film.convert("RGB").getpixel((0, 0))[0])
        return found


def test_a_film_shows_every_moment_in_order(tmp_path):
    film = Film()
    for value in (10, 90, 170):
        film.add([panel(value), panel(value + 5)])
    film.save(tmp_path / "film.gif")
    assert colours(tmp_path / "film.gif") == pytest.approx([10, 90, 170], abs=3)
    film.save(tmp_path / "film.png")
    strip = np.array(Image.open(tmp_path / "film.png"))
    assert strip.shape == (2 * 130 + 4, 3 * 130 + 8, 3)  # panels down, moments across
    assert strip[0, 0, 0] == 10
    assert strip[0, -1, 0] == 170
    assert strip[-1, 0, 0] == 15
    assert strip[-1, -1, 0] == 175


def test_stills_and_titles_stand_beside_the_moments(tmp_path):
    film = Film(stills={"image": [panel(200), panel(205)]})
    legend = [("disc", np.array([1, 2, 250], np.uint8))]
    for value in (10, 90):
        film.add([panel(value), panel(value + 5)], f"update {value}")
    again = Film(stills={"image": [panel(200), panel(205)]})
    again.set_state(film.get_state())
    again.save(tmp_path / "film.png", legend)
    strip = np.array(Image.open(tmp_path / "film.png"))
    film.save(tmp_path / "other.png", legend)
    np.testing.assert_array_equal(strip, np.array(Image.open(tmp_path / "other.png")))
    assert (strip[:HEAD_HEIGHT] < 128).any((0, 2)).reshape(-1)[134:].any()  # titles
    panels = strip[HEAD_HEIGHT : HEAD_HEIGHT + 2 * 130 + 4]
    corners = [[int(panels[y, x, 0]) for x in (0, 134, 268)] for y in (0, 134)]
    assert corners == [[200, 10, 90], [205, 15, 95]]
    assert (strip[HEAD_HEIGHT + 264 :].reshape(-1, 3) == (1, 2, 250)).all(1).any()
    film.save(tmp_path / "film.gif", legend)
    with Image.open(tmp_path / "film.gif") as frames:
        assert frames.n_frames == 2  # pyright: ignore[reportAttributeAccessIssue]
        assert frames.size == (2 * 130 + 4, strip.shape[0])
    old = {name: value for name, value in film.get_state().items() if name != "titles"}
    again.set_state(old)  # of a run before there were titles
    again.save(tmp_path / "film.png")


def test_a_film_can_be_played_as_video(tmp_path):
    imageio = pytest.importorskip("imageio.v3")
    pytest.importorskip("imageio_ffmpeg")
    film = Film(frames_per_second=5)
    for value in (10, 90, 170):
        film.add([panel(value, (131, 129))])  # odd sides
    film.save(tmp_path / "film.mp4")
    frames = imageio.imread(tmp_path / "film.mp4", plugin="FFMPEG")
    assert frames.shape == (3, 132, 130, 3)
    assert frames[:, 60, 60, 0] == pytest.approx([10, 90, 170], abs=6)


def test_video_without_its_package_is_one_clear_error(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    film = Film()
    film.add([panel(1)])
    with pytest.raises(InputError, match=r"rss-env\[video\]"):
        film.save(tmp_path / "film.mp4")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("count", [4, 5, 9, 100, 255])
def test_a_film_is_bounded_and_spread_over_all_moments(tmp_path, count):
    film = Film(max_moments=4)
    for value in range(count):
        film.add([panel(value)])
    assert 2 < len(film) <= 4
    film.save(tmp_path / "film.png")
    strip = np.array(Image.open(tmp_path / "film.png"))
    kept = [int(strip[0, i * 134, 0]) for i in range(len(film))]
    steps = np.diff(kept)
    assert kept[0] == 0
    assert len(set(steps)) == 1  # equally spaced
    assert count - kept[-1] <= steps[0]


def test_episodes_are_recorded_one_by_one(tmp_path):
    env = RecordEpisodes(make(), tmp_path / "films", num_envs=2, every=2)
    env.reset(seed=0)
    expected = []
    for step in range(5):
        env.step(env.action_space.sample())
        if step % 2 == 0:
            expected.append(env.render())
    assert not (tmp_path / "films").exists()
    env.close()
    env.close()
    strip = np.array(Image.open(tmp_path / "films/episodes.png"))
    side = 128
    assert strip.shape == (2 * side + 4, 3 * side + 8, 3)
    for moment, frames in enumerate(expected):
        for number in range(2):
            y, x = number * (side + 4), moment * (side + 4)
            shown = strip[y : y + side : 8, x : x + side : 8]
            np.testing.assert_array_equal(shown, frames[number])
    assert len(colours(tmp_path / "films/episodes.gif")) == 3


def test_next_step_resets_are_not_recorded(tmp_path):
    env = RecordEpisodes(make(autoreset_mode="NextStep"), tmp_path, formats=(".png",))
    env.reset(seed=0)
    for _ in range(4):  # every second step is a reset
        env.step(env.action_space.sample())
    env.close()
    assert Image.open(tmp_path / "episodes.png").width == 2 * 128 + 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"every": 0}, "every and num_envs must be at least 1, got 0 and 4"),
        ({"formats": (".avi",)}, "unknown recording format '.avi'; valid: .png, .gif, .mp4"),
        ({"max_moments": 1}, "max_moments must be at least 2, got 1"),
        ({"frames_per_second": 0.0}, "frames_per_second must be positive, got 0.0"),
    ],
)
def test_bad_arguments_are_refused(tmp_path, arguments, message):
    with pytest.raises(InputError, match=message):
        RecordEpisodes(make(), tmp_path, **arguments)


def test_an_environment_without_pictures_is_refused(tmp_path):
    env = gym.make_vec("RSS/Shapes-ImageReward-v0", num_envs=1, num_scenes=2)
    with pytest.raises(InputError, match="render_mode='rgb_array', got None"):
        RecordEpisodes(env, tmp_path)


def test_an_empty_film_is_refused(tmp_path):
    with pytest.raises(InputError, match="no moment was added"):
        Film().save(tmp_path / "film.gif")
    film = Film()
    film.add([panel(0)])
    with pytest.raises(InputError, match=r"cannot save film.webm; valid suffixes: .png"):
        film.save(tmp_path / "film.webm")
