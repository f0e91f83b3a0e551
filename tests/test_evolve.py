"""Evolution and the tracker, on trainings small enough to work out what must come."""

import gc
import json
import sys
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from PIL import Image
from torch import nn

from architectures import build
from convscope.errors import DataError, Interrupted, ModelError, OutputError, TrainError, UnitError
from convscope.figures.evolve import Row, figure
from convscope.figures.evolve_film import _frame
from convscope.figures.evolve_film import film as film_of
from convscope.figures.film import Film
from convscope.figures.sheet import number
from convscope.figures.style import Style
from convscope.methods.project import project
from convscope.network import Network
from convscope.study.checkpoints import Tracker, checkpoint_paths
from convscope.study.evolve import Evolution, evolve


@pytest.fixture(scope="module")
def training(tmp_path_factory):
    """Return a folder, a module and images: channel 1 grows, channel 0's filter turns round."""
    folder = tmp_path_factory.mktemp("run")
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 2, 3, bias=False), nn.ReLU()).train()
    images = torch.rand(6, 1, 7, 7)
    with torch.no_grad(), Tracker(folder, module, steps_per_epoch=2) as tracker:
        for step in range(1, 9):
            module[0].weight[1] += 1.0
            if step == 4:
                module[0].weight[0].neg_()
            tracker.step()
    return folder, module, images


def test_a_tracker_keeps_the_weights_of_its_moments(training):
    folder, module, _ = training
    assert [path.stem for path in checkpoint_paths(folder)] == [
        "step-0000000", "step-0000001", "step-0000002", "step-0000004", "step-0000008"
    ]  # fmt: skip
    assert module.training
    with pytest.raises(TrainError, match="holds checkpoints already"):
        Tracker(folder, module, steps_per_epoch=2)
    with pytest.raises(TrainError, match="at least one step, not 0"):
        Tracker(folder / "other", module, steps_per_epoch=0)


def test_evolution_follows_the_strongest_filter_and_its_projection(training):
    folder, module, images = training
    before = [p.clone() for p in module.parameters()]
    evolution = evolve(folder, images, module=module)
    (followed,) = evolution.filters
    assert (followed.layer, followed.channel) == ("1", 1)
    assert evolution.steps == (0, 1, 2, 4, 8)
    assert evolution.epochs is None
    for moment, path in enumerate(checkpoint_paths(folder)):
        from safetensors.torch import load_file

        weight = load_file(path)["0.weight"]
        maps = torch.relu(torch.nn.functional.conv2d(images, weight))[:, 1]
        peaks = maps.amax((1, 2))
        image = int(peaks.argmax())
        assert followed.number[moment] == image
        assert torch.equal(followed.images[moment], images[image])
        assert followed.activation[moment] == pytest.approx(peaks.max().item(), rel=1e-6)
        row, column = divmod(int(maps[image].flatten().argmax()), 5)
        assert followed.window[moment].tolist() == [row, column, row + 3, column + 3]
        # One convolution: the projection is the kernel itself times the activation.
        expected = torch.zeros(1, 7, 7)
        expected[:, row : row + 3, column : column + 3] = weight[1] * peaks.max()
        assert (followed.pixels[moment] - expected).abs().max() <= 1e-5 * expected.abs().max()
    changed = [False, *(a != b for a, b in pairwise(followed.number))]
    assert followed.changed.tolist() == changed
    assert all(torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))


def test_the_distance_is_the_norm_that_is_still_missing(training):
    folder, module, images = training
    evolution = evolve(folder, images, module=module, layer="1", channels=[0])
    final = module[0].weight.detach().double()
    start = final.clone()
    start[1] -= 8
    start[0].neg_()
    (distance,) = evolution.distance.values()
    assert distance[0].item() == pytest.approx(((start - final).norm() / final.norm()).item())
    assert distance[-1] == 0
    assert evolution.filters[0].channel == 0


def test_a_deep_layer_agrees_with_project(tmp_path):
    module = build("residual").float()
    images = torch.randn(4, 3, 16, 16)
    with Tracker(tmp_path, module, steps_per_epoch=1):
        pass
    evolution = evolve(tmp_path, images, module=module, layer="layer2", channels=[3], rule="guided")
    (followed,) = evolution.filters
    assert followed.layer == "layer2.1.relu2"
    image = int(followed.number[0])
    p = project(Network(module, images[:1]), images[image][None], "layer2", [3], rule="guided")
    assert torch.allclose(followed.pixels[0], p.pixels[0, 0], rtol=1e-5, atol=1e-8)


