"""Receptive fields against the pixels with a derivative, for weights that cancel nothing."""

from random import Random

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convscope.network import Network
from drawn import Branches, Function, gated
from products import some


def made_generic(module: nn.Module) -> nn.Module:
    """Draw weights that are all positive, in float64, so that no two ways to a pixel cancel."""
    for values in module.parameters():
        nn.init.uniform_(values, 0.5, 1.5)
    return module.double().eval()


def pixels_read(maps: Tensor, image: Tensor, row: int, column: int) -> Tensor:
    """Return [H, W]: whether any channel of a unit has a derivative by the pixel."""
    unit = (maps[0, :, row, column] * torch.linspace(0.7, 1.3, maps.shape[1])).sum()
    (found,) = torch.autograd.grad(unit, image, retain_graph=True, allow_unused=True)
    if found is None:
        return torch.zeros(image.shape[2:], dtype=torch.bool)
    effect = found[0].abs().sum(0)
    return effect > 1e-13 * effect.max()


def bounds(flags: Tensor) -> tuple[int, int, int, int]:
    rows, columns = flags.any(1).nonzero().flatten(), flags.any(0).nonzero().flatten()
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def assert_fields(module: nn.Module, size: tuple[int, int], *, wraps: bool = False) -> None:
    """Compare every unit's window, and the size of one away from the borders.

    Where the image *wraps* around, some units read rows from both of its ends, away from borders.
    """
    image = torch.rand(1, 2, *size, dtype=torch.float64) + 0.5
    net = Network(made_generic(module), image)
    last = list(net.layers.values())[-1]
    index = net.step(last.name)
    image.requires_grad_()
    with torch.enable_grad():
        maps = net.module(image)
    heights = []
    for row in range(maps.shape[2]):
        # All columns at one row and all rows at one column show all windows there are.
        for column in range(maps.shape[3]) if row in (0, maps.shape[2] // 2) else (1, 2):
            column = min(column, maps.shape[3] - 1)  # noqa: PLW2901
            read = pixels_read(maps, image, row, column)
            window = net.receptive_fields.window(index, row, column)
            if not read.any():
                assert window[0] >= window[2] or window[1] >= window[3]
                continue
            assert window == bounds(read), (row, column)
            if window[0] > 0 and window[2] < size[0]:
                heights.append(window[2] - window[0])
    if not wraps and len(heights) >= 8 and last.local_stride == last.stride is not None:
        assert last.receptive_field[0] == max(heights)


def resized(**options) -> Function:
    return Function(lambda x: F.interpolate(x, **options))


KINDS = {
    "dilated": lambda: nn.Conv2d(2, 2, 3, padding=2, dilation=2),
    "dilated far": lambda: nn.Conv2d(2, 2, (2, 3), padding=(3, 1), dilation=(5, 3)),
    "strided": lambda: nn.Conv2d(2, 2, 3, 2, 1),
    "gaps": lambda: nn.Conv2d(2, 2, 1, 2),
    "convolution": lambda: nn.Conv2d(2, 2, 3, padding=1),
    "transposed": lambda: nn.ConvTranspose2d(2, 2, 3, 2, 1, 1),
    "transposed, dilated": lambda: nn.ConvTranspose2d(2, 2, 3, 2, 1, dilation=3),
    "transposed, dilated evenly": lambda: nn.ConvTranspose2d(2, 2, 2, 2, 1, dilation=2),
    "nearest": lambda: resized(scale_factor=2),
    "nearest, broken": lambda: resized(size=(23, 11)),
    "nearest-exact": lambda: resized(scale_factor=1.5, mode="nearest-exact"),
    "bilinear": lambda: resized(scale_factor=2, mode="bilinear"),
    "bilinear, smaller": lambda: resized(scale_factor=0.75, mode="bilinear"),
    "bilinear, aligned": lambda: resized(size=(25, 9), mode="bilinear", align_corners=True),
    "bicubic": lambda: resized(scale_factor=2, mode="bicubic"),
    "bicubic, smaller": lambda: resized(scale_factor=0.5, mode="bicubic"),
    "average": lambda: nn.AvgPool2d(3, 2, 1, ceil_mode=True),
    "LP pool": lambda: nn.LPPool2d(2, 3, 2),
    "roll": lambda: Function(lambda x: x.roll((3, -2), (2, 3))),
    "flip": lambda: Function(lambda x: x.flip(2)),
    "reflected": lambda: nn.ReflectionPad2d(2),
    "cropped": lambda: Function(lambda x: x[:, :, 1:-1:2, 1:]),
    "pixel shuffle": lambda: nn.Sequential(nn.Conv2d(2, 8, 1), nn.PixelShuffle(2)),
    "pixel unshuffle": lambda: nn.Sequential(
        Function(lambda x: x[:, :, : x.shape[2] // 2 * 2, : x.shape[3] // 2 * 2]),
        nn.PixelUnshuffle(2), nn.Conv2d(8, 2, 1)),
    "skip": lambda: Branches(lambda parts: parts[0] + parts[1], nn.Identity(),
                             nn.Conv2d(2, 2, 3, padding=3, dilation=3)),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_an_operation_between_two_convolutions(kind):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), KINDS[kind](), nn.Conv2d(2, 2, (2, 1)))
    assert_fields(module, (32, 9))


SEVERAL = [
    ["roll", "skip"],
    ["nearest, broken", "transposed, dilated"],
    ["bicubic, smaller", "bilinear, aligned", "bilinear", "skip"],
    *(Random(n).choices(sorted(KINDS), k=2 + n % 3) for n in range(20)),
]


@pytest.mark.parametrize("kinds", some(SEVERAL[:6], SEVERAL))
def test_operations_in_any_order(kinds):
    torch.manual_seed(0)
    module = nn.Sequential(*(KINDS[kind]() for kind in kinds), nn.Conv2d(2, 2, 1))
    try:
        module(torch.zeros(1, 2, 40, 21))
    except RuntimeError:
        return  # nothing is left of the image
    assert_fields(module, (40, 21), wraps="roll" in kinds)


NORMS = {
    "group norm": lambda: nn.GroupNorm(2, 4),
    "instance norm": lambda: nn.InstanceNorm2d(4),
    "layer norm": lambda: nn.LayerNorm((4, 16, 12)),
    "response norm": lambda: Function(
        lambda x: x / (x.square().mean((2, 3), keepdim=True) + 1).sqrt() - x.mean((2, 3), True)),
    "gate": lambda: Branches(
        gated, nn.Identity(),
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 4, 1), nn.Sigmoid())),
}  # fmt: skip


