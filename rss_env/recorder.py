"""Pictures of the same things at successive moments: as a film, and as a strip of panels.

Gymnasium's vector `RecordVideo` loses the frames of episodes of one step, which are all there are
here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from PIL import Image

from rss_env.errors import InputError, check_value
from rss_env.rendering import ByteArray, enlarged, panel_grid, sheet
from rss_env.whole_files import replace_file

FILM_SUFFIXES = (".png", ".gif", ".mp4")


class Film:
    """Panels of one size at each of a bounded number of moments, spread over all that were added.

    When there are too many, every second moment is dropped, and from then on only every second one
    is taken: the first is always kept.
    """

    def __init__(
        self,
        max_moments: int = 64,
        frames_per_second: float = 4.0,
        stills: Mapping[str, Sequence[ByteArray]] | None = None,
    ):
        """Start empty.

        Args:
            max_moments: Most moments kept, at least 2.
            frames_per_second: Of the film.
            stills: Panels that stand beside those of each moment, by what to call them; None for
                a film of moments alone, without words.
        """
        check_value(max_moments >= 2, "max_moments", "at least 2", max_moments)
        check_value(frames_per_second > 0, "frames_per_second", "positive", frames_per_second)
        self._max_moments, self._fps = max_moments, frames_per_second
        self._stills = {name: [*map(enlarged, panels)] for name, panels in (stills or {}).items()}
        self._moments: list[list[ByteArray]] = []
        self._titles: list[str] = []
        self._added, self._every = 0, 1

    def __len__(self) -> int:
        """Moments kept."""
        return len(self._moments)

    def add(self, panels: Sequence[ByteArray], title: str = "") -> None:
        """Add a moment: as many panels (H, W, 3) uint8 as each time, of the same size."""
        if self._added % self._every == 0:
            self._moments.append([enlarged(panel) for panel in panels])
            self._titles.append(title)
            if len(self._moments) > self._max_moments:
                self._moments, self._titles = self._moments[::2], self._titles[::2]
                self._every *= 2
        self._added += 1

    def get_state(self) -> dict[str, Any]:
        """Return what was kept: tensors (panels, H, W, 3) of moments, titles, two counters."""
        moments = [torch.from_numpy(np.stack(moment)) for moment in self._moments]
        counters = {"added": self._added, "every": self._every}
        return {"moments": moments, "titles": list(self._titles), **counters}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of `get_state`."""
        self._moments = [list(moment.numpy()) for moment in state["moments"]]
        self._titles = list(state.get("titles", [""] * len(self._moments)))
        self._added, self._every = state["added"], state["every"]

    def _page(self, *moments: int, legend: Sequence[tuple[str, ByteArray]]) -> ByteArray:
        """Panels down; stills and some moments across, under their names."""
        columns = [*self._stills.values(), *(self._moments[moment] for moment in moments)]
        heads = [*self._stills, *(self._titles[moment] for moment in moments)]
        return sheet(list(zip(*columns, strict=True)), heads, legend)

    def save(
        self, path: str | os.PathLike[str], legend: Sequence[tuple[str, ByteArray]] = ()
    ) -> None:
        """Write the film (`.gif`, `.mp4`), or the strip: panels down, moments across (`.png`).

        It is written in one move; a link in its place is replaced, not followed.

        Args:
            path: The file.
            legend: Names and colours, to stand below panels that have stills beside them.

        Raises:
            InputError: If nothing was added, the suffix is unknown, or a `.mp4` is asked for
                without the extra `rss-env[video]`.
            OSError: If it cannot be written.
        """
        path = Path(path)
        if not self._moments:
            raise InputError(f"{path.name}: there is nothing to save, no moment was added")
        if path.suffix == ".png":
            strip = Image.fromarray(self._strip(legend))
            replace_file(path, lambda temporary: strip.save(temporary, "PNG"))
        elif path.suffix == ".gif":
            first, *others = map(Image.fromarray, self._frames(legend))
            options = {"append_images": others, "duration": round(1000 / self._fps), "loop": 0}
            replace_file(path, lambda place: first.save(place, "GIF", save_all=True, **options))
        elif path.suffix == ".mp4":
            content = _mp4_of(self._frames(legend), path.name, self._fps)
            replace_file(path, lambda temporary: temporary.write_bytes(content))
        else:
            raise InputError(f"cannot save {path.name}; valid suffixes: {', '.join(FILM_SUFFIXES)}")

    def _strip(self, legend: Sequence[tuple[str, ByteArray]]) -> ByteArray:
        """All moments side by side."""
        if self._stills:
            return self._page(*range(len(self._moments)), legend=legend)
        return panel_grid(list(zip(*self._moments, strict=True)))

    def _frames(self, legend: Sequence[tuple[str, ByteArray]]) -> list[ByteArray]:
        """A picture of each moment."""
        columns = int(np.ceil(np.sqrt(len(self._moments[0]))))
        if self._stills:
            return [self._page(at, legend=legend) for at in range(len(self._moments))]
        return [
            panel_grid([panels[i : i + columns] for i in range(0, len(panels), columns)])
            for panels in self._moments
        ]


