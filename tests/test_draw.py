"""The drawn architecture: what is folded, what is told once, where things stand, and legibility."""

import json
from functools import cache
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text as DrawnText
from torch import nn

import convscope as cs
from architectures import ARCHITECTURES, build, images_for
from convscope.figures.drawing import Measures
from convscope.figures.placing import PITCH, place
from convscope.figures.style import WIDTHS
from convscope.models.architectures import ARCHITECTURES as OWN
from convscope.models.plain import NetConfig
from convscope.models.plain import build as build_plain
from convscope.network.outline import narrow, outline
from convscope.network.volumes import Volume, volumes_of
from famous import FAMOUS, undrawn
from products import each_once, some


@cache
def famous(name: str) -> cs.Network:
    return cs.Network(undrawn(FAMOUS[name]), torch.zeros(1, 3, 224, 224), name=name)


@cache
def own(name: str) -> cs.Network:
    return cs.Network(undrawn(OWN[name]), torch.zeros(1, 3, 224, 224), name=name)


@cache
def small(name: str) -> cs.Network:
    module = build(name)
    return cs.Network(module, images_for(module, 1), name=name)


def plain(padding: str, norm: bool) -> cs.Network:
    config = NetConfig(((32,), (64,), (96, 96)), batch_norm=norm, padding=padding)
    return cs.Network(build_plain(config, 0), torch.zeros(1, 3, 32, 32))


NETWORKS = {
    "vgg16": lambda: own("vgg16"),
    "resnet50": lambda: famous("resnet50"),
    "densenet": lambda: famous("densenet"),
    "base": lambda: cs.load("base", "random"),
    "valid": lambda: plain("valid", False),
    "hourglass": lambda: small("hourglass"),
}
MORE = {
    "squeezenet1_1": lambda: own("squeezenet1_1"),
    **{name: (lambda n=name: famous(n)) for name in FAMOUS if name not in NETWORKS},
    **{name: (lambda n=name: small(n)) for name in ARCHITECTURES if name not in NETWORKS},
}
EACH = {**NETWORKS, **MORE}


def test_a_volume_is_a_layer_with_what_papers_fold_into_it():
    volumes = volumes_of(small("batch norm").graph)
    assert [(v.name, v.kind, v.detail, v.channels, v.size, v.after) for v in volumes] == [
        ("images", "input", "", 3, (21, 26), ()),
        ("stem", "convolution", "5×5 /2", 6, (11, 13), ("batch norm", "rectifier")),
        ("pool", "max pool", "3×3 /2", 6, (6, 7), ()),
        ("conv", "convolution", "3×3", 8, (6, 7), ("batch norm", "rectifier")),
        ("average", "average pool", "", 8, (2, 2), ()),
        ("head", "linear", "", 4, (1, 1), ()),
    ]
    assert [v.inputs for v in volumes] == [(), (0,), (1,), (2,), (3,), (4,)]


def test_what_precedes_a_convolution_belongs_to_it_where_others_read_past_it():
    class Preactivated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.conv = nn.BatchNorm2d(3), nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x):
            return x + self.conv(torch.relu(self.norm(x)))

    volumes = volumes_of(cs.Network(Preactivated(), torch.zeros(1, 3, 8, 8)).graph)
    assert [(v.kind, v.inputs, v.before, v.after) for v in volumes] == [
        ("input", (), (), ()),
        ("convolution", (0,), ("batch norm", "rectifier"), ()),
        ("add", (0, 1), (), ()),
    ]


def test_dense_connections_stay_apart_from_the_rectifier_of_one_of_them():
    volumes = volumes_of(small("dense").graph)
    first = next(v for v in volumes if v.name == "convs.0")
    assert first.before == ("batch norm", "rectifier")
    assert volumes[first.inputs[0]].after == ()
    assert [v.inputs for v in volumes if v.kind == "concatenation"] == [
        (1, 2),
        (1, 2, 4),
        (1, 2, 4, 6),
    ]


