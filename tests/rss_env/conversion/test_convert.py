"""Label maps from what labelling tools write: right to the pixel, or refused without a trace."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import write_sample
from PIL import Image
from pycocotools import mask as coco_mask

from data_command import run
from rss_env.conversion.convert import convert
from rss_env.datasets import open_dataset
from rss_env.errors import InputError
from rss_env.rendering import palette_image

SIZE = (24, 32)
SQUARE = [8, 4, 20, 4, 20, 16, 8, 16]  # x and y of the corners


def drawn(value: int, *also: tuple[int, int, int, int, int]) -> np.ndarray:
    """The label map of the square, and of further boxes (value, top, bottom, left, right)."""
    label = np.zeros(SIZE, np.uint8)
    label[4:16, 8:20] = value
    for other, top, bottom, left, right in also:
        label[top:bottom, left:right] = other
    return label


def read(folder: Path, name: str) -> np.ndarray:
    with Image.open(folder / f"{name}.png") as image:
        assert image.mode == "P"
        return np.array(image)


def left(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# --- COCO ---


def run_lengths(box: tuple[int, int, int, int]) -> dict[str, Any]:
    """COCO's lengths of runs, down the columns, of a box (top, bottom, left, right)."""
    inside = np.zeros(SIZE, np.uint8)
    top, bottom, start, end = box
    inside[top:bottom, start:end] = 1
    flat = np.concatenate([[0], inside.T.ravel(), [2]])
    edges = np.flatnonzero(np.diff(flat))
    lengths = np.diff(np.concatenate([[0], edges]))
    return {"size": list(SIZE), "counts": lengths.tolist()}


def compressed(box: tuple[int, int, int, int]) -> dict[str, Any]:
    inside = np.zeros(SIZE, np.uint8)
    top, bottom, start, end = box
    inside[top:bottom, start:end] = 1
    found: Any = coco_mask.encode(np.asfortranarray(inside))
    return {"size": list(SIZE), "counts": found["counts"].decode()}


def coco(path: Path, segmentations: list[Any], **changes: Any) -> Path:
    """A file of two images; the outlines are of the first, of alternate categories."""
    content = {
        "images": [
            {"id": 5, "file_name": "a/x.jpg", "height": SIZE[0], "width": SIZE[1]},
            {"id": 6, "file_name": "y.jpg", "height": SIZE[0], "width": SIZE[1]},
        ],
        "categories": [{"id": 9, "name": "cat"}, {"id": 2, "name": "tree frog"}],
        "annotations": [
            {"id": i, "image_id": 5, "category_id": (9, 2)[i % 2], "segmentation": outline}
            for i, outline in enumerate(segmentations)
        ],
    }
    path.write_text(json.dumps(content | changes))
    return path


@pytest.mark.parametrize("encode", [run_lengths, compressed])
def test_coco_polygons_and_run_lengths(tmp_path, capsys, encode):
    """Classes are the categories by id; the smaller of two regions lies on top."""
    file = coco(tmp_path / "instances.json", [[SQUARE], encode((6, 10, 10, 14))])
    out = tmp_path / "masks"
    code, output = run(capsys, "convert", "coco", str(file), "--out", str(out))
    assert code == 0, output
    np.testing.assert_array_equal(read(out, "a/x"), drawn(2, (1, 6, 10, 10, 14)))
    assert not read(out, "y").any()
    rows = {line.split()[1]: line.split() for line in output.splitlines() if line[:5].strip()}
    assert rows["tree"] == ["1", "tree", "frog", "128", "0", "0", "1", "1", "16"]
    assert rows["cat"] == ["2", "cat", "0", "128", "0", "1", "1", "128"]
    assert "1 image(s) have no outline at all" in output
    assert f"wrote 2 label map(s) to {out}, and masks_classes.txt beside it" in output
    lines = (tmp_path / "masks_classes.txt").read_text().splitlines()
    assert lines == ["background 0 0 0", "tree frog 128 0 0", "cat 0 128 0"]


