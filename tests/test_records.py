"""Results: saved and loaded without a change, and nothing else taken for one."""

import csv
import io
import json
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from convscope import __version__
from convscope.errors import OutputError
from convscope.images import Preprocess
from convscope.methods.projection import Projection


@pytest.fixture
def record() -> Projection:
    generator = torch.manual_seed(0)
    return Projection(
        images=torch.randn(2, 3, 5, 7, generator=generator),
        pixels=torch.randn(2, 3, 3, 5, 7, generator=generator),
        activation=torch.randn(2, 3, generator=generator),
        relative=torch.tensor([[1.5, torch.nan, 2.0]] * 2),
        position=torch.randint(0, 5, (2, 3, 2), generator=generator),
        window=torch.tensor([[[0, 1, 4, 6]] * 3] * 2),
        channels=torch.randint(0, 99, (2, 3), generator=generator),
        names=(("channel 1", "channel 2", "3 cat"),) * 2,
        receptive_fields=((11, 13),) * 3,
        layers=("features.3:relu@1", "2", "2"),
        preprocess=Preprocess((0.1, 0.2, 0.3), (0.5, 0.6, 0.7), (5, 7), 9),
        titles=("one.png: cat (50%)", "two.png"),
        rule="guided",
        select="map",
        rank="relative",
        reference="9 images",
        network="Nétwork",
        notes=("random weights (seed 0)", "two"),
    )


def assert_same(one: Projection, other: Projection) -> None:
    for field in fields(Projection):
        mine, theirs = getattr(one, field.name), getattr(other, field.name)
        if isinstance(mine, torch.Tensor):
            assert mine.dtype == theirs.dtype
            assert mine.shape == theirs.shape
            assert torch.equal(mine.nan_to_num(7.0), theirs.nan_to_num(7.0)), field.name
        else:
            assert mine == theirs, field.name
            assert type(mine) is type(theirs), field.name


def test_what_is_saved_is_loaded_exactly(tmp_path, record):
    record.save(tmp_path / "record.safetensors")
    assert_same(Projection.load(tmp_path / "record.safetensors"), record)
    assert [path.name for path in tmp_path.iterdir()] == ["record.safetensors"]


def test_layouts_widths_and_odd_values_survive(tmp_path, record):
    pixels = record.pixels.double().flatten(0, 1).to(memory_format=torch.channels_last)
    pixels[0, 0, 0, :3] = torch.tensor([torch.nan, torch.inf, -0.0])
    odd = replace(record, pixels=pixels.unflatten(0, (2, 3)), notes=())
    odd.save(str(tmp_path / "record.safetensors"))
    loaded = Projection.load(str(tmp_path / "record.safetensors"))
    assert_same(loaded, odd)
    assert torch.signbit(loaded.pixels[0, 0, 0, 0, 2])


def test_it_says_what_it_was_made_with(record):
    assert record.made_with["convscope"] == __version__
    assert record.made_with["torch"] == torch.__version__
    assert set(record.made_with) == {"convscope", "torch", "python", "machine"}


def test_its_numbers_are_json_without_the_pixels(record):
    numbers = json.loads(json.dumps(record.to_dict()))
    assert "pixels" not in numbers
    assert numbers["channels"] == record.channels.tolist()
    assert numbers["window"] == record.window.tolist()
    assert numbers["receptive_fields"] == [[11, 13]] * 3
    assert numbers["notes"] == ["random weights (seed 0)", "two"]
    assert set(numbers) | {"pixels", "images"} == {f.name for f in fields(Projection)} | {"display"}


def test_a_record_that_cannot_be_saved(tmp_path, record):
    with pytest.raises(OutputError, match=r"^cannot write .*missing"):
        record.save(tmp_path / "missing" / "record.safetensors")
    (tmp_path / "old.safetensors").write_text("old")
    with pytest.raises(OutputError, match=r"^cannot write "):
        record.save(tmp_path / ("n" * 300))
    assert [path.name for path in tmp_path.iterdir()] == ["old.safetensors"]


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        {"Occlusion": "{}"},
        {"Projection": "not JSON"},
        {"Projection": "[]"},
        {"Projection": "{}"},
        {"Projection": json.dumps({"notes": [], "layers": ["1"]})},
    ],
)
def test_another_file_is_no_record(tmp_path, metadata):
    path = tmp_path / "other.safetensors"
    save_file({"pixels": torch.zeros(1)}, path, metadata)
    with pytest.raises(OutputError, match=r"other.safetensors is not a saved Projection: it holds"):
        Projection.load(path)


def test_a_missing_damaged_or_foreign_file_is_no_record(tmp_path, record):
    with pytest.raises(OutputError, match="is not a saved Projection"):
        Projection.load(tmp_path / "missing.safetensors")
    with pytest.raises(OutputError, match="is not a saved Projection"):
        Projection.load(tmp_path)
    (tmp_path / "text.safetensors").write_text("hello")
    with pytest.raises(OutputError, match="is not a saved Projection"):
        Projection.load(tmp_path / "text.safetensors")
    record.save(tmp_path / "cut.safetensors")
    whole = (tmp_path / "cut.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[:-9])
    with pytest.raises(OutputError, match="is not a saved Projection"):
        Projection.load(tmp_path / "cut.safetensors")
    record.save(tmp_path / "arrays.npz")
    with pytest.raises(OutputError, match=r"^only .safetensors can be loaded again, not .*npz$"):
        Projection.load(tmp_path / "arrays.npz")


def test_every_ending_holds_the_same_numbers(tmp_path, record):
    for ending in Projection.endings():
        record.save(tmp_path / f"it{ending}")
    facts = json.loads((tmp_path / "it.json").read_text("utf-8"))
    assert facts["channels"] == record.channels.tolist()
    with np.load(tmp_path / "it.npz") as arrays:
        np.testing.assert_array_equal(arrays["pixels"], record.pixels.numpy())
        assert json.loads(str(arrays["facts"]))["titles"] == list(record.titles)
    with (tmp_path / "it.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    assert rows[2]["name"] == "3 cat"
    assert float(rows[4]["activation"]) == record.activation[1, 1].item()
    for name, magic in (("it.png", b"\x89PNG"), ("it.pdf", b"%PDF"), ("it.svg", b"<?xml")):
        assert (tmp_path / name).read_bytes().startswith(magic)
    with pytest.raises(OutputError, match=r"one of .png, .svg, .pdf, .json, .csv, .npz, .safe"):
        record.save(tmp_path / "it.jpg")


def test_files_have_the_users_own_permissions(tmp_path, record):
    (tmp_path / "plain").touch()
    usual = (tmp_path / "plain").stat().st_mode
    for ending in Projection.endings():
        record.save(tmp_path / f"it{ending}")
        assert (tmp_path / f"it{ending}").stat().st_mode == usual, ending


def test_a_pdf_embeds_its_letters_as_truetype(tmp_path, record):
    record.save(tmp_path / "it.pdf")
    content = (tmp_path / "it.pdf").read_bytes()
    assert b"/FontFile2" in content
    assert b"/Type3" not in content


def test_it_shows_itself_in_a_notebook_and_in_few_words(record):
    content, shown = record._repr_png_()
    # Twice as many dots as it is shown by, so that letters are sharp on dense screens too.
    assert Image.open(io.BytesIO(content)).width == 2 * shown["width"] == 1540
    assert len(repr(record)) < 1000
    assert repr(record).startswith("one.png: cat (50%)\n  features.3:relu@1  channel 1  peak ")