@pytest.mark.parametrize("kind", NORMS)
def test_gates_and_statistics_are_left_out_of_the_local_field_alone(kind):
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1), NORMS[kind](), nn.ReLU(), nn.Conv2d(4, 5, 3, padding=1),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 2),
    ).eval()  # fmt: skip
    net = Network(module, torch.rand(1, 3, 32, 24))
    first, behind, pooled = net.layers["0"], net.layers["3"], net.layers["4"]
    assert (first.stride, first.receptive_field) == ((2, 2), (3, 3))
    assert (first.local_stride, first.local_receptive_field) == ((2, 2), (3, 3))
    assert (behind.stride, behind.receptive_field) == (None, (32, 24))
    # By hand: 3 rows, and 2 (3 - 1) more for the second convolution's kernel.
    assert (behind.local_stride, behind.local_receptive_field) == ((2, 2), (7, 7))
    assert (pooled.local_stride, pooled.local_receptive_field) == (None, (32, 24))
    assert net.receptive_fields.window(net.step("3"), 0, 0) == (0, 0, 32, 24)


def test_a_stride_by_a_broken_factor_is_told_to_six_digits():
    resized = nn.Upsample((18, 7), mode="bilinear", align_corners=True)
    layers = Network(nn.Sequential(resized, nn.Conv2d(1, 1, 3, 2)), (1, 1, 60, 30)).layers
    assert layers["0"].stride == pytest.approx((59 / 17, 29 / 6), rel=1e-6)
    assert layers["1"].stride == pytest.approx((118 / 17, 58 / 6), rel=1e-6)