def _mp4_of(frames: Sequence[ByteArray], name: str, frames_per_second: float) -> bytes:
    """The content of a film of that name."""
    try:
        import imageio.v3 as imageio
        import imageio_ffmpeg  # noqa: F401
    except ImportError:
        raise InputError(
            f"{name}: .mp4 needs the extra rss-env[video]; .gif and .png do not"
        ) from None
    even = [np.pad(f, ((0, f.shape[0] % 2), (0, f.shape[1] % 2), (0, 0)), "edge") for f in frames]
    options = {"plugin": "FFMPEG", "extension": ".mp4", "macro_block_size": 2}
    return imageio.imwrite("<bytes>", np.stack(even), fps=frames_per_second, **options)


class RecordEpisodes(VectorWrapper):
    """Keeps pictures of judged maps: images under the finest of their action maps.

    There is one for each step: episodes of several steps are seen to grow from left to right. The
    strip and the film are written when the environment is closed.
    """

    def __init__(
        self,
        env: VectorEnv[Any, Any, Any],
        folder: str | Path,
        *,
        every: int = 1,
        num_envs: int = 4,
        formats: Sequence[str] = (".png", ".gif"),
        max_moments: int = 64,
        frames_per_second: float = 4.0,
    ):
        """Wrap an environment.

        Args:
            env: With `render_mode="rgb_array"`.
            folder: Where `episodes.png` and the like are written; made if need be.
            every: Steps from one picture to the next.
            num_envs: How many sub-environments to show, the first ones.
            formats: Of `.png` (strip), `.gif` and `.mp4` (films).
            max_moments: Most pictures kept of each; see `Film`.
            frames_per_second: Of the films.

        Raises:
            InputError: If an argument is invalid.
        """
        super().__init__(env)
        if env.render_mode != "rgb_array":
            raise InputError(
                f"recording needs an environment with render_mode='rgb_array', got "
                f"{env.render_mode!r}"
            )
        if every < 1 or num_envs < 1:
            raise InputError(f"every and num_envs must be at least 1, got {every} and {num_envs}")
        unknown = [suffix for suffix in formats if suffix not in FILM_SUFFIXES]
        if unknown:
            raise InputError(
                f"unknown recording format {unknown[0]!r}; valid: {', '.join(FILM_SUFFIXES)}"
            )
        self._film = Film(max_moments, frames_per_second)
        self._folder, self._formats = Path(folder), tuple(formats)
        self._every, self._shown, self._steps = every, min(num_envs, env.num_envs), 0
        self._only_resets = False  # the next step, of every sub-environment

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Reset; see the environment."""
        self._only_resets = False
        return self.env.reset(seed=seed, options=options)

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Step, and keep a picture if it is time and something was judged."""
        result = self.env.step(actions)
        if not self._only_resets:
            if self._steps % self._every == 0:
                frames = cast(tuple[ByteArray, ...], self.env.render())
                self._film.add(frames[: self._shown])
            self._steps += 1
        over, mode = result[2] | result[3], self.env.metadata.get("autoreset_mode")
        self._only_resets = mode == AutoresetMode.NEXT_STEP and bool(over.all())
        return result

    def close(self, **kwargs: Any) -> None:
        """Write what was kept, and close the environment."""
        if not self.env.closed and len(self._film):
            self._folder.mkdir(parents=True, exist_ok=True)
            for suffix in self._formats:
                self._film.save(self._folder / f"episodes{suffix}")
        self.env.close(**kwargs)
