from __future__ import annotations

import numpy as np
import pytest
import torch

from rss_env.action_maps import ActionMapGeometry, default_scales
from rss_env.errors import ActionError, InputError


@pytest.fixture
def geometry() -> ActionMapGeometry:
    return ActionMapGeometry((8, 16), (4, 2, 1), 3)


def test_grids_and_offsets_of_a_small_image(geometry):
    assert geometry.grids == ((2, 4), (4, 8), (8, 16))
    assert geometry.cells == (8, 32, 128)
    assert geometry.offsets == (0, 8, 40, 168)
    assert geometry.num_cells == 168


def test_design_example_has_5440_cells():
    assert ActionMapGeometry((64, 64), (8, 4, 2, 1), 2).num_cells == 5440


@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_flat_and_maps_are_the_same_thing(geometry, kind):
    flat = np.arange(2 * 168).reshape(2, 168)
    flat = torch.from_numpy(flat) if kind == "torch" else flat
    maps = geometry.to_maps(flat)
    assert list(maps) == ["scale_4", "scale_2", "scale_1"]
    assert [tuple(m.shape) for m in maps.values()] == [(2, 2, 4), (2, 4, 8), (2, 8, 16)]
    assert (geometry.to_flat(maps) == flat).all()
    assert maps["scale_2"][1, 0, 0] == 168 + 8  # row-major, coarse to fine


def test_upsampling_paints_each_cell_onto_its_own_pixels(geometry):
    part = torch.arange(8)[None]
    pixels = geometry.upsample(part, 0)
    assert pixels.shape == (1, 8, 16)
    for y in range(8):
        for x in range(16):
            assert pixels[0, y, x] == (y // 4) * 4 + x // 4


def test_default_scales_follow_the_image_size():
    assert default_scales((64, 64)) == (8, 4, 2, 1)
    assert default_scales((128, 256)) == (32, 16, 8, 4)


@pytest.mark.parametrize(
    ("scales", "message"),
    [
        ((8, 3), r"\[3\] do not divide the image size 64x48; valid: \[1, 2, 4, 8, 16\]"),
        ((1, 2), "coarse to fine"),
        ((4, 4), "distinct"),
        ((), "distinct"),
        ((0,), "do not divide"),
    ],
)
def test_scales_that_do_not_fit_are_refused(scales, message):
    with pytest.raises(InputError, match=message):
        ActionMapGeometry((64, 48), scales, 3)


@pytest.mark.parametrize("num_classes", [1, 256])
def test_number_of_classes_is_bounded(num_classes):
    with pytest.raises(InputError, match="num_classes"):
        ActionMapGeometry((8, 8), (1,), num_classes)


BAD_FLAT = {
    "shape": (np.zeros((2, 5), np.int64), "shape"),
    "batch": (np.zeros((3, 168), np.int64), "shape"),
    "float": (np.zeros((2, 168)), "integers, got dtype float64"),
    "nan": (np.full((2, 168), np.nan), "integers"),
    "bool": (np.zeros((2, 168), bool), "integers"),
    "too large": (np.full((2, 168), 3), r"classes 0..2, got 3 at index \(0, 0\)"),
    "negative": (np.full((2, 168), -1), "got -1"),
    "wraps to legal": (np.full((2, 168), 256), "got 256"),
    "ragged": ([[1, 2], [1]], "rectangular"),
    "none": (None, "integers"),
    "torch float": (torch.zeros(2, 168), "integers"),
    "torch range": (torch.full((2, 168), 7), "got 7"),
    "torch shape": (torch.zeros(2, 1, dtype=torch.int64), "shape"),
    "torch device": (torch.zeros(2, 168, dtype=torch.int64, device="meta"), "on device cpu"),
}


@pytest.mark.parametrize("name", BAD_FLAT)
def test_bad_actions_are_refused(geometry, name):
    actions, message = BAD_FLAT[name]
    with pytest.raises(ActionError, match=message):
        geometry.parse(actions, 2)


def test_array_for_an_environment_on_another_device_is_refused(geometry):
    with pytest.raises(ActionError, match="must be a torch tensor on meta"):
        geometry.parse(np.zeros((2, 168), np.int64), 2, device="meta")


def test_bad_maps_are_refused(geometry):
    maps = geometry.to_maps(np.zeros((2, 168), np.int64))
    with pytest.raises(ActionError, match="keys"):
        geometry.parse({"scale_4": maps["scale_4"]}, 2, "maps")
    with pytest.raises(ActionError, match="dict with keys"):
        geometry.parse(np.zeros((2, 168), np.int64), 2, "maps")
    with pytest.raises(ActionError, match=r"actions\['scale_2'\] must have shape \(2, 4, 8\)"):
        geometry.parse({**maps, "scale_2": maps["scale_4"]}, 2, "maps")


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8, np.uint16])
def test_parsing_keeps_every_value(geometry, dtype):
    actions = np.random.default_rng(0).integers(0, 3, (2, 168)).astype(dtype)
    for given in (actions, actions[:, ::-1][:, ::-1], geometry.to_maps(actions)):
        action_format = "maps" if isinstance(given, dict) else "flat"
        parsed = geometry.parse(given, 2, action_format)
        assert parsed.dtype == torch.uint8
        np.testing.assert_array_equal(parsed.numpy(), actions)


def test_parsed_actions_are_a_copy(geometry):
    actions = np.zeros((2, 168), np.uint8)
    parsed = geometry.parse(actions, 2)
    actions[:] = 2
    assert parsed.max() == 0
