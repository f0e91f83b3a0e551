"""Figures: that they show the numbers they say, and say what they show."""

import io
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pytest
import torch
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from PIL import Image
from torch import Tensor, nn

import convscope as cs
from convscope.display import DisplayScale, display_scale, to_display
from convscope.errors import ConvscopeError, OutputError
from convscope.figures.lettering import any_letters, shortened, width_of, wrapped
from convscope.figures.pieces import sheet_of, space
from convscope.figures.project import check_fits
from convscope.figures.sheet import Bare, frame_tile
from convscope.figures.style import Style, style
from convscope.images import Preprocess
from convscope.methods.projection import Projection
from products import some

SIDE = 12


def record(
    pixels: Tensor,
    windows: Sequence[Sequence[int]] | None = None,
    field: tuple[int, int] = (4, 4),
    **facts: object,
) -> Projection:
    """Make a record of pixels [N, K, C, H, W] whose units all read the same windows."""
    images, units, channels, height, width = pixels.shape
    windows = windows or [[0, 0, height, width]] * units
    generator = torch.manual_seed(3)
    options = {
        "images": torch.rand(images, channels, height, width, generator=generator),
        "preprocess": Preprocess.identity(channels, (height, width)),
        "titles": tuple(f"picture{n}.png" for n in range(images)),
        "layers": ("features.3",) * units,
        "names": (tuple(f"channel {k}" for k in range(units)),) * images,
        "rule": "deconvnet",
        "select": "peak",
        "network": "Small",
        "activation": torch.ones(images, units),
        "relative": torch.full((images, units), torch.nan),
        "rank": "",
        "reference": "",
        **facts,
    }
    return Projection(
        pixels=pixels,
        position=torch.zeros(images, units, 2, dtype=torch.int64),
        window=torch.tensor(windows).expand(images, units, 4),
        channels=torch.arange(units).expand(images, units),
        receptive_fields=(field,) * units,
        **options,  # type: ignore[arg-type]
    )


def draw(
    found: Projection, width: str = "text", caption: str = "full", **display: str
) -> tuple[Figure, list[list[DisplayScale]]]:
    figure = found.plot(width=width, caption=caption, **display)
    with any_letters():
        FigureCanvasAgg(figure).draw()
    return figure, found.scales(**display)


def tiles(figure: Figure) -> list[np.ndarray]:
    """The painted projections: images, patches and projections take turns on the axes."""
    return [axes.images[0].get_array() for axes in figure.axes if axes.images][2::2]


def words(figure: Figure) -> str:
    return " ".join(text.get_text() for text in figure.texts)


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.manual_seed(0))


# --- values ------------------------------------------------------------------------------------


def test_zero_is_mid_grey_and_the_scale_symmetric():
    pixels = torch.zeros(1, 1, 3, SIDE, SIDE)
    pixels[..., 2, 3] = 4.0
    pixels[..., 2, 4] = -4.0
    pixels[..., 2, 5] = 2.0
    figure, scales = draw(record(pixels))
    (tile,) = tiles(figure)
    assert scales == [[DisplayScale(limit=4.0, clipped=0.0, quantile=0.999)]]
    assert tile[2, 3].tolist() == [255] * 3
    assert tile[2, 4].tolist() == [0] * 3
    assert tile[2, 5].tolist() == [191] * 3
    grey = np.ones((SIDE, SIDE), dtype=bool)
    grey[2, 3:6] = False
    assert (tile[grey] == 128).all()


def test_what_is_drawn_on_the_canvas_is_the_tile():
    pixels = torch.zeros(1, 1, 3, SIDE, SIDE)
    pixels[..., :6, :] = 1.0
    figure, _ = draw(record(pixels))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    shown = np.asarray(canvas.buffer_rgba())
    box = figure.axes[2].get_window_extent()
    row = lambda share: shown.shape[0] - int(box.y0 + share * box.height)  # noqa: E731
    column = int(box.x0 + box.width / 2)
    assert shown[row(0.75), column, :3].tolist() == [255, 255, 255]
    assert shown[row(0.25), column, :3].tolist() == [128, 128, 128]


