"""The options of looking at an image more than once."""

from __future__ import annotations

from dataclasses import dataclass

from rss_env.errors import check_value

_SMALLEST, _LARGEST = 1 / 16, 16.0  # scale


@dataclass
class ViewsConfig:
    """Options of looking at each image more than once."""

    flip: bool = False
    """Look at every image mirrored as well, and answer with the mean of both."""
    image_scales: tuple[float, ...] = (1.0,)
    """Look at every image at these multiples of the size trained at, and answer with the mean."""

    def check(self) -> None:
        """Refuse scales that make no views, with an `InputError`."""
        for scale in self.image_scales:
            valid = f"in {_SMALLEST}..{_LARGEST:g}"
            check_value(_SMALLEST <= scale <= _LARGEST, "image_scales", valid, scale)
        count = len(self.image_scales)
        check_value(count > 0, "image_scales", "one scale or more", self.image_scales)

    @property
    def several(self) -> bool:
        """Tell whether anything but the image itself is looked at."""
        return self.flip or self.image_scales != (1.0,)
