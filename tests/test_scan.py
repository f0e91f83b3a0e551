"""The scan's numbers: against a slow account in float64, in parts, and after being killed."""

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import convscope as cs
from architectures import ARCHITECTURES, build, images_for
from convscope.errors import ConvscopeError, DataError, ImageError
from convscope.methods.scanning.image_pass import batch_size, batches_at_once
from convscope.methods.scanning.reductions import reduced
from convscope.methods.scanning.result import class_selectivity
from convscope.methods.scanning.tally import bin_edges
from convscope.methods.scanning.units import scanned_layers
from convscope.network.constants import weights_hash
from convscope.study.data import ImageSet
from products import endings, some
from scan_worker import Pictures, network

TOP = 4
FEW = 400_000
"""Memory for a few images at once, so that there are many batches, the last of them padded."""


@pytest.fixture(scope="module")
def net():
    return network()


@pytest.fixture(scope="module")
def whole(net):
    return cs.scan(net, Pictures(), top=TOP, memory=FEW)


def maps_by_hand(net, pictures):
    """Return each scanned layer's maps by running the module's own layers, one image at a time."""
    module = net.module.double()
    kept = {"0": [], "4": [], "6": []}
    ends = {3: "0", 5: "4", 6: "6"}
    good = [n for n in range(len(pictures)) if n not in pictures.bad]
    with torch.no_grad():
        for number in good:
            x = pictures.images[number][None].double()
            for place, layer in enumerate(module):
                x = layer(x)
                if place in ends:
                    kept[ends[place]].append(x[0])
    module.float()
    return good, {name: torch.stack(maps) for name, maps in kept.items()}


def test_strongest_and_statistics_are_those_of_a_slow_account(whole):
    pictures = Pictures()
    good, maps = maps_by_hand(network(), pictures)
    assert whole.images == len(good) == 298
    for name, layer in whole.layers.items():
        values = maps[name]
        peaks = values.flatten(2).max(2).values
        for channel in range(layer.shape[0]):
            own = peaks[:, channel]
            # Equal images have equal peaks: only their numbers can tell them apart.
            order = sorted(range(len(good)), key=lambda i: (-float(own[i].float()), good[i]))
            if layer.never_negative:
                order = [i for i in order if own[i] > 0]
            order = order[:TOP]
            entries = [n for n in layer.image[channel].tolist() if n >= 0]
            assert entries == [good[i] for i in order]
            for rank, i in enumerate(order):
                row, column = layer.position[channel, rank]
                assert layer.peak[channel, rank] == pytest.approx(own[i].item(), rel=1e-5)
                assert values[i, channel, row, column] == own[i]
        near = {"rel": 1e-5, "abs": 1e-6}
        assert layer.mean == pytest.approx(values.mean((0, 2, 3)).numpy(), **near)
        spread = values.var((0, 2, 3), unbiased=False).sqrt().numpy()
        assert layer.std == pytest.approx(spread, **near)
        assert layer.peak_mean == pytest.approx(peaks.mean(0).numpy(), **near)
        assert layer.active_images == pytest.approx((peaks > 0).double().mean(0).numpy())
        shares = (values > 0).double().mean((0, 2, 3)).numpy()
        assert layer.active_positions == pytest.approx(shares)
        labels = pictures.labels[good]
        means = torch.stack([peaks[labels == k].clamp(min=0).mean(0) for k in range(3)])
        assert layer.class_peaks == pytest.approx(means.T.numpy(), **near)
        for channel in range(layer.shape[0]):
            most = means[:, channel].max().item()
            rest = (means[:, channel].sum().item() - most) / 2
            expected = (most - rest) / (most + rest) if most + rest else np.nan
            assert layer.selectivity[channel] == pytest.approx(expected, nan_ok=True, rel=1e-4)
        together = np.corrcoef(peaks.T.numpy()[~layer.dead])
        found = layer.similarity[~layer.dead][:, ~layer.dead]
        assert found == pytest.approx(together, abs=1e-6)
        edges = [-np.inf, *bin_edges(), np.inf]
        for channel in range(layer.shape[0]):
            for number in np.flatnonzero(layer.histogram[channel]):
                low, high = edges[number : number + 2]
                inside = (peaks[:, channel] >= low) & (peaks[:, channel] < high)
                assert layer.histogram[channel, number] == inside.sum()
            assert layer.histogram[channel].sum() == len(good)


def test_units_are_read_behind_their_rectifier(whole):
    assert [(x.name, x.read_at, x.rectified) for x in whole.layers.values()] == [
        ("0", "3", True),
        ("4", "5", True),
        ("6", "6", False),
    ]
    assert whole.layers["4"].dead.tolist() == [False, False, True, False, False]
    assert (whole.layers["4"].image[2] == -1).all()


