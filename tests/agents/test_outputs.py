"""Places that commands write to."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from rss_agents.outputs import (
    check_folder,
    is_written_by,
    refuse_inside,
    refuse_to_replace,
    write_marked_picture,
    writing,
)
from rss_env.errors import InputError

PICTURE = Image.new("P", (3, 2))


def test_a_command_knows_its_own_pictures(tmp_path):
    own, other, foreign = (tmp_path / f"{name}.png" for name in ("own", "other", "foreign"))
    write_marked_picture(own, PICTURE, "rss-predict")
    write_marked_picture(other, PICTURE, "rss-data info")
    PICTURE.save(foreign)
    (tmp_path / "broken.png").write_bytes(own.read_bytes()[:30])
    (tmp_path / "link.png").symlink_to(own)
    known = {path.name for path in tmp_path.iterdir() if is_written_by("rss-predict", path)}
    assert known == {"own.png"}
    assert not is_written_by("rss-predict", tmp_path)
    assert not is_written_by("rss-predict", tmp_path / "none.png")
    refuse_to_replace("rss-predict", [tmp_path / "new.png"], overwrite=False)
    refuse_to_replace("rss-predict", [own], overwrite=True)
    with pytest.raises(InputError, match=r"written .*own.png before; give --overwrite"):
        refuse_to_replace("rss-predict", [own], overwrite=False)
    for path in (other, foreign, tmp_path / "broken.png", tmp_path / "link.png", tmp_path):
        with pytest.raises(InputError, match="did not write it"):
            refuse_to_replace("rss-predict", [own, path], overwrite=True)


def test_a_place_among_the_data(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (tmp_path / "link").symlink_to(data)
    for path in (data, data / "deep/sheet.png", tmp_path / "link/run", data / "../data/run"):
        with pytest.raises(InputError, match="--out .* lies in .*data, which holds the data"):
            refuse_inside("--out", path, [Path("elsewhere"), data])
    for path in (tmp_path, tmp_path / "data2", data / "../run"):
        refuse_inside("--out", path, [data])


def test_a_folder_on_whose_way_a_file_lies(tmp_path):
    (tmp_path / "file").write_text("mine")
    check_folder(tmp_path / "new/deep")
    for folder in (tmp_path / "file", tmp_path / "file/deep/deeper"):
        with pytest.raises(InputError, match="file is not a folder"):
            check_folder(folder)


def test_what_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("mine")
    with (
        pytest.raises(InputError, match=r"cannot write .*file/x.png: "),
        writing(tmp_path / "file/x.png"),
    ):
        raise AssertionError
