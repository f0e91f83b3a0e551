"""Plates: which channels they choose, what they draw, and that they come back."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import convscope as cs
from convscope.display import averaged, display_scale, to_display
from convscope.errors import UnitError
from products import endings

SIDE, CHANNELS, PICTURES = 24, 6, 14


@pytest.fixture(scope="module")
def net() -> cs.Network:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, CHANNELS, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(CHANNELS, 4, 3), nn.ReLU()
    )
    with torch.no_grad():
        module[0].bias.fill_(0.3)
        module[3].bias[2] = -100.0
    return cs.Network(module, torch.zeros(1, 3, SIDE, SIDE), preprocess="none")


@pytest.fixture(scope="module")
def images() -> list[torch.Tensor]:
    return list(torch.rand(PICTURES, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1)))


@pytest.fixture(scope="module")
def scan(net, images) -> cs.Scan:
    return cs.scan(net, images)


@pytest.fixture(scope="module")
def atlas(scan, tmp_path_factory):
    folder = tmp_path_factory.mktemp("plate") / "atlas"
    scan.save(folder)
    return folder


def test_consistency_and_rise_are_those_of_a_slow_account(net, images, scan):
    with torch.no_grad():
        maps = torch.relu(net.module[0](torch.stack(images))).double().numpy()
    typical = maps.max(axis=(2, 3)).mean(axis=0)
    layer = scan.layers["0"]
    for channel in range(CHANNELS):
        seen = [
            np.delete(maps[number, :, row, column] / typical, channel)
            for number, (row, column) in zip(
                layer.image[channel], layer.position[channel], strict=True
            )
        ]
        cosines = [
            a @ b / np.linalg.norm(a) / np.linalg.norm(b)
            for a, b in itertools.combinations(seen, 2)
        ]
        assert layer.consistency[channel] == pytest.approx(np.mean(cosines), abs=2e-3)
        assert layer.rise[channel] == pytest.approx(layer.peak[channel].mean() / typical[channel])
    assert np.isnan(scan.layers["3"].consistency[2])
    rows = {(row["layer"], row["channel"]): row for row in scan.table()}
    assert rows["0", 1]["consistency"] == layer.consistency[1]


def test_a_channel_of_one_thing_is_chosen_before_a_channel_of_two():
    """Red answers beside green, always; blue beside green as often as beside yellow."""
    module = nn.Sequential(nn.Conv2d(4, 4, 1, bias=False), nn.ReLU())
    nn.init.zeros_(module[0].weight)
    with torch.no_grad():
        module[0].weight[:, :, 0, 0] = torch.eye(4)
    red, green, blue, yellow = torch.eye(4)[:, :, None, None]
    images = []
    for number in range(20):
        image = torch.full((4, 6, 6), 0.1)
        image[:, :2, :2] = red + green
        image[:, 3:, 3:] = blue + (green if number % 2 else yellow)
        images.append(image * (1 + number / 50))
    found = cs.scan(cs.Network(module, images[0][None], preprocess="none"), images)
    layer = found.layers["0"]
    assert layer.consistency[0] > 0.99
    assert layer.consistency[2] < 0.6
    assert [unit.channel for unit in found.plate(count=4).units][-1] == 2


def test_layers_and_channels_are_chosen_as_asked(net, scan):
    assert {unit.layer for unit in scan.plate().units} == {"0", "3"}
    best = scan.plate(count=2)
    assert [unit.layer for unit in best.units] == ["0", "0", "3", "3"]
    score = (scan.layers["0"].consistency * scan.layers["0"].rise).argsort()[::-1]
    assert [unit.channel for unit in best.units[:2]] == score[:2].tolist()
    by_hand = scan.plate(channels={"3": [1, 2], "0": [5]})
    assert [(u.layer, u.channel, len(u.peak)) for u in by_hand.units] == [
        ("3", 1, 9), ("3", 2, 0), ("0", 5, 9),
    ]  # fmt: skip
    one = scan.plate(net.module[3], [0])
    assert (one.units[0].layer, one.units[0].channel) == ("3", 0)
    draws = [[u.channel for u in scan.plate("1", choose="random", count=3, seed=s).units]
             for s in (0, 0, 1, 2)]  # fmt: skip
    assert draws[0] == draws[1]
    assert len({tuple(draw) for draw in draws}) > 1
    every = scan.plate("3", choose="random", count=9)
    assert [unit.channel for unit in every.units] == [0, 1, 3]  # the other is never active


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"layer": "4", "channels": [4]}, "3 has channels 0 to 3, not 4"),
        ({"layer": "nine"}, "no layer 'nine'"),
        ({"channels": [1]}, "are of one layer: name it"),
        ({"layer": "3", "channels": {"3": [1]}}, "named twice"),
        ({"choose": "best"}, "unknown way to choose 'best' .known: consistent, random"),
        ({"count": 0}, "at least 1, not 0"),
    ],
)
def test_mistakes_are_one_sentence(scan, options, said):
    with pytest.raises(UnitError, match=said):
        scan.plate(**options)


def test_its_tiles_are_the_projections(net, images, scan):
    unit = scan.plate("0", [4]).units[0]
    layer = scan.layers["0"]
    for rank, number in enumerate(layer.image[4].tolist()):
        p = cs.project(net, images[number][None], "1", [4])
        top, left, bottom, right = unit.window[rank].tolist()
        assert [top, left, bottom, right] == p.window[0, 0].tolist()
        values = p.pixels[0, 0, :, top:bottom, left:right]
        scale = display_scale(values)
        assert unit.limit[rank] == pytest.approx(scale.limit, rel=1e-5)
        step = int(unit.enlarged)
        shown = unit.projections[rank, ::step, ::step].numpy()
        assert np.abs(shown.astype(int) - to_display(values, scale)).max() <= 1


def test_an_atlas_draws_the_plate_of_its_scan(scan, atlas, tmp_path):
    one, other = scan.plate(count=2), cs.Atlas(atlas).plate(count=2)
    assert one.summary() == other.summary()
    for row, expected in zip(one.table(), other.table(), strict=True):
        assert row.pop("strongest") == pytest.approx(expected.pop("strongest"), rel=1e-3)
        assert row == expected
    for a, b in zip(one.units, other.units, strict=True):
        assert torch.equal(a.projections, b.projections)  # small fields, kept as PNG
        assert (a.image.tolist(), a.window.tolist()) == (b.image.tolist(), b.window.tolist())
    one.save(tmp_path / "one.png")
    other.save(tmp_path / "other.png")
    drawn = [np.asarray(Image.open(tmp_path / f"{name}.png")) for name in ("one", "other")]
    assert np.array_equal(*drawn)


def test_it_is_saved_and_comes_back(scan, tmp_path):
    plate = scan.plate(count=2)
    for ending in endings(cs.Plate):
        plate.save(tmp_path / f"plate{ending}")
    back = cs.Plate.load(tmp_path / "plate.safetensors")
    assert back.to_json() == plate.to_json()
    assert torch.equal(back.units[3].patches, plate.units[3].patches)
    assert len((tmp_path / "plate.csv").read_text().splitlines()) == 1 + 4
    assert len(repr(plate)) < 1000
    with pytest.raises(cs.ConvscopeError, match=r"must be one of \.png"):
        plate.save(tmp_path / "plate.txt")


@pytest.mark.parametrize("width", ["column", "text", "slide", 2.5])
def test_letters_stay_legible_and_inside(scan, width):
    drawn = scan.plate(count=5).plot(width=width)
    drawn.canvas.draw()
    across, high = drawn.canvas.get_width_height()
    assert min(text.get_fontsize() for text in drawn.texts) >= 7
    boxes = [text.get_window_extent() for text in drawn.texts]
    for text, box in zip(drawn.texts, boxes, strict=True):
        assert box.x0 >= 0, text.get_text()
        assert box.x1 <= across + 1, text.get_text()
        assert 0 <= box.y0 < box.y1 <= high, text.get_text()
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    # Three tiles a row, of at least 48 pixels, beside as many.
    assert min(axes.get_images()[0].get_array().shape[1] for axes in drawn.axes) >= 3 * 48


def test_few_images_leave_no_empty_tiles(net, images, tmp_path):
    plate = cs.scan(net, images[:2]).plate("0", [1])
    patches, projections = plate.plot(width="column").axes
    for axes in (patches, projections):
        mosaic = axes.get_images()[0].get_array()
        assert mosaic.shape[1] > 2.5 * mosaic.shape[0]  # one row


def test_flat_tiles_are_hatched_beyond_the_image_alone(net):
    flat = cs.Network(net.module, torch.zeros(1, 3, 8, 96), preprocess="none")
    images = torch.rand(4, 3, 8, 96, generator=torch.Generator().manual_seed(1))
    plate = cs.scan(flat, images).plate("3", [1])
    tiles = torch.full((3, 10, 60, 3), 200, dtype=torch.uint8)
    within = replace(plate.units[0], patches=tiles, enlarged=1)
    drawn = replace(plate, units=(within,)).plot(width="column")
    shown = drawn.axes[0].get_images()[0].get_array()
    assert set(np.unique(shown)) == {200, 255}  # the tiles, and white between them
    assert (shown == 200).mean() > 0.9


def test_the_command_draws_and_says_what_it_chose(atlas, tmp_path, answer):
    options = ("--layer", "3", "--count", 2, "-o", tmp_path / "plate.svg", "--width", "column")
    said = answer("plate", atlas, *options).out
    assert said.splitlines()[0] == str(tmp_path / "plate.svg")
    assert (
        said.splitlines()[-1] == cs.Atlas(atlas).plate(layer="3", count=2).summary().split("\n")[1]
    )
    given = ("--channel", "3:1", "--channel", "0:2", "--channel", "3:0", "--json")
    found = json.loads(answer("plate", atlas, *given, "-o", tmp_path / "plate.png").out)
    assert [(row["layer"], row["channel"]) for row in found["channels"]] == [
        ("3", 1), ("3", 0), ("0", 2),
    ]  # fmt: skip
    for wrong in ("x", "0:x"):
        said = answer("plate", atlas, "--channel", wrong, "-o", tmp_path / "plate.png").err
        assert "NUMBER or LAYER:NUMBER" in said


def test_small_tiles_are_averaged_by_area():
    picture = np.random.default_rng(0).integers(0, 256, (30, 42, 3)).astype(np.uint8)
    small = averaged(picture, 10, 14)
    blocks = picture.reshape(10, 3, 14, 3, 3).mean(axis=(1, 3))
    assert np.abs(small - blocks).max() <= 0.51
    assert np.array_equal(averaged(picture, 60, 84), picture.repeat(2, 0).repeat(2, 1))
    checks = np.indices((92, 92)).sum(0) % 2 * 255
    grey = averaged(checks[..., None].astype(np.uint8), 31, 31)
    assert np.abs(grey.astype(int) - 128).max() < 20


def test_a_channel_without_a_consistency_is_told_without_a_number(scan):
    plate = scan.plate(count=1)
    unknown = replace(plate, consistency=torch.full_like(plate.consistency, torch.nan))
    assert "nan" not in unknown.summary()
    assert unknown.table()[0]["consistency"] is None


def test_a_plate_says_how_its_channels_were_chosen(scan, atlas):
    layer = next(iter(scan.layers))
    for of in (scan, cs.Atlas(atlas)):
        for options, said in (
            ({}, "Channels: those whose strongest patches are most alike and stand out most."),
            ({"choose": "random"}, "Channels: drawn at random."),
            ({"channels": {layer: [0]}}, ""),
        ):
            texts = " ".join(
                " ".join(t.get_text() for t in of.plate(**options).plot().texts).split()
            )
            assert said in texts
            assert ("Channels:" in texts) == bool(said)