def test_a_tile_is_cropped_to_its_window():
    pixels = noise(1, 2, 3, SIDE, SIDE)
    windows = [[1, 2, 5, 6], [4, 5, 8, 9]]
    figure, scales = draw(record(pixels, windows))
    for place, (top, left, bottom, right) in enumerate(windows):
        cropped = pixels[0, place, :, top:bottom, left:right]
        assert scales[0][place] == display_scale(cropped)
        np.testing.assert_array_equal(tiles(figure)[place], to_display(cropped, scales[0][place]))
        patch = figure.axes[1 + 2 * place]
        assert patch.get_xlim() == (left - 0.5, right - 0.5)
        assert patch.get_ylim() == (bottom - 0.5, top - 0.5)
    rectangles = [patch.get_bbox().bounds for patch in figure.axes[0].patches]
    assert rectangles == [(1.5, 0.5, 4, 4), (4.5, 3.5, 4, 4)]


def test_every_tile_is_framed_as_its_window_in_the_image_and_as_no_other():
    figure, _ = draw(record(torch.rand(1, 14, 3, SIDE, SIDE), [[1, 2, 5, 6]] * 14))
    image, *tiles = (axes for axes in figure.axes if axes.images)
    in_image = [(to_hex(p.get_edgecolor()), p.get_linestyle()) for p in image.patches]
    for upper, lower, line in zip(tiles[::2], tiles[1::2], in_image, strict=True):
        for spine in (*upper.spines.values(), *lower.spines.values()):
            assert (to_hex(spine.get_edgecolor()), spine.get_linestyle()) == line
    assert len(set(in_image)) == 14


def test_units_that_all_read_the_whole_image_are_not_framed_in_it():
    whole = [0, 0, SIDE, SIDE]
    figure, _ = draw(record(torch.rand(1, 2, 3, SIDE, SIDE), [whole, whole]))
    assert not figure.axes[0].patches
    figure, _ = draw(record(torch.rand(1, 2, 3, SIDE, SIDE), [whole, [1, 2, 5, 6]]))
    assert [patch.get_bbox().bounds[2:] for patch in figure.axes[0].patches] == [(12, 12), (4, 4)]


def test_tile_scales_differ_and_a_shared_scale_is_one():
    pixels = torch.zeros(2, 2, 3, SIDE, SIDE)
    pixels[0, 0, 0, 0, 0], pixels[0, 1, 0, 0, 0] = 1.0, 2.0
    pixels[1, 0, 0, 0, 0], pixels[1, 1, 0, 0, 0] = 3.0, -8.0
    found = record(pixels)
    _, own = draw(found)
    assert [[scale.limit for scale in row] for row in own] == [[1.0, 2.0], [3.0, 8.0]]
    figure, shared = draw(found, scale="shared")
    assert {scale.limit for row in shared for scale in row} == {8.0}
    assert tiles(figure)[0][0, 0, 0] == round(127.5 + 127.5 / 8)
    assert "all tiles on one scale" in words(figure)


def test_projections_are_shown_in_units_of_pixels():
    pixels = torch.ones(1, 1, 3, SIDE, SIDE)
    preprocess = Preprocess((0.5,) * 3, (0.25,) * 3, (SIDE, SIDE))
    images = torch.zeros(1, 3, SIDE, SIDE)
    figure, scales = draw(record(pixels, preprocess=preprocess, images=images))
    assert scales[0][0].limit == 0.25
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), 0.5)


def test_luminance_is_grey_and_normalised_colours_keep_no_more_hue_than_luminance():
    pixels = torch.zeros(1, 1, 3, SIDE, SIDE)
    pixels[0, 0, :, 0, 0] = torch.tensor([1.0, 1.0, 1.0])
    pixels[0, 0, :, 1, 1] = torch.tensor([0.0, 0.0, 0.5])  # blue: luminance 0.0361
    found = record(pixels)
    figure, scales = draw(found, colour="luminance")
    assert scales[0][0].limit == pytest.approx(1)
    assert tiles(figure)[0][1, 1].tolist() == [132] * 3  # 127.5 * (1 + 0.0361)
    assert "Small, deconvnet, luminance: what" in words(figure)
    figure, _ = draw(found, colour="normalised")
    # The hue (-0.0361, -0.0361, 0.4639) is shrunk until its largest is the luminance.
    assert tiles(figure)[0][1, 1].tolist() == [132, 132, 137]
    assert tiles(figure)[0][0, 0].tolist() == [255] * 3
    assert "Small, deconvnet, normalised colours: what" in words(figure)


