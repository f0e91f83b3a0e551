"""``checkerboard``: what is projected, what is measured, and the command."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib.text import Text
from PIL import Image
from torch import nn

import convscope as cs
from convscope.errors import ConvscopeError, UnitError
from convscope.methods import budget

NETWORK = """
import torch
from torch import nn


def build(kernel=3):
    torch.manual_seed(3)
    layers = nn.Conv2d(3, 6, kernel, 2, 1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3)
    return nn.Sequential(*layers, nn.ReLU()), torch.zeros(1, 3, 48, 48)


def even():
    return build(4)
"""


def strided(kernel: int, seed: int = 0) -> cs.Network:
    torch.manual_seed(seed)
    layers = nn.Conv2d(3, 16, kernel, 2, 1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 16, 3)
    return cs.Network(nn.Sequential(*layers, nn.ReLU()), torch.zeros(1, 3, 48, 48))


def pictures(count: int = 2) -> torch.Tensor:
    return torch.rand(count, 3, 48, 48, generator=torch.Generator().manual_seed(5))


def test_the_projections_are_the_librarys_own_deepest_first():
    net, images = strided(3), pictures()
    found = cs.checkerboard(net, images, top=3)
    assert found.layers == ("4", "1")
    for place, layer in enumerate(found.layers):
        expected = cs.project(net, images, layer, select="map", top=3)
        assert found.channels[place].tolist() == expected.channels.tolist()
        torch.testing.assert_close(found.pixels[place], expected.pixels[0, 0])


def test_the_numbers_tell_an_uneven_kernel_from_an_even_one():
    uneven, even = (cs.checkerboard(strided(kernel), pictures(4)) for kernel in (3, 4))
    assert uneven.structural == pytest.approx([0.484, 0.484], abs=1e-3)
    assert even.structural == (0.0, 0.0)
    assert uneven.of_units[0] > 0.35
    assert even.of_units[0] < 0.15
    assert (uneven.by_source[:, 0] > even.by_source[:, 0]).all()
    assert (uneven.times[:, 0] > 10).all()
    assert [finding.layer.name for finding in uneven.findings] == ["0"]
    assert even.findings == ()
    source = uneven.strongest_source(0)
    assert source is not None
    assert (source.layers, source.fixed) == (("0",), True)
    assert [own.fixed for own in uneven.sources] == [True, False]


def test_single_units_are_measured_by_the_weights_of_each_phase():
    net = strided(3)
    weight = net.module[0].weight.detach().double()
    found = cs.checkerboard(net, pictures(1), ["1"])
    # By hand: kernels lie from row and column 2i - 1 on, so their first tap is in the odd phase.
    units = cs.project(net, pictures(1), "0", top=16)
    whole = (units.window[0, :, 2:] - units.window[0, :, :2]).prod(1) == 9
    strength = weight.abs().sum(1)[units.channels[0, whole]]
    phases = torch.stack([strength[:, i::2, j::2].sum((1, 2)) for i in (0, 1) for j in (0, 1)])
    shares = (phases / phases.sum(0)).mean(1) * 4
    assert found.of_units[0].item() == pytest.approx(shares.std(correction=0).item(), rel=1e-5)


def test_where_no_unit_drives_a_pixel_there_is_no_grid_to_tell():
    net = strided(3)
    for parameter in net.module[0].parameters():
        torch.nn.init.zeros_(parameter)
    assert cs.checkerboard(net, pictures(1)).of_units.isnan().all()


def test_a_grid_too_coarse_for_the_image_is_not_measured():
    net = cs.Network(
        nn.Sequential(nn.Conv2d(3, 4, 16, 16), nn.ReLU(), nn.Conv2d(4, 4, 1)),
        torch.zeros(1, 3, 48, 48),
    )
    found = cs.checkerboard(net, pictures(1))
    assert found.sources == ()
    assert found.observed.isnan().all()
    assert found.over_image.isnan().all()


def test_a_channel_and_layers_can_be_chosen():
    found = cs.checkerboard(strided(3), pictures(1), ["1", "4", "3"], 2)
    assert found.layers == ("4", "3", "1")
    assert found.channels.tolist() == [[[2]]] * 3


def test_saving_and_loading_keeps_everything(tmp_path):
    found = cs.checkerboard(strided(3), pictures(1), top=2)
    found.save(tmp_path / "found.safetensors")
    again = cs.Checkerboard.load(tmp_path / "found.safetensors")
    assert again.findings == found.findings
    assert again.sources == found.sources
    assert json.dumps(again.to_dict()) == json.dumps(found.to_dict())
    torch.testing.assert_close(again.pixels, found.pixels)


def test_the_budget_ends_the_work_and_is_told(monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr(budget, "time", SimpleNamespace(monotonic=lambda: float(next(clock))))
    found = cs.checkerboard(strided(3), pictures(1), budget="0.5s")
    assert found.partial == "budget"
    assert found.layers == ("4",)
    assert found.channels.tolist() == [[[found.channels[0, 0, 0].item()] + [-1] * 7]]
    assert "stopped early: 1 of 2 layers, 1 of 16 feature maps" in found.notes[-1]


def test_stopping_by_hand_keeps_what_is_done(monkeypatch):
    def progress(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as stopped:
        cs.checkerboard(strided(3), pictures(1), progress=progress)
    found = stopped.value.result
    assert found.partial == "interrupted"
    assert found.layers == ("4",)


def test_mistakes():
    net = strided(3)
    for error, arguments in (
        (UnitError, {"channel": 16}),
        (UnitError, {"layer": ["7"]}),
        (UnitError, {"layer": []}),
        (ConvscopeError, {"budget": 0.0}),
        (ConvscopeError, {"top": 0}),
    ):
        with pytest.raises(error):
            cs.checkerboard(net, pictures(1), **arguments)


def test_no_dot_of_a_figure_is_left_out_or_drawn_twice():
    net, images = strided(3), pictures(1)
    found = cs.checkerboard(net, images, top=1)
    figure = found.plot(width=10)
    shown = [axes.images[0].get_array() for axes in figure.axes if axes.images]
    assert [picture.shape[:2] for picture in shown] == [(48, 48)] * 3
    dots = figure.axes[1].get_window_extent()
    assert (dots.width / 48, dots.height / 48) == pytest.approx((8, 8))
    narrow = [axes.get_window_extent() for axes in found.plot(width="column").axes]
    assert [box.width / 48 for box in narrow] == pytest.approx([6, 6, 6])
    assert narrow[0].y1 == narrow[1].y1 > narrow[2].y1  # two stand side by side


@pytest.fixture
def run(tmp_path, monkeypatch, answer):
    """Run the command in a folder with networks.py and one.png; return what it said."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "networks.py").write_text(NETWORK)
    pixels = np.random.default_rng(0).integers(0, 255, (48, 48, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "one.png")
    verb = "checkerboard"
    return lambda *given, network="build": answer(verb, f"networks.py:{network}", "one.png", *given)


def test_the_command_draws_and_names_the_layer(run, tmp_path):
    status, out, err = run("--top", "2")
    assert status == 0, err
    assert "0 leaves a grid: convolution, kernel 3×3, stride 2×2: 0.484, 0.484 at the pixels" in out
    assert "kernel 4×4, stride 2×2: 0.000, 0.000 at the pixels; 1.78 times the weights" in out
    with Image.open(tmp_path / "checkerboard.png") as figure:
        assert figure.width == 1540
    status, out, _ = run("--top", "1", network="even")
    assert status == 0
    assert "no layer leaves a grid of its own" in out


def test_the_arrays_and_the_json_are_the_librarys(run, tmp_path):
    status, out, err = run("-o", "found.npz", "--json")
    assert status == 0, err
    answer = json.loads(out)
    net = cs.load(f"{tmp_path}/networks.py:build")
    found = cs.checkerboard(net, net.preprocess(tmp_path / "one.png"))
    assert answer["observed"] == pytest.approx(found.observed.tolist())
    assert answer["causes"] == [list(found.strongest_source(place).layers) for place in (0, 1)]
    with np.load(tmp_path / "found.npz") as arrays:
        np.testing.assert_allclose(arrays["pixels"], found.pixels)
        assert json.loads(str(arrays["facts"]))["structural"] == list(found.structural)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--budget", "soon"), "the budget 'soon' is not a number of seconds"),
        (("--budget", "0"), "the budget '0' is not a number of seconds"),
        (("--layer", "9"), "has no layer '9'"),
        (("--channel", "8"), "layer '4' has channels 0 to 7, not 8"),
        (("--top", "0"), "must be at least 1, not 0"),
        (("-o", "x.gif"), "its ending must be one of"),
        (("--rule", "gradent"), "did you mean 'gradient'"),
    ],
)
def test_mistakes_are_one_sentence_and_code_2(run, options, message, tmp_path):
    status, out, err = run(*options)
    assert (status, out) == (2, "")
    assert message in err
    assert not (tmp_path / "checkerboard.png").exists()


def test_a_black_image_has_no_grid_to_compare_with():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU())
    found = cs.checkerboard(cs.Network(module, (1, 3, 28, 28)), torch.zeros(1, 3, 28, 28))
    assert {row["over_image"] for row in found.table()} == {None}
    assert "nan" not in found.summary()
    assert "times the image" not in found.summary()
    assert "nan" not in " ".join(text.get_text() for text in found.plot().findobj(Text))
