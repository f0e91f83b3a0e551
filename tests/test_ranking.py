"""Which feature map is the strongest: raw, over what it typically reaches, and behind a clamp."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import convscope as cs
from convscope import samples
from convscope.errors import DataError, UnitError

CAT = Path(samples.__file__).parent / "cat.jpg"


def pointwise(*weights: float, then: nn.Module | None = None, width: int = 2) -> cs.Network:
    """A channel for each weight, which multiplies a gray image."""
    convolution = nn.Conv2d(1, len(weights), 1, bias=False)
    convolution.weight.data = torch.tensor(weights).view(-1, 1, 1, 1)
    return cs.Network(nn.Sequential(convolution, then or nn.ReLU()), (1, 1, width, width))


def gray(*values: float) -> Tensor:
    """An image of 2 x 2 pixels."""
    return torch.tensor(values, dtype=torch.float32).view(1, 1, 2, 2)


def a_scan(net: cs.Network, *peaks: float) -> cs.Scan:
    return cs.scan(net, [gray(0, 0, peak, 0)[0] for peak in peaks])


def test_relative_is_over_the_median_peak_of_the_reference():
    # Channel 0 is the larger one everywhere; 1 sees the negative, which is rare in the reference.
    net = pointwise(4.0, -1.0)
    reference = cs.scan(net, [gray(-1, 0, 2, 0)[0]] * 3)
    image = gray(-3, 0, 2, 0)
    raw, relative = (
        cs.project(net, image, "1", reference=reference, rank=rank, top=2)
        for rank in ("raw", "relative")
    )
    assert raw.channels.tolist() == [[0, 1]]
    assert relative.channels.tolist() == [[1, 0]]
    assert relative.activation.tolist() == [[3.0, 8.0]]
    # The typical peaks, 1 and 8, lie on edges of the histogram's bins, a quarter octave wide.
    assert relative.relative[0].tolist() == pytest.approx([3.0, 1.0], rel=2**0.25 - 1)
    assert raw.relative[0].tolist() == relative.relative[0].flip(0).tolist()
    assert relative.position.tolist() == [[[0, 0], [1, 0]]]
    rows = relative.table()
    assert [row["relative"] for row in rows] == relative.relative[0].tolist()
    assert (relative.to_dict()["rank"], relative.to_dict()["reference"]) == (
        "relative", f"3 images of {reference.data}",
    )  # fmt: skip
    assert "ranked by peak over typical peak" in words(relative)
    assert "ranked by peak:" in words(raw)
    assert "peak 3 (2.8×)" in words(relative)


def words(p: cs.Projection) -> str:
    return " ".join(text.get_text().replace("\n", " ") for text in p.plot().texts)


def test_the_median_is_found_in_the_histogram():
    peaks = torch.rand(301, generator=torch.manual_seed(0)) * 5 + 0.1
    net = pointwise(1.0)
    p = cs.project(net, gray(0, 0, 1, 0), "1", reference=a_scan(net, *peaks.tolist()))
    assert 1 / p.relative.item() == pytest.approx(peaks.median().item(), rel=0.03)


def test_a_channel_that_is_silent_in_most_images_counts_a_tenth_of_the_layers_median():
    net = pointwise(1.0, 1.0, -1.0)
    reference = cs.scan(net, [gray(1, 0, 0, 0)[0]] * 3)  # channel 2 is zero in all of them
    p = cs.project(net, gray(1, -0.05, 0, 0), "1", reference=reference, top=3)
    typical = p.activation / p.relative
    assert p.channels[0, 0] == 0
    assert typical[0, 2] == pytest.approx(typical[0, 0].item() / 10)


def test_a_clamps_ties_are_told_apart_by_what_it_clamps():
    # Both channels reach 6 in both of the bright pixels; 9 x 2 is the largest before that.
    net = pointwise(7.0, 9.0, 1.0, then=nn.ReLU6())
    p = cs.project(net, gray(1, 0, 2, 0), "1", top=3)
    assert p.channels.tolist() == [[1, 0, 2]]
    assert p.activation.tolist() == [[6.0, 6.0, 2.0]]
    assert p.position[0].tolist() == [[1, 0], [1, 0], [1, 0]]
    reference = a_scan(net, 1.0, 2.0, 3.0)
    relative = cs.project(net, gray(1, 0, 2, 0), "1", top=3, reference=reference)
    assert relative.rank == "relative"
    assert relative.channels[0].tolist().index(1) < relative.channels[0].tolist().index(0)


def test_a_concatenation_and_a_pool_have_the_peaks_of_their_parts():
    class Sides(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.other = pointwise(1.0).module, pointwise(-2.0).module
            self.pool = nn.MaxPool2d(2)

        def forward(self, images: Tensor) -> Tensor:
            return self.pool(torch.cat([self.one(images), self.other(images)], dim=1))

    net = cs.Network(Sides(), (1, 1, 2, 2))
    reference = cs.scan(net, [gray(1, -2, 0, 0)[0]] * 3)
    p = cs.project(net, gray(2, -2, 0, 0), "pool", reference=reference, top=2)
    assert (p.rank, p.channels.tolist()) == ("relative", [[0, 1]])
    assert p.relative[0].tolist() == pytest.approx([2.0, 1.0], rel=2**0.25 - 1)


def test_without_a_reference_the_peak_alone_counts():
    net = pointwise(1.0, 2.0)
    p = cs.project(net, gray(1, 0, 2, 0), "1")
    assert (p.rank, p.reference) == ("raw", "")
    assert p.relative.isnan().all()
    assert cs.project(net, gray(1, 0, 2, 0), "1", [0]).rank == ""
    with pytest.raises(UnitError, match="channels of '1' typically reach is not known"):
        cs.project(net, gray(1, 0, 2, 0), "1", rank="relative")


def test_what_cannot_be_meant_is_refused(tmp_path):
    net, image = pointwise(1.0, 2.0), gray(1, 0, 2, 0)
    with pytest.raises(UnitError, match="unknown rank 'relativ'; did you mean 'relative'"):
        cs.project(net, image, "1", rank="relativ")
    with pytest.raises(UnitError, match="leave it out"):
        cs.project(net, image, "1", [0], rank="raw")
    with pytest.raises(DataError, match="the scan is of other weights"):
        cs.project(net, image, "1", reference=a_scan(pointwise(1.0, 3.0), 1.0))
    with pytest.raises(DataError):
        cs.project(net, image, "1", reference=tmp_path)


def test_an_atlas_on_the_command_line(tmp_path, answer):
    atlas, out = tmp_path / "atlas", tmp_path / "p.json"
    cs.scan(cs.load("base"), CAT.parent, "features.relu1").save(atlas)
    command = "project", "base", CAT, "--layer", "features.relu1", "-o", out
    assert answer(*command, "--reference", atlas).status == 0
    found = json.loads(out.read_text())
    assert found["rank"] == "relative"
    assert found["reference"] == "4 images of samples"
    assert np.array(found["relative"]).min() > 0
    assert answer(*command, "--rank", "raw").status == 0
    assert json.loads(out.read_text())["rank"] == "raw"


@pytest.mark.parametrize("name", ["base", "squeezenet1_1", "vgg16_features"])
def test_bundled_networks_bring_what_their_channels_reach(name):
    net = cs.load(name)
    assert net.typical is not None
    rectified = {n: layer.shape[0] for n, layer in net.layers.items() if layer.op == "rectifier"}
    assert {n: len(peaks) for n, peaks in net.typical.peaks.items()} == rectified
    assert cs.load(name, "random", size="3,64,64").typical is None


def test_channels_that_light_up_at_every_border_lose():
    net = cs.load("vgg16_features")
    layers = {"features.11": 2, "features.13": 65}  # conv3_1, conv3_2, behind the ReLU
    look = cs.look(net, CAT)
    raw, relative = (
        cs.project(net, CAT, list(layers), top=1, rank=rank) for rank in ("raw", "relative")
    )
    assert raw.channels.tolist() == [list(layers.values())]
    for layer, loud, telling in zip(layers, raw.channels[0], relative.channels[0], strict=True):
        assert share_at_border(look.maps(layer)[loud]) > 0.85
        assert share_at_border(look.maps(layer)[telling]) < 0.25
    assert (raw.relative < 0.8).all()
    assert (relative.relative > 1.3).all()


def share_at_border(feature_map: Tensor) -> float:
    """Of the map's sum, what lies in its outermost rows and columns."""
    return 1 - float(feature_map[1:-1, 1:-1].sum() / feature_map.sum())


@pytest.mark.parametrize("layer", ["features.relu2", "features.relu4"])
def test_the_channel_is_the_one_that_a_projection_shows_first(layer):
    net = cs.load("base")
    image = net.preprocess(CAT)
    found = cs.occlude(net, image, 16, 16, layer=layer)
    first, raw = (
        cs.project(net, image, layer, top=1, rank=rank).channels.item() for rank in (None, "raw")
    )
    assert (found.channel, found.rank) == (first, "relative")
    assert first != raw
    said = " ".join(" ".join(text.get_text() for text in found.plot().texts).split())
    assert f"Of {layer} the strongest channel, ranked by peak over typical peak." in said
    assert cs.occlude(net, image, 16, 16, layer=layer, channel=found.channel).rank == ""


def test_no_number_is_cut_where_a_picture_is_narrow():
    figure = cs.project(cs.load("base"), CAT).plot(width=2.6)
    feet = [text.get_text() for text in figure.texts if text.get_text().startswith("peak")]
    assert len(feet) == 4
    assert not any("…" in foot for foot in feet)