def test_bad_images_are_left_out_and_named(whole):
    assert whole.bad == {
        "image 5": "cannot be read: OSError: the file is cut short",
        "image 130": "the network's activations are not finite",
    }
    assert whole.to_dict()["bad"] == whole.bad


FEW_BUILDS = ("one channel", "inception", "depthwise", "overlapping pools", "hourglass")


@pytest.mark.parametrize("name", some(FEW_BUILDS, ARCHITECTURES))
def test_every_build_of_network_has_its_strongest_found(name):
    module = build(name)
    images = images_for(module, count=5)
    net = cs.Network(module, images[:1])
    found = cs.scan(net, list(images), top=2)
    for layer in found.layers.values():
        if layer.dead.all():
            continue
        channel = int(np.argmax(layer.peak[:, 0]))
        p = cs.project(net, images, layer.read_at, [channel], rule="gradient")
        best = int(p.activation[:, 0].argmax())
        assert layer.image[channel, 0] == best
        assert layer.peak[channel, 0] == pytest.approx(p.activation[best, 0].item(), rel=1e-6)
        assert layer.position[channel, 0].tolist() == p.position[best, 0].tolist()


def same_file(one, other, folder):
    one.save(folder / "one.safetensors")
    other.save(folder / "other.safetensors")
    return (folder / "one.safetensors").read_bytes() == (folder / "other.safetensors").read_bytes()


@pytest.mark.parametrize("seed", some([1, 4], range(6)))
def test_random_parts_merge_into_the_whole(seed, net, whole, tmp_path):
    pictures = Pictures()
    generator = np.random.default_rng(seed)
    owner = generator.integers(0, 1 + seed, len(pictures))
    for part in np.unique(owner):
        share = np.flatnonzero(owner == part)
        cs.scan(net, pictures, top=TOP, memory=FEW, only=share).save(
            tmp_path / f"{part}.safetensors"
        )
    order = generator.permutation(np.unique(owner))
    merged, again = (
        cs.merge(cs.Scan.load(tmp_path / f"{p}.safetensors") for p in order) for _ in range(2)
    )
    assert same_file(merged, again, tmp_path)
    for name, layer in whole.layers.items():
        for field in dataclasses.fields(layer):
            expected, found = (getattr(each.layers[name], field.name) for each in (whole, merged))
            if field.name in ("mean", "std", "peak_mean", "selectivity", "class_peaks"):
                np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-15)
            elif field.name == "similarity":
                np.testing.assert_allclose(found, expected, atol=1e-13)
            else:
                np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("std", [2.888e-3, 2.888e-4, 2.888e-5])
def test_deviations_of_channels_with_a_large_mean_are_right(std, dtype):
    """Sums of single precision's squares made 0.0 of the second, and 6.16e-4 of the third."""
    noise = torch.randn(7, 1, 40, 50, generator=torch.Generator().manual_seed(0)).double()
    images = (10 + std * noise).to(dtype)
    images[3] -= 4 * std  # the images differ, too
    images[:, :, 0, 0] += 30 * std
    layer = nn.Conv2d(1, 1, 1, bias=False).to(dtype)
    nn.init.ones_(layer.weight)
    net = cs.Network(nn.Sequential(layer), images[:1])
    parts = [cs.scan(net, list(images), only=own) for own in (range(3), range(3, 7))]
    for found in (cs.scan(net, list(images)), cs.scan(net, list(images), memory=9_000)):
        assert found.layers["0"].std[0] == pytest.approx(
            images.double().std(correction=0).item(), rel=1e-6
        )
    merged = cs.merge(parts).layers["0"]
    assert merged.std[0] == pytest.approx(images.double().std(correction=0).item(), rel=1e-6)
    assert merged.mean[0] == pytest.approx(images.double().mean().item(), rel=1e-12)


def test_peaks_below_zero_are_ranked_where_values_lie_there():
    images = torch.rand(9, 1, 5, 5, generator=torch.Generator().manual_seed(2)) + 0.5
    layer = nn.Conv2d(1, 1, 1, bias=False)
    nn.init.constant_(layer.weight, -1.0)
    for module in (layer, nn.Sequential(layer, nn.LeakyReLU(0.1))):
        (found,) = cs.scan(cs.Network(module, images[:1]), list(images), top=20).layers.values()
        with torch.no_grad():
            peaks, places = module(images).flatten(1).max(1)
        order = peaks.argsort(descending=True)
        assert found.image[0].tolist() == order.tolist() + [-1] * 11
        assert found.peak[0].tolist() == peaks[order].tolist() + [0.0] * 11
        assert (found.position[0, :9] @ [5, 1]).tolist() == places[order].tolist()
        assert found.active_images.tolist() == [0.0]
        assert not found.dead.any()