def test_mistakes_are_named(training, tmp_path):
    folder, module, images = training
    with pytest.raises(TrainError, match="holds no checkpoint"):
        evolve(tmp_path, images, module=module)
    with pytest.raises(TrainError, match="holds no training"):
        evolve(tmp_path, images)
    with pytest.raises(UnitError, match="channels 0 to 1, not 2"):
        evolve(folder, images, module=module, layer="1", channels=[2])
    with pytest.raises(UnitError, match="no layer '9'"):
        evolve(folder, images, module=module, layer="9")
    with pytest.raises(UnitError, match="1 layers need as many channels, not 2"):
        evolve(folder, images, module=module, layer="1", channels=[0, 1])
    with pytest.raises(UnitError, match="layer '1' is named twice"):
        evolve(folder, images, module=module, layer=["1", module[1]])
    with pytest.raises(UnitError, match="ReLU that was given is no part of the module"):
        evolve(folder, images, module=module, layer=nn.ReLU())
    with pytest.raises(DataError, match="at least 1 image, not 0"):
        evolve(folder, images, module=module, sample=0)
    with pytest.raises(DataError, match="no image"):
        evolve(folder, images[:0], module=module)
    with pytest.raises(ModelError, match=r"does not fit the network: .*misshapen"):
        evolve(folder, images, module=nn.Sequential(nn.Conv2d(1, 3, 3, bias=False), nn.ReLU()))


def test_a_module_names_its_layer(training):
    folder, module, images = training
    found = evolve(folder, images, module=module, layer=module[1], channels=[0])
    assert [(own.layer, own.channel) for own in found.filters] == [("1", 0)]


def test_the_figure_shows_every_moment_and_says_what_it_shows(training):
    folder, module, images = training
    evolution = evolve(folder, images, module=module)
    sheet = figure(evolution, Style(7.0, "full"))
    texts = [text.get_text() for text in sheet.figure.texts]
    heads = texts[texts.index("step") + 1 :][: len(evolution.steps)]
    assert heads == [str(step) for step in evolution.steps]
    caption = " ".join(texts)
    assert "Zeiler & Fergus 2014" in caption
    assert "over 6 training images" in caption
    # Below the tiles, the activation and the projection's scale.
    row = Row.of(evolution, evolution.filters[0], range(5))
    for value, scale in zip(row.activations, [t.scale for t in row.tiles], strict=True):
        assert f"{number(value)}\n{number(scale.limit)}" in texts
    # Two tiles a moment, and the curves.
    assert len(sheet.figure.axes) == 2 * 5 + 1
    line = sheet.figure.axes[10].lines[0]
    assert line.get_ydata().tolist() == pytest.approx(evolution.distance["0.weight"].tolist())


@pytest.mark.parametrize("width", [2.5, 3.4, 7.0, 10.0])
def test_the_columns_stand_over_their_ticks(training, width):
    folder, module, images = training
    evolution = evolve(folder, images, module=module)
    drawn = figure(evolution, Style(width)).figure
    tiles, curves = drawn.axes[:-1], drawn.axes[-1]
    middles = sorted({round(sum(tile.get_position().intervalx) / 2, 4) for tile in tiles})
    ticks = curves.transData.transform([(tick, 0) for tick in curves.get_xticks()])[:, 0]
    assert middles == pytest.approx(drawn.transFigure.inverted().transform(
        np.stack([ticks, ticks], 1))[:, 0].tolist(), abs=2e-3)  # fmt: skip
    shown = [label.get_text() for label in curves.get_xticklabels()]
    assert (shown[0], shown[-1]) == ("0", "8")
    assert len(shown) == min(5, max(2, int((width - 0.72) / 0.58)))


def test_what_is_found_shows_itself_and_comes_back_from_a_file(training, tmp_path):
    folder, module, images = training
    evolution = evolve(folder, images, module=module)
    assert evolution.notes == ("pixels 0 to 1, not normalised: no mean and std were given",)
    for ending in Evolution.endings():
        if ending != ".mp4":
            evolution.save(tmp_path / f"it{ending}", width="column")
    again = Evolution.load(tmp_path / "it.safetensors")
    assert again.to_json() == evolution.to_json()
    assert torch.equal(again.filters[0].pixels, evolution.filters[0].pixels)
    assert again.distance.keys() == evolution.distance.keys()
    assert "pixels" not in json.loads(again.to_json())["filters"][0]
    assert len(repr(evolution)) < 1000
    rows = evolution.table()
    assert [row["step"] for row in rows] == [0, 1, 2, 4, 8]
    assert rows[2]["activation"] == float(evolution.filters[0].activation[2])
    assert evolution.plot(width="slide").get_size_inches()[0] == 10
    with pytest.raises(OutputError, match=r"\.gif, \.mp4"):
        evolution.save(tmp_path / "it.jpg")


