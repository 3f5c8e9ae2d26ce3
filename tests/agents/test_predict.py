"""`rss-predict`: what it writes."""

from __future__ import annotations

import numpy as np
from conftest import write_sample
from PIL import Image

from rss_agents import predict
from training_runs import run


def test_prediction_command(tmp_path):
    run(tmp_path / "run")
    pictures = tmp_path / "pictures"
    for name, shape in (("a", (40, 30)), ("deep/b", (16, 16))):
        write_sample(pictures / f"{name}.jpg", None, np.zeros(shape))
    predict.main(
        ["--checkpoint", str(tmp_path / "run"), "--images", str(pictures), "--out",
         str(tmp_path / "out")]
    )  # fmt: skip
    with Image.open(tmp_path / "out/a.png") as image:
        assert image.mode == "P"
        assert image.size == (30, 40)
        assert np.array(image).max() < 6
        assert image.getpalette()[:6] == [0, 0, 0, 128, 0, 0]
    with Image.open(tmp_path / "out/deep/b_overlay.png") as image:
        assert image.mode == "RGB"