def test_more_threads_change_nothing(net, whole, tmp_path):
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert same_file(cs.scan(net, Pictures(), top=TOP, memory=FEW), whole, tmp_path)
    finally:
        torch.set_num_threads(threads)


def test_an_exported_program_is_scanned_like_its_module():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    module[0].weight.data.normal_(generator=torch.Generator().manual_seed(0))
    images = torch.rand(5, 3, 9, 9, generator=torch.Generator().manual_seed(1))
    program = torch.export.export(module, (images[:1],))
    layers = [
        cs.scan(cs.Network(traced, images[:1]), list(images)).layers for traced in (module, program)
    ]
    for one, other in zip(layers[0].values(), layers[1].values(), strict=True):
        np.testing.assert_allclose(one.mean, other.mean, rtol=1e-5)
        np.testing.assert_array_equal(one.image, other.image)


def test_a_saved_scan_comes_back(whole, tmp_path):
    whole.save(tmp_path / "scan.safetensors")
    loaded = cs.Scan.load(tmp_path / "scan.safetensors")
    assert same_file(loaded, whole, tmp_path)
    assert loaded._repr_png_() is None  # a notebook shows its text: it has no images to draw
    assert loaded.bad == whole.bad
    assert loaded.layers["0"].mean.tolist() == whole.layers["0"].mean.tolist()


def test_parts_that_do_not_belong_together_are_refused(net, whole):
    pictures = Pictures()
    part = cs.scan(net, pictures, top=TOP, memory=FEW, only=range(9))
    with pytest.raises(DataError, match="overlap: image 0 is in more than one"):
        cs.merge([whole, part])
    other = cs.scan(net, pictures, top=3, memory=FEW, only=range(9))
    with pytest.raises(DataError, match="made with another top"):
        cs.merge([part, other])
    with pytest.raises(DataError, match="no scan to merge"):
        cs.merge([])


@pytest.mark.parametrize("kills", some("4", ["4", "12"]))
def test_killed_at_random_moments_it_resumes_to_the_same_bytes(whole, tmp_path, kills):
    states = tmp_path / "states"
    states.mkdir()
    worker = [sys.executable, Path(__file__).with_name("scan_worker.py"), states, kills]
    subprocess.run(worker, check=True)
    whole.save(tmp_path / "whole.safetensors")
    finished = list(states.glob("[0-9]"))
    assert finished
    for state in finished:
        assert state.read_bytes() == (tmp_path / "whole.safetensors").read_bytes()