@pytest.mark.parametrize(
    ("layer", "detail"),
    [
        (nn.Conv2d(4, 8, (3, 1), (2, 1)), "3×1 /2×1"),
        (nn.Conv2d(4, 4, 3, groups=4), "3×3 depthwise"),
        (nn.Conv2d(4, 8, 3, groups=2, dilation=2), "3×3 dilated 2 in 2 groups"),
        (nn.ConvTranspose2d(4, 8, 2, 2), "2×2 ×2"),
        (nn.MaxPool2d(3, 1), "3×3"),
        (nn.AvgPool2d(2), "2×2 /2"),
        (nn.AdaptiveMaxPool2d(1), "global"),
    ],
)
def test_windows_are_written_as_papers_do(layer, detail):
    net = cs.Network(nn.Sequential(layer), torch.zeros(1, 4, 12, 12))
    assert volumes_of(net.graph)[1].detail == detail


@pytest.mark.parametrize("name", some(NETWORKS, EACH))
def test_every_layer_is_in_one_volume_or_folded(name):
    net = EACH[name]()
    volumes = volumes_of(net.graph)
    needed = {net.graph.steps[i].name for i in net.graph.needed_for([net.graph.output])}
    drawn = {"convolution", "transposed convolution", "linear", "max pool"}
    wanted = [n for n, layer in net.layers.items() if layer.op in drawn and n in needed]
    assert [v.name for v in volumes if v.kind in drawn] == wanted
    for volume in volumes[1:]:
        shape = net.layers[volume.name].shape
        assert volume.channels * volume.rows * volume.columns == int(np.prod(shape))
        assert all(source < volumes.index(volume) for source in volume.inputs)


def test_resnet50_is_told_in_eight_blocks():
    groups = outline(volumes_of(famous("resnet50").graph))
    told = [
        (g.blocks[0].title, g.times, g.last)
        for g in groups
        if any(block.branches for block in g.blocks)
    ]
    assert told == [
        ("layer1.0", 1, "layer1.0"), ("layer1.1", 2, "layer1.2"),
        ("layer2.0", 1, "layer2.0"), ("layer2.1", 3, "layer2.3"),
        ("layer3.0", 1, "layer3.0"), ("layer3.1", 5, "layer3.5"),
        ("layer4.0", 1, "layer4.0"), ("layer4.1", 2, "layer4.2"),
    ]  # fmt: skip


def test_vgg16_is_told_layer_by_layer_and_a_longer_chain_is_not():
    assert {g.times for g in outline(volumes_of(own("vgg16").graph))} == {1}
    deep = nn.Sequential(*(nn.Conv2d(3, 3, 3, padding=1) for _ in range(7)))
    groups = outline(volumes_of(cs.Network(deep, torch.zeros(1, 3, 8, 8)).graph))
    assert [(g.times, g.last) for g in groups] == [(1, "images"), (7, "6")]


def chain(links: list[list[int]]) -> list[Volume]:
    return [
        Volume(str(n), "convolution" if n else "input", "", 4, 8, 8, tuple(sorted(set(own_))))
        for n, own_ in enumerate([[], *links])
    ]


graphs = st.integers(1, 9).flatmap(
    lambda n: st.tuples(*(st.lists(st.integers(0, k), min_size=1, max_size=3) for k in range(n)))
)


@given(graphs)
@settings(max_examples=30, deadline=None)
def test_the_trunk_is_what_every_path_passes(links):
    volumes = chain([list(own_) for own_ in links])
    # What nobody reads cannot be in a network's volumes: let the last read it.
    read = {s for v in volumes for s in v.inputs}
    loose = [n for n in range(len(volumes) - 1) if n not in read]
    last = volumes[-1]
    volumes[-1] = Volume(last.name, last.kind, "", 4, 8, 8, tuple(sorted({*last.inputs, *loose})))

    def paths(end: int) -> list[frozenset[int]]:
        before = [path for source in volumes[end].inputs for path in paths(source)]
        return [path | {end} for path in before] or [frozenset({end})]

    everywhere = frozenset.intersection(*paths(len(volumes) - 1))
    assert set(narrow(volumes)) == everywhere
    groups = outline(volumes)
    told = [p for g in groups for b in g.blocks for p in b.volumes]
    assert told == sorted(told)
    if all(g.times == 1 for g in groups):
        assert told == list(range(len(volumes)))
    check_placing(place(volumes, 6.0))