def test_long_compressed_masks(tmp_path):
    """Of lengths in many digits, with differences of either sign."""
    random = np.random.default_rng(0)
    inside = random.random(SIZE) < np.linspace(0, 1, SIZE[1])
    inside[:, :9] = False
    encoded: Any = coco_mask.encode(np.asfortranarray(inside, np.uint8))
    outline = {"size": list(SIZE), "counts": encoded["counts"].decode()}
    convert("coco", coco(tmp_path / "c.json", [outline]), tmp_path / "out")
    np.testing.assert_array_equal(read(tmp_path / "out", "a/x"), 2 * inside)


def test_several_polygons_are_one_region(tmp_path):
    far = [24, 18, 30, 18, 30, 22, 24, 22]
    done = convert("coco", coco(tmp_path / "c.json", [[SQUARE, far]]), tmp_path / "out")
    np.testing.assert_array_equal(read(tmp_path / "out", "a/x"), drawn(2, (2, 18, 22, 24, 30)))
    assert done.regions == [0, 0, 1]


def test_a_class_file_orders_the_classes(tmp_path, capsys):
    file = coco(tmp_path / "c.json", [[SQUARE]])
    (tmp_path / "names.txt").write_text("cat 9 9 9\nground 1 2 3\ntree frog 7 7 7\n")
    out = tmp_path / "out"
    arguments = ["coco", str(file), "--classes", str(tmp_path / "names.txt"), "--out", str(out)]
    code, output = run(capsys, "convert", *arguments)
    assert code == 2
    assert "has no class 'background' for the pixels that no outline covers" in output
    code, output = run(capsys, "convert", *arguments, "--background", "ground")
    assert code == 0, output
    np.testing.assert_array_equal(read(out, "a/x"), 1 - drawn(1))
    assert (
        tmp_path / "out_classes.txt"
    ).read_text() == "cat 9 9 9\nground 1 2 3\ntree frog 7 7 7\n"
    void = tmp_path / "void"
    code, output = run(capsys, "convert", *arguments[:-1], str(void), "--background", "none")
    assert code == 0, output
    np.testing.assert_array_equal(read(void, "a/x"), np.where(drawn(1) == 1, 0, 255))


BOX = {"size": [24, 32], "counts": [24 * 32]}


@pytest.mark.parametrize(
    ("outlines", "changes", "message"),
    [
        ([None], {}, "annotation 0 of a/x.jpg has no outline: a box alone"),
        ([[]], {}, "has no outline"),
        ([[[1, 2, 3, 4]]], {}, "polygon of 4 numbers"),
        ([[[1, 2, 3, 4, 5, 6, 7]]], {}, "polygon of 7 numbers"),
        ([[[1, 2, 3, 4, 1e12, 6]]], {}, "far from a 24x32 image"),
        ([[[1, 2, 3, 4, float("nan"), 6]]], {}, "far from a 24x32 image"),
        ([BOX | {"size": [32, 24]}], {}, "mask of 32x24 in an image of 24x32"),
        ([BOX | {"counts": [5, 5]}], {}, "broken run-length mask: its lengths add up to 10"),
        ([BOX | {"counts": "\u00e4"}], {}, "broken run-length mask"),
        ([BOX | {"counts": "11"}], {}, "broken run-length mask: its lengths add up to 2"),
        ([BOX | {"counts": "zz"}], {}, "broken run-length mask: 'zz' is not COCO's code"),
        ([BOX | {"counts": ""}], {}, "broken run-length mask"),
        ([[SQUARE]], {"categories": []}, "category 9, which is not there"),
        ([[SQUARE]], {"categories": [{"id": 9, "name": "a"}] * 2}, "one id to more than one cat"),
        ([[SQUARE]], {"images": []}, "image 5, which is not there"),
        ([[SQUARE]], {"annotations": {}}, "is no COCO file of instances: annotations"),
        (
            [],
            {"images": [{"id": 1, "file_name": "../x.jpg", "height": 4, "width": 4}]},
            "'../x.jpg', which leads elsewhere",
        ),
        (
            [],
            {"images": [{"id": 1, "file_name": "x.jpg", "height": 10**9, "width": 10**9}]},
            "size 1000000000x1000000000",
        ),
        (
            [],
            {
                "images": [
                    {"id": i, "file_name": f"x.{end}", "height": 4, "width": 4}
                    for i, end in enumerate(("jpg", "png"))
                ]
            },
            "both hold the image 'x'",
        ),
    ],
)
def test_faults_of_coco_files(tmp_path, outlines, changes, message):
    file = coco(tmp_path / "c.json", outlines, **changes)
    with pytest.raises(InputError, match=message):
        convert("coco", file, tmp_path / "out", progress=False)
    assert left(tmp_path) == {"c.json"}


