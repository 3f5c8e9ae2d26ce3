"""Files of tensors: what was written is what is read."""

from __future__ import annotations

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from rating_questions import question
from rss_agents.files import read_tensors, write_tensors
from rss_agents.networks.build import build_network
from rss_agents.networks.checkpoint import load_checkpoint, start_from
from rss_agents.quality.learned_judge import JudgeDescription, LearnedJudge
from rss_agents.quality.network import QualityNetwork
from rss_agents.ratings.store import RatingBook
from rss_env.errors import InputError
from trained_networks import SIZE, trained

_KINDS = (torch.float16, torch.bfloat16, torch.complex64, torch.bool, torch.int64)


def change(path, number: int = -1) -> None:
    """Change the lowest bit of a byte, by default of the last tensor's last."""
    content = bytearray(path.read_bytes())
    content[number] ^= 1
    path.unlink()
    path.write_bytes(content)


def test_tensors_of_any_kind_are_read_as_they_were_written(tmp_path):
    path = tmp_path / "any.safetensors"
    tensors = {str(kind): torch.ones(2, 3).to(kind) for kind in _KINDS}
    tensors |= {"scalar": torch.tensor(3.0), "none": torch.zeros(0, 4)}
    tensors["turned"] = torch.arange(6).view(2, 3).T
    write_tensors(path, tensors, {"description": "a thing"})
    found, metadata = read_tensors(path)
    assert metadata == {"description": "a thing"}
    content = path.read_bytes()
    for _ in range(8):  # the same each time, the order of the metadata too
        write_tensors(path, tensors, {"description": "a thing"})
        assert path.read_bytes() == content
    write_tensors(path, tensors, {"description": '"\\\n\x01\x7f\u2028木'})
    assert read_tensors(path)[1] == {"description": '"\\\n\x01\x7f\u2028木'}
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], value) for name, value in tensors.items())


def test_each_part_of_a_file_is_in_its_digest(tmp_path):
    path, tensors = tmp_path / "any.safetensors", {"a": torch.arange(4.0), "b": torch.ones(2)}
    write_tensors(path, tensors, {"description": "a thing"})
    with safe_open(path, "pt") as file:
        digest = file.metadata()["digest"]
    lies = [
        (tensors, "another thing"),
        ({"a": tensors["a"]}, "a thing"),
        ({"a": tensors["a"], "c": tensors["b"]}, "a thing"),
        ({"a": tensors["a"].view(2, 2), "b": tensors["b"]}, "a thing"),
        ({"a": tensors["a"].view(torch.int32), "b": tensors["b"]}, "a thing"),
        ({"a": -tensors["a"], "b": tensors["b"]}, "a thing"),
    ]
    for content, text in lies:
        save_file(content, path, {"description": text, "digest": digest})
        with pytest.raises(InputError, match=r"any.safetensors is damaged: .* use another copy"):
            read_tensors(path)
    save_file(tensors, path, {"description": "a thing", "digest": digest})
    read_tensors(path)
    save_file(tensors, path)  # by another program
    assert read_tensors(path)[1] == {}


@pytest.mark.parametrize("name", ["model.safetensors", "best.safetensors"])
def test_damaged_weights_are_refused(tmp_path, name):
    images = torch.randint(0, 256, (2, *SIZE, 3), dtype=torch.uint8)
    network = trained("tiny-unet", images, tmp_path)
    path = (tmp_path / "model.safetensors").rename(tmp_path / name)
    description = load_checkpoint(path)[1]
    change(path)
    for use in (load_checkpoint, lambda place: start_from(network, description, place)):
        with pytest.raises(InputError, match=f"{name} is damaged"):
            use(path)


def test_a_damaged_judge_is_refused(tmp_path):
    LearnedJudge([QualityNetwork(3)], JudgeDescription(3, (8, 8), 1)).save(tmp_path)
    LearnedJudge.load(tmp_path)
    change(tmp_path / "judge.safetensors")
    with pytest.raises(InputError, match=r"judge.safetensors is damaged"):
        LearnedJudge.load(tmp_path)


def test_a_damaged_question_is_refused(tmp_path):
    asked = question()
    RatingBook(tmp_path).ask(asked)
    change(tmp_path / "questions" / f"{asked.name}.safetensors")
    with pytest.raises(InputError, match=r"\.safetensors is damaged"):
        RatingBook(tmp_path).read_question(asked.name)


def test_a_network_as_it_is_built_has_no_tensor_that_has_no_digest(tmp_path):
    for name in ("tiny-unet", "tiny-unet-group"):
        network = build_network(name, 3, (16, 16))
        write_tensors(tmp_path / "x.safetensors", network.state_dict(), {})
        assert read_tensors(tmp_path / "x.safetensors")[0].keys() == network.state_dict().keys()