def test_root_contrast_shows_a_sixteenth_as_a_quarter():
    pixels = torch.zeros(1, 1, 3, SIDE, SIDE)
    pixels[..., 0, 0], pixels[..., 0, 1] = 16.0, -1.0
    figure, scales = draw(record(pixels), contrast="root")
    assert scales[0][0] == DisplayScale(16.0, 0.0, 0.999, contrast="root")
    assert tiles(figure)[0][0, :3, 0].tolist() == [255, round(127.5 * 0.75), 128]
    assert "root contrast: what" in words(figure)


# --- what it says ------------------------------------------------------------------------------


def test_the_caption_says_rule_source_scale_clipping_and_notes():
    pixels = noise(1, 1, 3, 60, 60)
    figure, scales = draw(record(pixels, notes=("random weights (seed 0)",)))
    said = words(figure)
    assert "Small, deconvnet: what in this image drives each unit, given the switches." in said
    assert "From the strongest activation." in said
    assert "Rule: deconvnet (Zeiler & Fergus 2014, arXiv 1311.2901, sec. 2.1)." in said
    assert "each tile on its own scale: ± the 99.9% quantile of |value|" in said
    assert scales[0][0].clipped == 10 / 10_800
    assert "at most 0.09% of a tile's values are clipped" in said
    assert f"±{scales[0][0].limit:.3g}" in said
    (note,) = [text for text in figure.texts if text.get_weight() == "bold"]
    assert note.get_text() == "random weights (seed 0)"
    assert "peak 1, ±" in said
    assert "Hatched" not in said


@pytest.mark.parametrize(("caption", "lines"), [("none", 0), ("short", 1), ("full", 5)])
def test_the_caption_is_none_a_line_or_all_and_the_notes_always_stay(caption, lines):
    found = record(noise(1, 1, 3, SIDE, SIDE), notes=("a", "b"))
    figure, _ = draw(found, caption=caption)
    said = words(figure)
    assert [text.get_text() for text in figure.texts if text.get_weight() == "bold"] == ["a; b"]
    assert ("given the switches" in said) == (lines > 0)
    assert ("Zero is mid-grey" in said) == (lines > 1)


def test_the_whole_caption_is_in_the_metadata(tmp_path):
    found = record(noise(1, 1, 3, SIDE, SIDE), notes=("random weights",))
    for name in ("it.png", "it.svg"):
        found.save(tmp_path / name, caption="none")
    with Image.open(tmp_path / "it.png") as picture:
        said = picture.text["Description"]
    assert said.startswith("random weights. Small, deconvnet: what in this image drives each unit")
    assert "Zero is mid-grey" in said
    assert "Zero is mid-grey" in (tmp_path / "it.svg").read_text("utf-8")


@pytest.mark.parametrize("width", some(["column"], ["column", "text", "slide", "2.5"]))
def test_a_figure_is_as_wide_as_asked_and_its_letters_are_seven_points_or_more(width):
    for units in (1, 4, 9):
        figure, _ = draw(record(noise(2, units, 3, SIDE, SIDE)), width=width)
        assert figure.get_size_inches()[0] == style(width, "full").width
        assert min(text.get_fontsize() for text in figure.texts) >= 7
        assert_nothing_collides(figure)


@pytest.mark.parametrize(
    ("rule", "source"), [("guided", "arXiv 1412.6806"), ("gradient", "arXiv 1312.6034")]
)
def test_other_rules_and_selections_are_named(rule, source):
    figure, _ = draw(record(noise(1, 1, 3, SIDE, SIDE), rule=rule, select="map"))
    assert f"Rule: {rule} (" in words(figure)
    assert source in words(figure)
    assert "From the whole feature map." in words(figure)


def test_a_whole_map_of_a_wide_image_is_as_wide_as_its_place():
    module = nn.Sequential(nn.Conv2d(3, 2, 3, padding=1), nn.ReLU())
    net = cs.Network(module, (1, 3, 6, 60), preprocess="none")
    figure = cs.project(net, torch.rand(1, 3, 6, 60), "1", [0], select="map").plot()
    image, tile = (axes.get_window_extent() for axes in figure.axes)
    assert min(image.width, tile.width) > 2 * figure.dpi
    assert tile.height == pytest.approx(tile.width / 10)
    assert (image.y1, figure.get_figheight() < 1.5) == (tile.y1, True)