# --- labelme ---


def labelme(path: Path, shapes: list[dict[str, Any]], **changes: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"imagePath": f"..\\photos\\{path.stem}.jpg", "imageData": None, "version": "5.4"}
    content |= {"imageHeight": SIZE[0], "imageWidth": SIZE[1], "shapes": shapes}
    path.write_text(json.dumps(content | changes))


def shape(label: str, points: list[Any], kind: str = "polygon", **more: Any) -> dict[str, Any]:
    return {"label": label, "points": points, "shape_type": kind, "group_id": None, **more}


CORNERS = [[8, 4], [20, 4], [20, 16], [8, 16]]


def test_labelme_shapes(tmp_path):
    """The later shape lies on top, as in labelme's own conversion."""
    inside = io.BytesIO()
    Image.fromarray(np.full((4, 6), 255, np.uint8)).save(inside, "PNG")
    mask = base64.b64encode(inside.getvalue()).decode()
    labelme(
        tmp_path / "json/sub/x.json",
        [
            shape("cat", CORNERS),
            shape("dog", [[14, 10], [10, 6]], "rectangle"),
            shape("dog", [[2, 18], [7, 21]], "mask", mask=mask),
            shape("__ignore__", [[28, 20], [30, 22]], "rectangle"),
        ],
    )
    labelme(tmp_path / "json/y.json", [shape("cat", [[16, 12], [16, 18]], "circle")])
    done = convert("labelme", tmp_path / "json", tmp_path / "out")
    assert done.classes.names == ["background", "cat", "dog"]
    assert done.regions == [0, 2, 2]
    boxes = (2, 6, 10, 10, 14), (2, 18, 22, 2, 8), (255, 20, 22, 28, 30)
    np.testing.assert_array_equal(read(tmp_path / "out", "sub/x"), drawn(1, *boxes))
    circle = read(tmp_path / "out", "y")
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    distance = np.hypot(y - 12, x - 16)
    assert (circle[distance < 5.3] == 1).all()
    assert (circle[distance > 6.7] == 0).all()


def test_a_class_file_of_labelme(tmp_path):
    labelme(tmp_path / "json/x.json", [shape("cat", CORNERS), shape("__ignore__", CORNERS)])
    (tmp_path / "labels.txt").write_text("__ignore__\n_background_\ndog\ncat\n")
    done = convert(
        "labelme", tmp_path / "json", tmp_path / "out", classes=str(tmp_path / "labels.txt")
    )
    assert done.classes.names == ["_background_", "dog", "cat"]
    np.testing.assert_array_equal(read(tmp_path / "out", "x"), drawn(255))
    (tmp_path / "labels.txt").write_text("_background_\ndog\n")
    with pytest.raises(InputError, match=r"lacks 1 of the labels: \['cat'\]"):
        convert("labelme", tmp_path / "json", tmp_path / "b", classes=str(tmp_path / "labels.txt"))


@pytest.mark.parametrize(
    ("shapes", "changes", "message"),
    [
        ([shape("cat", CORNERS[:2])], {}, r"shape 0 \(cat\) has a polygon of 4 numbers"),
        ([shape("cat", CORNERS[:2], "line")], {}, "is a line, which has no area"),
        ([shape("cat", CORNERS, "circle")], {}, "circle of 4 points; valid: 2"),
        ([shape("cat", CORNERS[:2], "mask", mask="!")], {}, "mask that cannot be decoded"),
        ([shape("cat", CORNERS)], {"imageHeight": None}, "no JSON file of labelme: imageHeight"),
        ([shape("cat", CORNERS)], {"imagePath": ""}, "no file's name"),
    ],
)
def test_faults_of_labelme_files(tmp_path, shapes, changes, message):
    labelme(tmp_path / "json/x.json", shapes, **changes)
    with pytest.raises(InputError, match=message):
        convert("labelme", tmp_path / "json", tmp_path / "out", progress=False)
    assert left(tmp_path) == {"json"}


