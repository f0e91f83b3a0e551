"""Occlusion by masks, superpixels and channels: against a plain loop over them."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import convscope as cs
from convscope.errors import ImageError
from convscope.figures.occlude import panels
from convscope.methods.occlude.patches import label_map

pytestmark = pytest.mark.usefixtures("by_windows")

IMAGE = torch.rand(1, 3, 14, 17, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
LABELS = (torch.arange(14)[:, None] // 5) * 4 + torch.arange(17) // 5
MASKS = torch.rand(6, 14, 17, generator=torch.Generator().manual_seed(4)) < 0.2
MASKS[2] = False
MASKS[2, 13, 16] = True


@pytest.fixture(scope="module")
def net() -> cs.Network:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 5, 3), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 4),
    )  # fmt: skip
    return cs.Network(module.double().eval(), IMAGE)


def brute(net: cs.Network, hidden: torch.Tensor, fill: str | float) -> torch.Tensor:
    """Return the logits with each of *hidden*, [M, C, H, W], covered, [M, 4], one by one."""
    rows = []
    for mask in hidden:
        image = IMAGE.clone()
        if fill == "local-mean":
            for channel in range(3):
                own = image[0, channel]
                own[mask[channel]] = own[mask[channel]].mean()
        else:
            image[0][mask] = fill
        with torch.no_grad():
            rows.append(net.module(image)[0])
    return torch.stack(rows)


@pytest.mark.parametrize("method", ["exact", "full"])
@pytest.mark.parametrize("fill", [0.3, "local-mean"])
@pytest.mark.parametrize("kind", ["masks", "superpixels", "channels"])
def test_masks_are_hidden_one_by_one(net, method, fill, kind):
    if kind == "channels":
        given = "channels"
        hidden = torch.eye(3, dtype=torch.bool)[:, :, None, None].expand(3, 3, 14, 17)
    else:
        given = LABELS if kind == "superpixels" else MASKS
        masks = torch.stack([n == LABELS for n in range(12)]) if kind == "superpixels" else MASKS
        hidden = masks[:, None].expand(-1, 3, -1, -1)
    o = cs.occlude(net, IMAGE, fill=fill, target=2, layer="3", masks=given, method=method)
    expected = brute(net, hidden, fill)
    assert o.logit.shape == (1, len(hidden))
    assert (o.logit[0] - expected[:, 2]).abs().max() < 1e-12
    assert torch.equal(o.predicted[0], expected.argmax(1))
    drop = o.clean["logit"] - expected[:, 2]
    covers = hidden.any(1).double()
    count = covers.sum(0)
    heat = (drop[:, None, None] * covers).sum(0) / count
    torch.testing.assert_close(o.heatmap("logit"), heat, equal_nan=True)
    assert o.heatmap("logit").isnan().any() == (kind == "masks")


def test_a_record_of_masks_comes_back(net, tmp_path):
    o = cs.occlude(net, IMAGE, masks=LABELS)
    o.save(tmp_path / "o.safetensors")
    again = cs.Occlusion.load(tmp_path / "o.safetensors")
    assert torch.equal(again.masks, o.masks)
    assert torch.equal(again.heatmap(), o.heatmap())
    assert (o.part, o.patch, o.stride) == ("one of 12 masks", (5, 5), (0, 0))


def test_a_picture_is_a_label_map(tmp_path):
    path = tmp_path / "parts.png"
    Image.fromarray((LABELS.numpy() * 20).astype(np.uint8)).save(path)
    assert torch.equal(label_map(path), LABELS)
    Image.fromarray((LABELS.numpy() * 20).astype(np.uint8)).convert("RGB").save(path)
    assert torch.equal(label_map(path), LABELS)


def test_mistakes_are_named(net):
    wrong = [
        (r"masks of shape \[14, 16\] do not fit an image of \[14, 17\]", {"masks": LABELS[:, 1:]}),
        ("masks are bool .* not float32", {"masks": MASKS.float()}),
        ("mask 1 hides nothing", {"masks": torch.stack([MASKS[0], MASKS[0] & False])}),
        ("chanels", {"masks": "chanels"}),
        ("masks go without patch", {"masks": MASKS, "patch": 4}),
        ("masks go without patch", {"masks": MASKS, "stride": 4}),
        ("by the methods exact and full", {"masks": MASKS, "method": "adaptive"}),
    ]
    for message, options in wrong:
        with pytest.raises(ImageError, match=message):
            cs.occlude(net, IMAGE, **options)


def test_what_was_hidden_is_named_in_summary_table_and_figure(net):
    o = cs.occlude(net, IMAGE, masks="channels", target=2, layer="3")
    assert [row["part"] for row in o.table()] == ["channel 0", "channel 1", "channel 2"]
    name = o.part_name(o.telling)
    assert f"; lowest logit hiding {name}: P " in o.summary()
    first, activation, _, probability = panels(o)
    assert first.title == f"(a) {name} hidden, which\nlowers the logit most"
    assert (first.frame, probability.bars) == (None, True)
    assert np.array_equal(probability.picture, o.probability.numpy())
    assert activation.clean == o.clean["activation"]
    figure = o.plot()
    bars = [axes for axes in figure.axes if axes.patches]
    for axes, kind in zip(bars, ("activation", "probability"), strict=True):
        found = [bar.get_x() + bar.get_width() for bar in axes.patches]
        assert found == pytest.approx(getattr(o, kind)[0].tolist())
        assert [label.get_text() for label in axes.get_yticklabels()] == ["0", "1", "2"]
        assert all(bar.get_x() == pytest.approx(o.clean[kind]) for bar in axes.patches)
    labels = cs.occlude(net, IMAGE, masks=LABELS + 5)
    assert [row["part"] for row in labels.table()] == [f"label {n}" for n in LABELS.unique() + 5]
    masks = cs.occlude(net, IMAGE, masks=MASKS)
    assert masks.where(2) == "mask 2 (in rows 13-13, columns 16-16)"