def check_placing(drawing) -> None:
    """Nothing stands on anything else: texts on no text and no front; fronts on no front."""
    edges = [
        (text.x - wide / 2, text.y - high, text.x + wide / 2, text.y)
        for text in drawing.texts
        for wide, high in [text.size]
    ]
    fronts = [(b.left, b.bottom, b.left + b.width, b.middle + b.height / 2) for b in drawing.boxes]
    for one, other in combinations([*edges, *fronts], 2):
        assert not overlap(one, other), (one, other)
    for left, bottom, right, top in [*edges, *fronts]:
        assert left >= -1e-6
        assert right <= drawing.right + 1e-6
        assert bottom >= drawing.bottom - 1e-6
        assert top <= drawing.top + 1e-6


def overlap(one, other, slack: float = 1e-6) -> bool:
    return (
        min(one[2], other[2]) - max(one[0], other[0]) > slack
        and min(one[3], other[3]) - max(one[1], other[1]) > slack
    )


def test_boxes_grow_with_the_square_roots():
    measures = Measures([Volume("a", "convolution", "", 64, 100, 25, ())])
    whole = measures.box(Volume("a", "convolution", "", 64, 100, 25, ()), 0, 0)
    half = measures.box(Volume("a", "convolution", "", 16, 25, 100, ()), 0, 0)
    assert half.height == pytest.approx(whole.height / 2)
    assert half.width == pytest.approx(whole.width / 2)
    assert half.depth == pytest.approx(whole.depth * 2)


def test_vgg16_stands_in_one_row_and_shrinks_along_it():
    drawing = place(volumes_of(own("vgg16").graph), 20.0)
    assert len({box.middle for box in drawing.boxes}) == 1
    lefts = [box.left for box in drawing.boxes]
    assert lefts == sorted(lefts)
    heights = [box.height for box in drawing.boxes]
    assert heights == sorted(heights, reverse=True)
    assert min(np.diff([box.centre for box in drawing.boxes])) >= PITCH - 1e-9


@each_once("name, width", [*EACH], [*WIDTHS], apart=MORE)
def test_a_drawing_is_legible(name, width):
    drawn = cs.draw(EACH[name]())
    check_placing(place(drawn.volumes, WIDTHS[width]))
    figure = drawn.plot(width=width)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    found = [t for t in figure.findobj(DrawnText) if t.get_text() and t.get_visible()]
    assert len(found) > 5
    assert min(text.get_fontsize() for text in found) >= 7
    width, height = canvas.get_width_height()
    extents = [t.get_window_extent(renderer) for t in found]
    for text, extent in zip(found, extents, strict=True):
        assert extent.x0 >= 0, text
        assert extent.y0 >= 0, text
        assert extent.x1 <= width, text
        assert extent.y1 <= height, text
    for (one, a), (other, b) in combinations(zip(found, extents, strict=True), 2):
        # A line's box has room for letters that hang; half a pixel of it may be shared.
        edges = (a.x0, a.y0, a.x1, a.y1), (b.x0, b.y0, b.x1, b.y1)
        assert not overlap(*edges, slack=0.5), (one, other)


def test_branches_and_skips_are_connected():
    drawing = place(volumes_of(small("residual").graph), 7.0)
    add = next(box for box in drawing.boxes if box.volume.name == "layer1.0:add")
    ends = [line.points[-1] for line in drawing.lines]
    assert (pytest.approx(add.left), pytest.approx(add.middle)) in ends
    assert (pytest.approx(add.centre), pytest.approx(add.middle + add.height / 2)) in ends
    inception = place(volumes_of(small("inception").graph), 7.0)
    join = next(box for box in inception.boxes if box.volume.name == "cat")
    ends = [line.points[-1] for line in inception.lines]
    assert ends.count((join.left, join.middle)) == 4


class Repeated(nn.Module):
    def __init__(self):
        super().__init__()
        pairs = (nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU()) for _ in range(12))
        self.encoder_with_residual_bottlenecks = nn.ModuleList(pairs)

    def forward(self, images):
        for block in self.encoder_with_residual_bottlenecks:
            images = images + block(images)
        return images