# --- masks ---

COLOURS = np.array([[0, 0, 0], [10, 200, 30]], np.uint8)


def test_colour_masks_become_indices_that_are_read_alike(tmp_path, capsys):
    label = drawn(1)
    (tmp_path / "colour/sub").mkdir(parents=True)
    Image.fromarray(COLOURS[label]).save(tmp_path / "colour/sub/x.png")
    (tmp_path / "names.txt").write_text("ground 0 0 0\nlawn 10 200 30\n")
    out = tmp_path / "out"
    arguments = ["colours", str(tmp_path / "colour"), "--out", str(out)]
    code, output = run(capsys, "convert", *arguments)
    assert code == 2
    assert "every line is `name R G B`" in output
    code, output = run(capsys, "convert", *arguments, "--classes", str(tmp_path / "names.txt"))
    assert code == 0, output
    np.testing.assert_array_equal(read(out, "sub/x"), label)
    assert (tmp_path / "out_classes.txt").read_text() == (tmp_path / "names.txt").read_text()
    write_sample(tmp_path / "photos/sub/x.jpg", None, label)
    for labels in ("colour", "out"):
        data = open_dataset(
            "Folder",
            images=str(tmp_path / "photos"),
            labels=str(tmp_path / labels),
            classes=str(tmp_path / "out_classes.txt"),
        )
        np.testing.assert_array_equal(data.read(0)[1], label)


def test_one_offending_colour_stops_a_conversion(tmp_path):
    (tmp_path / "colour").mkdir()
    (tmp_path / "names.txt").write_text("ground 0 0 0\nlawn 10 200 30\n")
    Image.fromarray(COLOURS[drawn(1)]).save(tmp_path / "colour/a.png")
    Image.new("RGB", (4, 4), (1, 1, 1)).save(tmp_path / "colour/b.png")
    before = left(tmp_path)
    with pytest.raises(InputError, match=r"b.png holds the colour 1 1 1 .*\(1 of 2 images"):
        convert(
            "colours", tmp_path / "colour", tmp_path / "out", classes=str(tmp_path / "names.txt")
        )
    assert left(tmp_path) == before


def test_voc_palette_and_colours(tmp_path, voc_root):
    """Palette files of VOC itself, and the same in colours with its void."""
    palette = np.zeros((256, 3), np.uint8)
    palette[[1, 15]] = (128, 0, 0), (192, 128, 128)
    palette[255] = (224, 224, 192)
    label = drawn(15, (1, 0, 4, 0, 4), (255, 20, 22, 0, 32))
    folder = tmp_path / "VOCdevkit/VOC2012/SegmentationClass"
    folder.mkdir(parents=True)
    Image.fromarray(palette[label]).save(folder / "x.png")
    done = convert("voc", tmp_path, tmp_path / "out")
    np.testing.assert_array_equal(read(tmp_path / "out", "x"), label)
    assert len(done.classes.names) == 21
    assert done.void_pixels == 64


def test_voc_layout_of_labelling_tools(tmp_path):
    folder = tmp_path / "SegmentationClass"
    folder.mkdir()
    palette_image(drawn(1), COLOURS).save(folder / "x.png")
    (tmp_path / "labelmap.txt").write_text(
        "# label:color_rgb:parts:actions\nlawn:10,200,30::\nground:0,0,0::\n"
    )
    done = convert("voc", tmp_path, tmp_path / "out")
    assert done.classes.names == ["lawn", "ground"]
    np.testing.assert_array_equal(read(tmp_path / "out", "x"), 1 - drawn(1))
    (tmp_path / "labelmap.txt").unlink()
    folder.rename(tmp_path / "SegmentationClassPNG")
    (tmp_path / "class_names.txt").write_text("__ignore__\n_background_\nlawn\n")
    palette_image(drawn(1), np.array([[0, 0, 0], [128, 0, 0]], np.uint8)).save(
        tmp_path / "SegmentationClassPNG/x.png"
    )
    done = convert("voc", tmp_path, tmp_path / "names")
    assert done.classes.names == ["_background_", "lawn"]
    np.testing.assert_array_equal(read(tmp_path / "names", "x"), drawn(1))


# --- what is there stays ---