def test_units_that_show_nothing_say_why():
    pixels = torch.zeros(1, 3, 3, SIDE, SIDE)
    pixels[0, 2] = 1.0
    figure, _ = draw(record(pixels, activation=torch.tensor([[0.0, 5.0, -2.0]])))
    feet = [text.get_text() for text in figure.texts]
    assert "peak 0, not active" in feet
    assert "peak 5, nothing arrives" in feet
    assert "peak −2, ±1" in feet
    assert (tiles(figure)[0] == 128).all()


def test_values_that_are_not_finite_are_counted_and_magenta():
    pixels = torch.ones(1, 1, 3, SIDE, SIDE)
    pixels[0, 0, 1, 4, 4] = torch.nan
    pixels[0, 0, 1, 4, 5] = torch.inf
    figure, _ = draw(record(pixels))
    assert tiles(figure)[0][4, 4:6].tolist() == [[255, 0, 255]] * 2
    assert "2 values, not finite" in words(figure)
    assert "Magenta: values that are not finite." in words(figure)


@pytest.mark.parametrize(
    ("window", "frame"),
    [
        ([3, 3, 7, 7], (3, 3, 7, 7)),
        ([0, 3, 3, 7], (-1, 3, 3, 7)),
        ([3, 0, 7, 2], (3, -2, 7, 2)),
        ([9, 10, 12, 12], (9, 10, 13, 14)),
        # Cut by a border inside the network, one pixel short of the image's.
        ([9, 3, 11, 7], (9, 3, 13, 7)),
        # Smaller in the midst of the image, as where a transposed convolution reads less.
        ([4, 4, 7, 7], (4, 4, 7, 7)),
    ],
)
def test_a_window_cut_by_the_border_is_framed_whole_and_hatched(window, frame):
    figure, _ = draw(record(noise(1, 1, 3, SIDE, SIDE), [window], field=(4, 4)))
    top, left, bottom, right = frame
    for axes in figure.axes[1:]:
        assert axes.get_ylim() == (bottom - 0.5, top - 0.5)
        assert axes.get_xlim() == (left - 0.5, right - 0.5)
        assert axes.patch.get_hatch() == "////"
        shown = axes.images[0].get_extent()
        assert shown == [window[1] - 0.5, window[3] - 0.5, window[2] - 0.5, window[0] - 0.5]
    hatched = tuple(window) != frame
    assert ("Hatched: beyond the image." in words(figure)) == hatched


def test_a_field_larger_than_the_image_is_framed_at_the_images_size():
    figure, _ = draw(record(noise(1, 1, 3, SIDE, SIDE), [[0, 0, 8, SIDE]], field=(99, 99)))
    assert figure.axes[1].get_ylim() == (7.5, -4.5)
    assert figure.axes[1].get_xlim() == (-0.5, SIDE - 0.5)


@pytest.mark.parametrize("channels", [1, 5])
def test_networks_of_one_and_of_many_channels(channels):
    pixels = torch.zeros(1, 1, channels, SIDE, SIDE)
    pixels[0, 0, :, 0, 0] = torch.arange(1.0, channels + 1)
    figure, scales = draw(record(pixels))
    assert scales[0][0].limit == (channels + 1) / 2
    assert tiles(figure)[0].shape == (SIDE, SIDE, 3)
    assert tiles(figure)[0][0, 0].tolist() == [255] * 3
    assert ("takes 5 channels; their mean is shown" in words(figure)) == (channels == 5)


def test_an_image_outside_0_to_1_is_clipped_and_said_so():
    pixels, images = noise(1, 1, 3, SIDE, SIDE), torch.zeros(1, 3, SIDE, SIDE)
    images[0, 0, :6] = 2.0
    figure, _ = draw(record(pixels, images=images))
    assert "16.67% of the image's values lie outside 0 to 1" in words(figure)
    assert figure.axes[0].images[0].get_array().max() == 1.0


def test_the_real_thing_end_to_end():
    module = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU())
    net = cs.Network(module, torch.zeros(1, 3, 9, 9), notes=["random weights"])
    image = torch.rand(1, 3, 9, 9, generator=torch.manual_seed(1))
    p = cs.project(net, image, layer="1", top=1)
    figure, scales = draw(p)
    top, left, bottom, right = p.window[0, 0].tolist()
    expected = to_display(p.pixels[0, 0, :, top:bottom, left:right], scales[0][0])
    np.testing.assert_array_equal(tiles(figure)[0], expected)
    assert "random weights" in words(figure)