def test_how_often_a_block_comes_is_never_cut():
    net = cs.Network(Repeated(), torch.zeros(1, 4, 8, 8))
    texts = [text.get_text() for text in cs.draw(net).plot(width="column").findobj(DrawnText)]
    (heading,) = (text for text in texts if "times" in text)
    assert heading.endswith(": 12 times   8×8")
    assert "…" in heading


def test_too_many_connections_are_told_in_words():
    drawing = place(volumes_of(famous("densenet").graph), 7.0)
    texts = [line for text in drawing.texts for line in text.lines]
    assert "12 × convolution" in texts
    assert "6 × concatenation" in texts


@pytest.mark.parametrize(
    ("kind", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")]
)
def test_it_is_saved_as_a_picture(kind, start, tmp_path):
    cs.draw(small("residual")).save(tmp_path / f"net.{kind}")
    assert (tmp_path / f"net.{kind}").read_bytes().startswith(start)


def test_it_is_a_table_that_comes_back(tmp_path):
    drawn = cs.draw(small("residual"))
    drawn.save(tmp_path / "net.safetensors")
    loaded = cs.Architecture.load(tmp_path / "net.safetensors")
    assert loaded.volumes == drawn.volumes
    assert loaded.to_json() == drawn.to_json()
    add = next(row for row in drawn.table() if row["kind"] == "add")
    assert (add["name"], add["after"]) == ("layer1.0:add", "rectifier")
    assert "parameters" in repr(drawn)
    assert len(repr(drawn)) < 1000
    assert drawn.plot(width="slide").get_size_inches()[0] == 10.0


def test_the_command_draws(tmp_path, monkeypatch, answer):
    monkeypatch.chdir(tmp_path)
    status, out, error = answer("draw", "base", "-o", "net.png", "--json")
    assert status == 0, error
    numbers = json.loads(out)
    assert numbers["output"] == "net.png"
    names = [volume["name"] for volume in numbers["volumes"]]
    assert names[:3] == ["images", "features.conv1", "features.conv2"]
    assert (tmp_path / "net.png").stat().st_size > 10_000


def test_a_wrong_ending_is_one_sentence(tmp_path, monkeypatch, answer):
    monkeypatch.chdir(tmp_path)
    status, out, error = answer("draw", "base", "-o", "net.txt")
    assert (status, out) == (2, "")
    assert "its ending must be one of .png, .svg, .pdf" in error
    assert not list(tmp_path.iterdir())


class Heads(nn.Module):
    """Two heads, and what both read."""

    def __init__(self, several) -> None:
        super().__init__()
        self.body, self.several = nn.Conv2d(3, 8, 3), several
        self.box, self.cls = nn.Conv2d(8, 4, 3), nn.Conv2d(8, 6, 1)

    def forward(self, x):
        maps = torch.relu(self.body(x))
        return self.several(self.box(maps), self.cls(maps).sigmoid(), maps)


@pytest.mark.parametrize(
    ("several", "read"),
    [
        (lambda box, cls, maps: {"boxes": box, "scores": cls}, ("box", "cls")),
        (lambda box, cls, maps: (cls, box, [maps]), ("body", "box", "cls")),
        (lambda box, cls, maps: box, ()),
    ],
)
def test_all_heads_are_drawn(several, read):
    found = cs.draw(cs.Network(Heads(several), (1, 3, 9, 9)))
    names = [volume.name for volume in found.volumes]
    last = found.volumes[-1]
    if not read:
        assert names == ["images", "body", "box"]
        return
    assert names == ["images", "body", "box", "cls", "outputs"]
    assert tuple(names[place] for place in last.inputs) == read
    assert (last.kind, last.channels, found.volumes[3].after) == (
        "outputs",
        len(read),
        ("sigmoid",),
    )
    sheet = found.sheet("text", "short")
    texts = [text.get_text() for text in sheet.figure.findobj(DrawnText)]
    assert {"box", "cls", f"heads, {len(read)}"} <= {*texts}