@pytest.mark.parametrize(
    "suffix", some(["bmp", "png"], ["bmp", "ppm", "tiff", "png", "jpg", "gif", "webp"])
)
def test_another_picture_of_the_same_name_and_size_is_noticed_on_resuming(suffix, tmp_path):
    folder, state, net = tmp_path / "in", tmp_path / "state", network()
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    for name in "ab":
        Image.fromarray(pixels).save(folder / f"{name}.{suffix}")
    cs.scan(net, folder, only=[0], state=state)
    cs.scan(net, folder, only=[0], state=state, resume=True)
    before = (folder / f"b.{suffix}").stat()
    pixels[150, 150] ^= 64  # one pixel, far from both ends of the file
    Image.fromarray(pixels).save(folder / f"b.{suffix}")
    if suffix in ("bmp", "ppm", "tiff"):
        assert (folder / f"b.{suffix}").stat().st_size == before.st_size
    os.utime(folder / f"b.{suffix}", ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(DataError, match="made with another data"):
        cs.scan(net, folder, state=state, resume=True)


def test_a_link_to_nowhere_and_an_unreadable_file_are_named(tmp_path):
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    (tmp_path / "b.png").symlink_to("nowhere.png")
    (tmp_path / "c.png").mkdir()
    found = cs.scan(network(), tmp_path)
    assert (found.images, list(found.bad)) == (1, ["b.png"])
    assert found.bad["b.png"].endswith("b.png is a link to nowhere.png, which is not there")


def test_another_scan_in_the_state_file_is_not_overwritten(net, whole, tmp_path):
    whole.save(tmp_path / "state.safetensors")
    with pytest.raises(DataError, match="holds a scan already"):
        cs.scan(net, Pictures(), top=TOP, memory=FEW, state=tmp_path / "state.safetensors")
    with pytest.raises(DataError, match="made with another top"):
        cs.scan(
            net, Pictures(), top=5, memory=FEW, state=tmp_path / "state.safetensors", resume=True
        )


def test_histogram_bins_hold_their_lower_edge():
    edges = bin_edges()
    assert len(edges) == 258
    assert (np.diff(edges) > 0).all()
    number = int(np.searchsorted(edges, np.float32(1.0), side="right"))
    assert edges[number - 1] == 1.0
    assert edges[number] == pytest.approx(2**0.25)


def test_selectivity_needs_two_classes():
    assert np.isnan(class_selectivity(np.array([[1.0, 2.0], [np.nan, np.nan]]))).all()
    assert np.isnan(class_selectivity(np.zeros((3, 1))))[0]
    assert class_selectivity(np.array([[2.0], [0.0], [0.0]])).tolist() == [1.0]


def test_a_folder_has_its_class_folders_as_labels_and_its_bad_files_listed(tmp_path):
    for place, colour in ("a/1.png", "red"), ("b/deep/2.png", "lime"), ("b/0.png", "blue"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (6, 6), colour).save(tmp_path / place)
    (tmp_path / "a" / "broken.jpg").write_bytes(b"no picture")
    (tmp_path / "a" / "notes.txt").write_text("no picture either")
    convolution = nn.Conv2d(3, 3, 1, bias=False)
    nn.init.eye_(convolution.weight[:, :, 0, 0].data.zero_())
    convolution.weight.data[:, :, 0, 0] = torch.eye(3)
    net = cs.Network(nn.Sequential(convolution, nn.ReLU()), torch.zeros(1, 3, 6, 6))
    found = cs.scan(net, tmp_path, top=2)
    # In the order of their names: a/1, a/broken, b/0, b/deep/2.
    assert found.classes == ("a", "b")
    assert list(found.bad) == ["a/broken.jpg"]
    assert "broken.jpg is not an image" in found.bad["a/broken.jpg"]
    assert found.layers["0"].image.tolist() == [[0, -1], [3, -1], [2, -1]]
    assert found.layers["0"].class_peaks.tolist() == [[1.0, 0.0], [0.0, 0.5], [0.0, 0.5]]
    assert found.layers["0"].selectivity.tolist() == [1.0, 1.0, 1.0]


def test_what_cannot_be_scanned_is_refused_in_a_sentence(net, tmp_path):
    (tmp_path / "list.txt").touch()
    with pytest.raises(DataError, match=r"list\.txt is a file, not a folder of pictures"):
        cs.scan(net, tmp_path / "list.txt")
    with pytest.raises(DataError, match="there is no folder"):
        cs.scan(net, tmp_path / "nowhere")
    with pytest.raises(DataError, match="holds no pictures"):
        cs.scan(net, tmp_path)
    with pytest.raises(DataError, match="no set of images"):
        cs.scan(net, 3)
    with pytest.raises(DataError, match="holds no image"):
        cs.scan(net, [])
    with pytest.raises(ImageError, match=r"and none of \(2, 2\): .* fails on an input of shape"):
        cs.scan(net, [torch.zeros(3, 2, 2)])
    with pytest.raises(ConvscopeError, match="at least 1"):
        cs.scan(net, Pictures(), top=0)
    with pytest.raises(DataError, match="must be some of 0 to 299"):
        cs.scan(net, Pictures(), only=[300])
    flat = cs.Network(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), torch.zeros(1, 3, 2, 2))
    with pytest.raises(ConvscopeError, match="no convolutional layer"):
        scanned_layers(flat)


def test_memory_bounds_how_many_images_run_at_once(net):
    assert batch_size(net, 2**30) == 128
    assert batch_size(net, 1) == 1
    assert batch_size(net, FEW) == 8
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(16)
        assert batches_at_once(net, 8, FEW) == 4
        assert batches_at_once(net, 8, 2**30) == 16
    finally:
        torch.set_num_threads(threads)


RECTIFIERS = [
    (nn.ReLU(), True),
    (nn.ReLU6(), True),
    (nn.Hardtanh(0.0, 2.0), True),
    (nn.Threshold(0.1, 0.0), True),
    (nn.Softplus(), True),
    (nn.Hardtanh(-1.0, 1.0), False),
    (nn.Threshold(-0.5, -0.5), False),
    (nn.LeakyReLU(0.1), False),
    (nn.PReLU(4), False),
    (nn.ELU(), False),
    (nn.GELU(), False),
    (nn.SiLU(), False),
    (nn.Hardswish(), False),
    (nn.Mish(), False),
]