def test_nothing_is_overwritten(tmp_path, capsys):
    file = coco(tmp_path / "c.json", [[SQUARE]])
    (tmp_path / "out").mkdir()
    code, output = run(capsys, "convert", "coco", str(file), "--out", str(tmp_path / "out"))
    assert code == 0, output  # an empty folder may be filled
    for out in ("out", "c.json"):
        code, output = run(capsys, "convert", "coco", str(file), "--out", str(tmp_path / out))
        assert code == 2
        assert "is there already" in output
    (tmp_path / "more_classes.txt").write_text("mine")
    code, output = run(capsys, "convert", "coco", str(file), "--out", str(tmp_path / "more"))
    assert code == 2
    assert "more_classes.txt is there already" in output
    assert (tmp_path / "more_classes.txt").read_text() == "mine"
    assert not (tmp_path / "more").exists()
    code, output = run(capsys, "convert", "coco", str(file), "--out", str(tmp_path / "no/out"))
    assert code == 2
    assert "does not exist" in output


def test_a_folder_among_the_masks_is_refused(tmp_path, capsys):
    """The next conversion would convert it."""
    (tmp_path / "masks").mkdir()
    out = str(tmp_path / "masks/indices")
    code, output = run(capsys, "convert", "colours", str(tmp_path / "masks"), "--out", out)
    assert code == 2
    assert "which holds the data" in output
    assert not left(tmp_path / "masks")


def test_a_disk_that_takes_nothing(tmp_path, monkeypatch):
    def full(*arguments: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    file = coco(tmp_path / "c.json", [[SQUARE]])
    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(InputError, match="cannot write .*out: No space left"):
        convert("coco", file, tmp_path / "out")
    assert left(tmp_path) == {"c.json"}


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        ("coco", {"void_values": "0"}, "void_values is not of the format coco"),
        ("voc", {"background": "x"}, "background is not of the format voc"),
        ("yolo", {}, "unknown format 'yolo'; valid: colours, coco, labelme, voc"),
        ("labelme", {}, "is not a folder of labelme"),
        ("voc", {}, "holds no folder SegmentationClass"),
        ("coco", {}, "there is no such file"),
    ],
)
def test_arguments_that_do_not_fit(tmp_path, kind, arguments, message):
    with pytest.raises(InputError, match=message):
        convert(kind, tmp_path / "none", tmp_path / "out", **arguments)
    assert not left(tmp_path)


def _labelme_file(path: Path) -> None:
    shape = {"label": "cat", "points": [[0, 0], [4, 0], [4, 4]], "shape_type": "polygon"}
    content = {"shapes": [shape], "imagePath": "p.jpg", "imageHeight": 8, "imageWidth": 8}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def test_labelme_files_are_found_as_images_are(tmp_path):
    source = tmp_path / "labelme"
    _labelme_file(source / "p.json")
    _labelme_file(source / ".ipynb_checkpoints" / "p-checkpoint.json")
    (source / "._p.json").write_bytes(b"\0\5\26\7")  # what macOS puts into archives
    _labelme_file(tmp_path / "elsewhere" / "q.json")
    (source / "linked").symlink_to(tmp_path / "elsewhere")
    convert("labelme", source, tmp_path / "out", progress=False)
    found = sorted(path.relative_to(tmp_path / "out").as_posix() for path in _pngs(tmp_path))
    assert found == ["linked/p.png", "p.png"]


def _pngs(folder: Path) -> list[Path]:
    return list((folder / "out").rglob("*.png"))


@pytest.mark.parametrize("out", [".", "/", "x/.."])
def test_a_folder_without_a_name_is_refused(tmp_path, monkeypatch, out):
    _labelme_file(tmp_path / "labelme" / "p.json")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="names no new folder"):
        convert("labelme", Path("labelme"), Path(out), progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["labelme"]


def test_a_class_without_a_name_is_refused(tmp_path):
    content = {
        "images": [{"id": 1, "file_name": "p.jpg", "height": 8, "width": 8}],
        "annotations": [],
        "categories": [{"id": 1, "name": " "}, {"id": 2, "name": "cat"}],
    }
    (tmp_path / "coco.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="gives class 1 no name"):
        convert("coco", tmp_path / "coco.json", tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()