def test_ctrl_c_hands_out_the_moments_until_then(training):
    folder, module, images = training

    def stop(done: int, _: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted) as stopped:
        evolve(folder, images, module=module, progress=stop)
    found = stopped.value.result
    assert (found.steps, found.partial) == ((0, 1), "interrupted")
    assert len(found.filters[0].activation) == len(found.distance["0.weight"]) == 2
    found.plot()


def test_every_curve_is_known_by_its_line(training):
    folder, module, images = training
    evolution = evolve(folder, images, module=module)
    (distance,) = evolution.distance.values()
    many = replace(evolution, distance={f"{n}.weight": distance for n in range(16)})
    lines = figure(many, Style()).figure.axes[10].lines
    assert len({(to_hex(line.get_color()), line.get_linestyle()) for line in lines}) == 16


def test_a_frame_gives_each_projections_scale(training):
    folder, module, images = training
    evolution = evolve(folder, images, module=module)
    row = Row.of(evolution, evolution.filters[0], range(5))
    sheet = _frame(evolution, [row], 2)
    texts = [text.get_text().split("\n")[0] for text in sheet.figure.texts]
    assert f"{number(row.activations[2])}, ±{number(row.tiles[2].scale.limit)}" in texts


@pytest.fixture(scope="module")
def film(training) -> tuple[Film, list[np.ndarray]]:
    """Return the film of the training, and its frames."""
    folder, module, images = training
    film = film_of(evolve(folder, images, module=module))
    return film, list(film.frames())


def test_a_film_has_a_frame_a_moment_and_its_curves_grow(film):
    shown, frames = film
    assert len(frames) == len(shown.seconds) == 5
    assert {(frame.shape, frame.dtype) for frame in frames} == {(frames[0].shape, np.dtype("u1"))}
    # The first curve's colour, in the picture as far to the right as the training has come.
    blue = [(frame == (31, 119, 180)).all(-1).any(0).nonzero()[0] for frame in frames]
    half = frames[0].shape[1] * 3 // 4  # right of it, the curve's name
    ends = [columns[columns < half].max() for columns in blue]
    assert ends == sorted(ends)
    assert len(set(ends)) == 5


def test_a_gif_holds_every_moment(film, tmp_path):
    shown, frames = film
    shown.save(tmp_path / "film.gif")
    with Image.open(tmp_path / "film.gif") as gif:
        assert gif.n_frames == 5
        assert gif.info["loop"] == 0
        for place, frame in enumerate(frames):
            gif.seek(place)
            assert gif.info["duration"] == 1000 * shown.seconds[place]
            off = np.abs(np.asarray(gif.convert("RGB")).astype(int) - frame)
            assert off.max() < 40
            assert off.mean() < 1
    assert (tmp_path / "film.gif").stat().st_size < 200_000


# imageio-ffmpeg leaves the pipes of its reader to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_mp4_plays_every_moment(film, tmp_path):
    ffmpeg = pytest.importorskip("imageio_ffmpeg", reason="needs the extra `video`")
    shown, frames = film
    shown.save(tmp_path / "film.mp4")
    reader = ffmpeg.read_frames(str(tmp_path / "film.mp4"))
    facts = next(reader)
    assert facts["codec"] == "h264"
    assert facts["duration"] == pytest.approx(sum(shown.seconds), abs=0.2)
    width, height = facts["size"]
    assert (width % 2, height % 2) == (0, 0)
    read = [np.frombuffer(frame, np.uint8).reshape(height, width, 3) for frame in reader]
    del reader
    gc.collect()
    assert len(read) == round(10 * sum(shown.seconds))
    for place, frame in enumerate(frames):
        held = read[12 * place + 6][: frame.shape[0], : frame.shape[1]]
        assert np.abs(held.astype(int) - frame).mean() < 4
    assert (tmp_path / "film.mp4").stat().st_size < 200_000


def test_an_mp4_without_its_encoder_is_refused_before_the_work(film, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(OutputError, match=r"pip install 'convscope\[video\]'"):
        film[0].save(tmp_path / "film.mp4")
    assert list(tmp_path.iterdir()) == []


def test_the_command_refuses_what_cannot_be(tmp_path, monkeypatch, answer):
    monkeypatch.chdir(tmp_path)

    def refused(*options: str) -> str:
        status, out, error = answer("evolve", *options)
        assert (status, out) == (2, "")
        assert len(error.splitlines()) == 1
        return error

    base = (str(tmp_path), "--data", str(tmp_path))
    assert "holds no training" in refused(*base)
    assert "0 layers need as many channels, not 1" in refused(*base, "--channel", "3")
    assert "its ending must be one of" in refused(*base, "-o", "evolution.jpg")
    (tmp_path / "run.json").write_text(json.dumps({}))
    assert "is not a training's" in refused(*base)