# --- layout ------------------------------------------------------------------------------------


def boxes(figure: Figure) -> list[tuple[str, Bbox]]:
    canvas = FigureCanvasAgg(figure)
    found = [(text.get_text(), text) for text in figure.texts]
    found += [(axes.get_title(), axes.title) for axes in figure.axes]
    renderer = canvas.get_renderer()
    with any_letters():
        return [(said, text.get_window_extent(renderer)) for said, text in found if said]


def assert_nothing_collides(figure: Figure) -> None:
    texts = boxes(figure)
    width, height = figure.get_size_inches() * figure.dpi
    for said, box in texts:
        inside = box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height
        assert inside, f"{said!r} leaves the figure"
    for (one, first), (other, second) in combinations(texts, 2):
        assert not first.overlaps(second), f"{one!r} meets {other!r}"
    for axes in figure.axes:
        frame = axes.get_window_extent()
        for said, box in texts:
            assert not frame.overlaps(box), f"{said!r} lies on a picture"
    for one, other in combinations(figure.axes, 2):
        assert not one.get_window_extent().overlaps(other.get_window_extent())


@pytest.mark.parametrize(("images", "units"), [(1, 1), (3, 5), (1, 13), (2, 6)])
def test_no_text_meets_another_or_leaves_the_figure(images, units):
    pixels = noise(images, units, 3, SIDE, SIDE) * 12345
    figure, _ = draw(record(pixels, notes=("random weights (seed 0)",)))
    assert_nothing_collides(figure)


@pytest.mark.parametrize("letter", some(["W", "$x_1$ "], ["W", "i", "$x_1$ ", "猫", "a b_"]))
def test_long_names_find_room(letter):
    pixels = noise(1, 2, 5, SIDE, SIDE)
    name = letter * 90
    found = record(
        pixels * 1e-7,
        [[0, 0, 3, 3], [9, 9, 12, 12]],
        layers=(name, name),
        titles=(name + ".png: tiger cat (39%)",),
        network=name,
        notes=(name, "b"),
        activation=torch.tensor([[-1.23456e-12, torch.nan]]),
    )
    figure, _ = draw(found)
    assert_nothing_collides(figure)
    assert "tiger cat (39%)" in " ".join(said for said, _ in boxes(figure))


def test_letters_that_the_first_font_lacks_come_from_another(caplog):
    """A box is drawn where no font has the letter; two letters look alike then."""
    other = "Noto Sans CJK SC", "WenQuanYi Zen Hei", "PingFang SC", "Microsoft YaHei", "SimHei"
    if not {*other} & {*font_manager.get_font_names()}:
        pytest.skip("needs a font with Chinese letters")

    def pixels(name: str) -> np.ndarray:
        found = record(noise(1, 1, 3, SIDE, SIDE), [[0, 0, 3, 3]], titles=(name,), network="net")
        figure, _ = draw(found)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png")
        return np.asarray(Image.open(buffer))

    assert not np.array_equal(pixels("猫"), pixels("犬"))
    assert not [record for record in caplog.records if record.name.startswith("matplotlib")]


def test_wide_and_tall_images_and_windows_find_room():
    for shape in ((6, 40), (40, 6)):
        figure, _ = draw(record(noise(1, 3, 1, *shape), field=shape))
        assert_nothing_collides(figure)


def test_some_channels_of_some_layers_are_a_grid_of_layers_by_ranks():
    layers = tuple(name for name in "abc" for _ in range(2))
    windows = [[0, 0, 4, 4 + unit] for unit in range(6)]
    found = record(noise(1, 6, 3, SIDE, SIDE), windows, layers=layers)
    figure, _ = draw(found)
    assert_nothing_collides(figure)
    images = [axes for axes in figure.axes if axes.get_images()[0].get_array().shape[0] == SIDE]
    assert len(images) == 2
    # Beside the image of a rank are the three layers' units of that rank, framed in it.
    for rank, image in enumerate(images):
        wide = [round(patch.get_width()) for patch in image.patches]
        assert wide == [4 + rank, 6 + rank, 8 + rank]
    titles = {text.get_text(): text.get_position() for text in figure.texts}
    across = [titles[f"{layer}\nchannel {unit}"] for unit, layer in enumerate(layers)]
    assert [x for x, _ in across[::2]] == [x for x, _ in across[1::2]]
    assert len({y for _, y in across[::2]}) == len({y for _, y in across[1::2]}) == 1
    assert across[1][1] < across[0][1]
    assert "second strongest" in titles


