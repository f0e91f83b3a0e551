"""Results do not depend on the settings of torch around a call."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import convscope as cs
from products import each_once

IMAGES = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))
LABELS = torch.arange(256).view(16, 16) // 64


@contextmanager
def float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def meta() -> Iterator[None]:
    torch.set_default_device("meta")
    try:
        yield
    finally:
        torch.set_default_device(None)


@pytest.fixture(autouse=True)
def _as_if_never_set() -> Iterator[None]:
    """Let torch 2.9 tell Lightning, in tests after these, that no default device is set."""
    yield
    vars(torch._GLOBAL_DEVICE_CONTEXT).pop("device_context", None)


SETTINGS = {
    "default dtype": float64,
    "default device": meta,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
}
CALLS = {
    "network": lambda net: cs.Network(net.module, IMAGES[:1])(IMAGES),
    "load": lambda net: cs.load("base")(IMAGES.new_ones(1, 3, 32, 32)),
    "preprocess": lambda net: net.preprocess(Image.fromarray(np.eye(20, dtype=np.uint8) * 200)),
    "occlude": lambda net: occluded(cs.occlude(net, IMAGES[:1], layer="4")),
    "full": lambda net: occluded(cs.occlude(net, IMAGES[:1], fill="blur", method="full")),
    "adaptive": lambda net: occluded(cs.occlude(net, IMAGES[:1], fill="noise", method="adaptive")),
    "masks": lambda net: occluded(cs.occlude(net, IMAGES[:1], masks=LABELS, fill="local-mean")),
    "channels": lambda net: occluded(cs.occlude(net, IMAGES[:1], masks="channels")),
    "project": lambda net: cs.project(net, IMAGES, "5"),
    "gradient": lambda net: cs.project(net, IMAGES, "4", rule="gradient", select="map"),
    "strongest": lambda net: cs.project(net, IMAGES[:2], top=2),
    "scan": lambda net: cs.scan(net, IMAGES, top=3).layers,
    "checkerboard": lambda net: cs.checkerboard(net, IMAGES[:2]),
    "diagnose": lambda net: cs.diagnose(net, IMAGES),
    "sanity": lambda net: cs.sanity(net, IMAGES[:1], seeds=1, others=2),
    "invariance": lambda net: cs.invariance(net, IMAGES[:2], steps=3),
    "compare": lambda net: cs.compare(net, net, IMAGES),
}


@pytest.fixture(scope="module")
def net() -> cs.Network:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4),
    )  # fmt: skip
    return cs.Network(module.eval(), IMAGES[:1])


def occluded(o: cs.Occlusion) -> Any:
    return o, o.heatmap(), o.heatmap("logit")


def numbers(value: Any) -> list[Tensor]:
    """Return all tensors and floats of a result, at any depth, in order."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        return [torch.from_numpy(value)]
    if isinstance(value, float):
        return [torch.from_numpy(np.array(value))]
    if isinstance(value, tuple):
        value = list(value)
    if is_dataclass(value):
        value = [getattr(value, part.name) for part in fields(value)]
    parts = value.values() if isinstance(value, dict) else value
    return [n for own in parts for n in numbers(own)] if isinstance(value, list | dict) else []


@each_once("setting, call", [*SETTINGS], [*CALLS])
def test_a_result_is_the_same_within_any_setting(net, call, setting):
    expected = numbers(CALLS[call](net))
    with SETTINGS[setting]():
        around = torch.empty(0).dtype, torch.empty(0).device
        found = CALLS[call](net)
        assert (torch.empty(0).dtype, torch.empty(0).device) == around
    assert expected
    for mine, other in zip(numbers(found), expected, strict=True):
        assert (mine.dtype, mine.device) == (other.dtype, other.device)
        torch.testing.assert_close(mine, other, rtol=1e-6, atol=1e-7, equal_nan=True)


def test_a_default_device_that_was_unset_again(net):
    expected = numbers(CALLS["project"](net))
    torch.set_default_device("cpu")
    torch.set_default_device(None)  # after which torch 2.9 cannot say what it is
    for mine, other in zip(numbers(CALLS["project"](net)), expected, strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=0, equal_nan=True)


def test_inference_mode_around_a_call_changes_nothing():
    # In it there are no derivatives: below a leaky rectifier the gradient was zero.
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.LeakyReLU(), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(64, 3)
    ).eval()
    image = torch.randn(1, 1, 8, 8)
    net = cs.Network(module, image)

    def asked(image):
        p = cs.project(net, image, "2", [0], rule="gradient")
        return p.pixels, cs.attribute(net, image, 1, method="deeplift").pixels

    expected = asked(image)
    with torch.inference_mode():
        found = *asked(image), *asked(image + 0)
        fewer = net.with_units("1", off=[0])
    assert cs.project(fewer, image, "2", [0], rule="gradient").pixels.any()  # this failed
    for pixels, other in zip(found, (*expected, *expected), strict=True):
        assert pixels.any()
        torch.testing.assert_close(pixels, other)


def test_images_that_a_derivative_is_wanted_of_are_images():
    net = cs.Network(nn.Sequential(nn.Conv2d(1, 4, 3, 2), nn.ReLU()), (1, 1, 8, 8))
    assert cs.diagnose(net, torch.rand(2, 1, 8, 8).requires_grad_()).summary()