@pytest.mark.parametrize(("rectifier", "never_negative"), RECTIFIERS)
def test_only_what_is_above_zero_is_active_behind_any_rectifier(rectifier, never_negative):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 4, 3), rectifier).eval()
    images = torch.randn(12, 1, 8, 8)
    (layer,) = cs.scan(cs.Network(module, images[:1]), list(images)).layers.values()
    with torch.no_grad():
        values = module(images)
    assert layer.active_positions.tolist() == (values > 0).double().mean((0, 2, 3)).tolist()
    assert (layer.rectified, layer.never_negative) == (True, never_negative)
    assert never_negative == bool((values >= 0).all())


def test_only_what_is_zero_everywhere_is_dead():
    for follows, dead in ((nn.ReLU(), True), (nn.LeakyReLU(0.1), False), (nn.Identity(), False)):
        convolution = nn.Conv2d(1, 2, 1)
        with torch.no_grad():
            convolution.weight[:] = torch.tensor([1.0, -1.0])[:, None, None, None]
            convolution.bias[:] = torch.tensor([-2.0, 2.0])
        images = torch.rand(6, 1, 4, 4, generator=torch.Generator().manual_seed(0))
        net = cs.Network(nn.Sequential(convolution, follows), images[:1])
        (layer,) = cs.scan(net, list(images)).layers.values()
        assert layer.active_images.tolist() == [0.0, 1.0]
        assert layer.dead.tolist() == [dead, False]


class ChannelsLast(nn.LayerNorm):
    """Layer norm over the channels, as networks that have it write it."""

    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class OnPermuted(nn.Module):
    def forward(self, x):
        return x.permute(0, 2, 3, 1).relu().permute(0, 3, 1, 2)


@pytest.mark.parametrize(
    ("norm", "follows", "read_at"),
    [
        (nn.GroupNorm(2, 4), nn.ReLU(), "2"),
        (nn.InstanceNorm2d(4, affine=True), nn.ReLU(), "2"),
        (nn.LayerNorm([4, 6, 6]), nn.ReLU(), "2"),
        (nn.BatchNorm2d(4, track_running_stats=False), nn.ReLU(), "2"),
        (ChannelsLast(4), nn.ReLU(), "2"),
        (nn.GroupNorm(2, 4), nn.Sigmoid(), "1"),
        (ChannelsLast(4), nn.Sigmoid(), "0"),
        (nn.Identity(), OnPermuted(), "0"),
        (nn.Conv2d(4, 4, 1), nn.ReLU(), "0"),
    ],
)
def test_units_are_read_behind_norms_of_any_kind(norm, follows, read_at):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), norm, follows).eval()
    with torch.no_grad():
        module[0].bias[:] = -3.0  # below zero before the norm
    images = torch.rand(5, 3, 8, 8)
    layer = cs.scan(cs.Network(module, images[:1]), list(images)).layers["0"]
    assert layer.read_at == read_at
    with torch.no_grad():
        values = torch.cat([module[: int(read_at) + 1](image[None]) for image in images])
    assert layer.mean == pytest.approx(values.double().mean((0, 2, 3)).numpy(), rel=1e-5)
    assert not layer.dead.any()


def shifted_up(*more: nn.Module) -> nn.Module:
    """Return a layer whose one channel is its input plus one, and what follows."""
    convolution = nn.Conv2d(1, 1, 1)
    with torch.no_grad():
        convolution.weight[:], convolution.bias[:] = 1.0, 1.0
    return nn.Sequential(convolution, nn.ReLU(), *more)


def levels(*values: float) -> list[torch.Tensor]:
    return [torch.full((1, 2, 2), value) for value in values]


def classifier(outputs: int, **options) -> cs.Network:
    module = shifted_up(nn.Flatten(), nn.Linear(4, outputs))
    return cs.Network(module, torch.zeros(1, 1, 2, 2), preprocess="none", **options)


def test_one_logit_tells_two_classes_apart():
    pairs = list(zip(levels(0.0, 1.0, 3.0), (0, 1, 1), strict=True))
    for names in (None, ["is a cat"]):
        net = classifier(1, answer="labels", classes=names)
        found = cs.scan(net, pairs)
        assert (found.images, found.bad, found.notes) == (3, {}, ())
        assert found.classes == ("0", "1")
        assert found.layers["0"].class_peaks.tolist() == [[1.0, 3.0]]