def test_a_map_is_drawn_without_the_photograph_that_it_comes_from():
    found = record(noise(1, 4, 3, SIDE, SIDE), select="map", layers=tuple("abcd"))
    figure, scales = draw(found)
    assert_nothing_collides(figure)
    photograph, *maps = [axes.images[0].get_array() for axes in figure.axes]
    assert len(maps) == 4
    assert not figure.axes[0].patches  # which of four equal frames would be seen?
    assert "drives each map" in " ".join(text.get_text() for text in figure.texts)
    for unit, shown in enumerate(maps):
        np.testing.assert_array_equal(shown, to_display(found.pixels[0, unit], scales[0][unit]))
    assert not any(np.array_equal(shown, photograph) for shown in maps)


@pytest.mark.parametrize("field", [3, 5, 14, 47, 92])
def test_every_pixel_of_a_tile_is_a_square_of_whole_dots(field, tmp_path):
    pixels = (torch.arange(field * field) % 2 * 2.0 - 1).view(field, field)
    found = record(pixels.expand(1, 5, 3, -1, -1), field=(field, field))
    figure = found.plot(width="column")
    box = figure.axes[-1].get_window_extent()
    dots = box.width / field
    assert dots == pytest.approx(round(dots))
    assert box.width >= 48
    found.save(tmp_path / "it.png", width="column")
    shown = np.asarray(Image.open(tmp_path / "it.png").convert("L"))
    top, left, dots = shown.shape[0] - round(box.y1), round(box.x0), round(dots)
    inside = shown[top : top + round(box.height), left : left + round(box.width)][8:-8, 8:-8]
    assert set(np.unique(inside).tolist()) == {0, 255}  # nothing is smoothed
    row = inside[dots * (8 // dots + 1) - 8 + dots // 2]
    steps = np.diff(np.flatnonzero(np.diff(row.astype(int))))
    assert set(steps.tolist()) == {dots} or field * dots < 3 * dots


def test_too_many_tiles_are_refused():
    check_fits(50, ["1"] * 6, "peak", Style())
    check_fits(1, ["1"] * 400, "peak", Style())
    with pytest.raises(OutputError, match=r"the figure would be .* inches high: take fewer images"):
        check_fits(300, ["1"] * 6, "peak", Style())
    with pytest.raises(OutputError, match=r"a \.npz file"):
        check_fits(1, ["1"] * 2000, "map", Style())


def test_an_unknown_scale_is_refused():
    with pytest.raises(ConvscopeError, match=r"did you mean 'shared'\?"):
        draw(record(noise(1, 1, 3, SIDE, SIDE)), scale="share")


def test_lettering():
    assert shortened("features.28", 5, 7) == "features.28"
    short = shortened("W" * 50 + ".conv2", 1.0, 7)
    assert short.startswith("W")
    assert short.endswith(".conv2")
    assert "…" in short
    assert 0.8 < width_of(short, 7) <= 1.0
    lines = wrapped("one two three " + "x" * 60, 1.0, 7)
    assert "".join(lines).replace(" ", "") == "onetwothree" + "x" * 60
    assert all(width_of(line, 7) <= 1.0 for line in lines)
    assert wrapped("", 1.0, 7) == []
    assert width_of("W" * 20, 7, "bold") > width_of("W" * 20, 7)
    assert 0.8 < width_of(shortened("W" * 50, 1.0, 7, "bold"), 7, "bold") <= 1.0


def test_axes_without_ticks_are_drawn_as_axes_with_none():
    """To the pixel, with the frame at the edges and what is hatched behind the picture."""

    def painted(kind: type[Axes]) -> np.ndarray:
        sheet = sheet_of(Style(3), [space(height=2)], [], [])
        axes = sheet.axes(0.5, 0.25, 1.5, 1.2, kind)
        axes.imshow([[0, 1], [2, 3]], extent=(0.5, 2.5, 2.5, 0.5), aspect="auto")
        frame_tile(axes, (0, 0, 3, 4), "#0b5cad")
        canvas = FigureCanvasAgg(sheet.figure)
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())

    np.testing.assert_array_equal(painted(Bare), painted(Axes))