def test_a_label_of_no_class_costs_the_label_alone(tmp_path):
    pairs = list(zip(levels(0.0, 1.0, 2.0, 5.0, 7.0), (0, 3, -1, 2, 0), strict=True))
    net = classifier(3)
    found = cs.scan(net, pairs)
    assert (found.images, found.bad) == (5, {})
    np.testing.assert_array_equal(found.layers["0"].class_peaks, [[4.5, np.nan, 6.0]])
    assert found.layers["0"].peak[0, 0] == 8.0
    note = "2 of 5 images have a label that is none of the 3 classes, and count as without one"
    assert found.notes == (note,)
    parts = [cs.scan(net, pairs, only=[0, 2, 4]), cs.scan(net, pairs, only=[1, 3])]
    assert same_file(cs.merge(parts), found, tmp_path)
    assert cs.Scan.load(tmp_path / "one.safetensors").notes == (note,)


def test_images_without_a_label_do_not_take_it_from_those_beside_them():
    pairs = list(zip(levels(0.0, 1.0, 2.0), (0, None, 1), strict=True))
    found = cs.scan(classifier(2), pairs)
    assert found.layers["0"].class_peaks.tolist() == [[1.0, 3.0]]
    assert found.notes == ()


@pytest.mark.parametrize(
    ("items", "labelled"),
    [
        (lambda x: [(image, None) for image in x], False),
        (lambda x: torch.utils.data.TensorDataset(torch.stack(x)), False),
        (lambda x: [[image] for image in x], False),
        (lambda x: [(image, n % 2, n) for n, image in enumerate(x)], True),
        (lambda x: [(image, torch.tensor(n % 2)) for n, image in enumerate(x)], True),
        (lambda x: [(image, np.uint8(n % 2)) for n, image in enumerate(x)], True),
    ],
)
def test_ordinary_data_sets_are_scanned(items, labelled):
    found = cs.scan(classifier(2), items(levels(0.0, 1.0, 3.0)))
    assert (found.images, found.bad, found.notes) == (3, {}, ())
    assert found.layers["0"].mean.tolist() == [pytest.approx(7 / 3)]
    assert found.classes == (("0", "1") if labelled else ())
    if labelled:
        assert found.layers["0"].class_peaks.tolist() == [[2.5, 2.0]]


@pytest.mark.parametrize(
    "label",
    [
        torch.tensor([1, 0]),  # of several classes, or one-hot
        torch.tensor([1.0, 1.0]),
        [0, 1],
        np.array([1]),
        "cat",
        0.5,
        {"boxes": torch.zeros(2, 4)},
    ],
)
def test_labels_that_are_not_one_class_each_are_named_as_left_out(label, tmp_path):
    pairs = [(image, label) for image in levels(0.0, 1.0, 3.0)]
    pairs[1] = (pairs[1][0], 1)
    net = classifier(2)
    note = (
        "2 of 3 images have a label that is not the number of one class, and count as without one"
    )
    found = cs.scan(net, pairs)
    assert (found.images, found.bad, found.notes) == (3, {}, (note,))
    np.testing.assert_array_equal(found.layers["0"].class_peaks, [[np.nan, 2.0]])
    merged = cs.merge(cs.scan(net, pairs, only=[number]) for number in range(3))
    merged.save(tmp_path / "scan.safetensors")
    assert cs.Scan.load(tmp_path / "scan.safetensors").notes == (note,)
    assert note in cs.diagnose(net, pairs, budget=0).left_out


IN_ORDER = "the network names no classes: cat, dog were taken for its answers in this order"
UNTOLD = "labels do not tell which answers are right: cat, dog are not the network's"


@pytest.mark.parametrize(
    ("outputs", "names", "note"),
    [
        (2, None, IN_ORDER),
        (2, ["dog", "cat"], None),
        (3, None, f"{UNTOLD} 3 classes"),
        (2, ["a", "b"], f"{UNTOLD} 2 classes"),
    ],
)  # fmt: skip
def test_how_folders_were_taken_for_classes_is_said(outputs, names, note, tmp_path):
    for number, name in enumerate(("cat", "dog")):
        (tmp_path / name).mkdir()
        for own in range(2):
            picture = np.full((2, 2), 100 * number + 50 * own, np.uint8)
            Image.fromarray(picture).save(tmp_path / name / f"{own}.png")
    net = classifier(outputs, classes=names)
    notes = () if note is None else (note,)
    assert cs.scan(net, tmp_path).notes == notes
    assert cs.ablate(net, tmp_path, "0").notes == notes
    assert cs.diagnose(net, tmp_path, budget=0).left_out[: len(notes)] == notes


def test_an_ablation_says_that_labels_of_several_classes_were_not_used():
    pairs = [(image, torch.tensor([0, 1])) for image in levels(0.0, 1.0, 3.0)]
    assert cs.ablate(classifier(2), pairs, "0").notes == (
        "3 of 3 images have a label that is no class's number: what the whole network takes them "
        "for stands in for it",
    )
    assert cs.ablate(classifier(2), levels(0.0, 1.0), "0").notes == ()


def test_weights_are_told_apart_by_their_values():
    net = classifier(2)
    weight = net.module[0].weight
    state = hashlib.sha256()
    for name, tensor in sorted(net.module.state_dict().items()):
        state.update(name.encode() + tensor.numpy().tobytes())
    assert weights_hash(net) == state.hexdigest()  # as it has been, for the scans that are kept
    assert weights_hash(net.with_constants({weight: weight.detach().clone()})) == weights_hash(net)
    twins = [net.with_constants({weight: torch.full_like(weight, value)}) for value in (2.0, 3.0)]
    assert len({weights_hash(own) for own in (net, *twins)}) == 3
    again = net.with_constants({weight: torch.full_like(weight, 2.0)})
    assert weights_hash(again) == weights_hash(twins[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("layout", ["channels last", "channels first", "every other column"])
def test_rectifying_block_by_block_is_rectifying(layout, dtype):
    def made():  # the same each time, lying the same way
        maps = torch.randn(2, 48, 70, 90, generator=torch.Generator().manual_seed(5)).to(dtype)
        if layout == "channels last":
            return maps.contiguous(memory_format=torch.channels_last)
        return maps[..., ::2] if layout == "every other column" else maps

    rectified, maps = made().relu_(), made()
    expected = reduced(rectified)
    found = reduced(maps, rectify=True)
    assert torch.equal(maps, rectified)
    assert np.array_equal(expected.active, (rectified > 0).sum((2, 3)).numpy())
    for name in ("peak", "mean", "squares", "active"):
        assert np.array_equal(getattr(found, name), getattr(expected, name))


# What it shows, and where it comes from.


@pytest.fixture(scope="module")
def small() -> cs.Scan:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.ReLU())
    net = cs.Network(module, torch.zeros(1, 3, 16, 16), preprocess="none")
    return cs.scan(net, list(torch.rand(12, 3, 16, 16)))


def test_a_scan_is_saved_to_any_ending_or_to_a_folder(small, tmp_path):
    for ending in endings(cs.Scan):
        small.save(tmp_path / f"scan{ending}")
        assert (tmp_path / f"scan{ending}").stat().st_size > 500
    with Image.open(tmp_path / "scan.png") as drawn:
        assert drawn.width == 1540
    said = json.loads((tmp_path / "scan.json").read_text())
    assert (said["network"], said["images"]) == (small.network, 12)
    assert len(said["units"]) == len(small.table()) == 12
    assert said["units"][3]["strongest"] == pytest.approx(float(small.layers["0"].peak[3, 0]))
    with np.load(tmp_path / "scan.npz") as arrays:
        assert arrays["2/image"].tolist() == small.layers["2"].image.tolist()
    small.save(tmp_path / "atlas")
    assert (tmp_path / "atlas" / "index.html").exists()
    unit = cs.Atlas(tmp_path / "atlas").unit("2", 1)
    assert unit.image.tolist() == [n for n in small.layers["2"].image[1].tolist() if n >= 0]
    unit.save(tmp_path / "unit.safetensors")
    loaded = cs.AtlasUnit.load(tmp_path / "unit.safetensors")
    assert loaded.to_json() == unit.to_json()
    assert torch.equal(loaded.patches, unit.patches)
    with pytest.raises(cs.ConvscopeError, match=r"must be one of \.png.*none for a folder"):
        small.save(tmp_path / "scan.txt")


@pytest.mark.parametrize("width", some(["column"], ["column", "text", "slide"]))
def test_letters_of_its_figure_stay_legible_and_inside(small, width):
    drawn = small.plot(width=width, layer="0", channels=[0, 2, 3, 7])
    drawn.canvas.draw()
    across, high = drawn.canvas.get_width_height()
    assert min(text.get_fontsize() for text in drawn.texts) >= 7
    for text in drawn.texts:
        box = text.get_window_extent()
        assert box.x0 >= 0, text.get_text()
        assert box.x1 <= across + 1, text.get_text()
        assert 0 <= box.y0 < box.y1 <= high, text.get_text()
    assert sum(text.get_text().startswith("channel ") for text in drawn.texts) == 4


def test_its_pictures_need_the_network_and_images(small, tmp_path):
    small.save(tmp_path / "scan.safetensors")
    bare = cs.Scan.load(tmp_path / "scan.safetensors")
    assert bare.to_json() == small.to_json()
    with pytest.raises(cs.ConvscopeError, match=r"cs\.Scan\.load\(path, net, images\)"):
        bare.plot()
    images = [small.source.load(number)[0] for number in range(12)]
    whole = cs.Scan.load(tmp_path / "scan.safetensors", small.net, images)
    assert len(whole.plot().axes) == len(small.plot().axes) > 0


def test_some_layers_are_scanned_as_all_are(small):
    images = [small.source.load(number)[0] for number in range(12)]
    for layer in ("2", "3", small.net.module[2], ["2"]):
        found = cs.scan(small.net, images, layer)
        assert list(found.layers) == ["2"]
        assert found.layers["2"].peak.tolist() == small.layers["2"].peak.tolist()
    with pytest.raises(cs.ConvscopeError, match="the scan is of some layers only"):
        cs.diagnose(small.net, images, scanned=cs.scan(small.net, images, "2"))
    flat = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(392, 2))
    net = cs.Network(flat, torch.zeros(1, 3, 16, 16))
    with pytest.raises(cs.ConvscopeError, match="2 of Sequential is no convolution"):
        cs.scan(net, images, "2")


def test_image_sets_and_lists_of_pictures_are_preprocessed(tmp_path):
    module = nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU())
    net = cs.Network(module, torch.zeros(1, 3, 4, 4), mean=[0.5] * 3, std=[0.25] * 3)
    pixels = torch.randint(0, 256, (6, 3, 4, 4), generator=torch.Generator().manual_seed(0))
    labels = torch.arange(6) % 2
    whole = ImageSet(pixels.to(torch.uint8), labels, ("a", "b"))
    pictures = [Image.fromarray(one.permute(1, 2, 0).byte().numpy()) for one in pixels]
    files = [tmp_path / f"{number}.png" for number in range(6)]
    for picture, file in zip(pictures, files, strict=True):
        picture.save(file)
    expected = cs.scan(net, list((pixels / 255 - 0.5) / 0.25)).layers["0"]
    for images in (whole, pictures, files, list(zip(pictures, labels.tolist(), strict=True))):
        found = cs.scan(net, images).layers["0"]
        np.testing.assert_allclose(found.peak, expected.peak, rtol=1e-5)
        np.testing.assert_array_equal(found.image, expected.image)
    assert cs.scan(net, whole).classes == ("a", "b")
    assert cs.scan(net, files).title(3) == "3.png"


def test_an_interrupt_hands_out_the_images_until_then(small):
    images = [small.source.load(number)[0] for number in range(12)]

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    # One image at a time.
    with pytest.raises(cs.Interrupted) as stopped:
        cs.scan(small.net, images, memory=1, progress=stop)
    found = stopped.value.result
    assert (found.partial, found.images) == ("interrupted", 1)
    assert "partial: interrupted" in repr(found)
    assert len(repr(small)) < 1000


def test_channels_that_are_classes_carry_their_names_in_the_figure():
    module = nn.Sequential(
        nn.Conv2d(1, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    ).eval()
    nn.init.constant_(module[0].weight, 1.0)
    net = cs.Network(module, torch.zeros(1, 1, 4, 4), preprocess="none", classes=["cat", "dog"])
    found = cs.scan(net, [torch.ones(1, 4, 4)])
    told = [text.get_text() for text in found.plot().texts]
    assert {"0 cat", "1 dog"} <= set(told)


@pytest.mark.parametrize("kind", [torch.stack, list], ids=["a tensor", "a list"])
def test_images_of_another_size_are_followed(kind):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    net, images = cs.Network(module, (1, 3, 12, 12)), torch.randn(3, 3, 20, 15)
    found = cs.scan(net, kind(list(images)), top=1).layers["0"]
    peaks = module[0](images).amax((2, 3)).max(0)
    np.testing.assert_allclose(found.peak[:, 0], peaks.values.detach(), rtol=1e-5)
    assert found.image[:, 0].tolist() == peaks.indices.tolist()
    assert cs.diagnose(net, kind(list(images)), budget=0).images == 3
    assert cs.compare(net, net, kind(list(images)), budget=5).images == 3
    with pytest.raises(ImageError, match=r"and none of \(2, 2\)"):
        cs.scan(net, torch.zeros(2, 3, 2, 2))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bool, torch.int64])
@pytest.mark.parametrize("as_set", [False, True])
def test_whole_numbers_are_no_images(dtype, as_set):
    net = cs.Network(nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.Flatten()), (1, 3, 8, 8))
    images = torch.ones(4, 3, 8, 8, dtype=dtype)
    labels = torch.zeros(4, dtype=torch.int64)
    given = torch.utils.data.TensorDataset(images, labels) if as_set else images
    for method in (cs.scan, cs.diagnose):
        with pytest.raises(ConvscopeError, match="hold whole numbers"):
            method(net, given)
