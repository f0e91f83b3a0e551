"""Convolutions that learn and answer faster on a CPU: Winograd's method, forwards and back."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

from convscope.network.winograd import (
    KERNEL,
    POINTS,
    WORTH,
    both_ways,
    outputs_of,
    padding_of_layer,
    put_outputs,
    tiles_along,
    turned_inputs,
)

CHUNK_BYTES = 2**22
"""What one tensor of turned tiles may take, unless a single image's do: half as much as where
nothing is learned, as other threads may be at their own chunks."""

MOVING = 75
"""How many multiplications take as long as turning one number, forwards and back, as measured."""


class TiledConv2d(nn.Conv2d):
    """:class:`torch.nn.Conv2d` with 3x3 filters, by Winograd's method where that pays.

    It is the plain layer but for batches of images in single precision on the CPU. There its
    outputs and gradients differ from the plain layer's by a few millionths of their deviation,
    hundreds of times less than in bfloat16.
    """

    def forward(self, maps: Tensor) -> Tensor:
        """Return the convolution of maps [N, C, H, W]."""
        padding = padding_of_layer(self.padding)
        side = tile_side(maps.shape, self.out_channels, padding) if self._may_tile(maps) else None
        if side is None:
            return super().forward(maps)
        found: Tensor = _Tiled.apply(maps, self.weight, padding, side)  # type: ignore[no-untyped-call]
        return found if self.bias is None else found + self.bias.view(-1, 1, 1)

    def _may_tile(self, maps: Tensor) -> bool:
        return (
            maps.ndim == 4
            and maps.device.type == self.weight.device.type == "cpu"
            and maps.dtype == self.weight.dtype == torch.float32
            and not torch.is_autocast_enabled("cpu")
        )


def tile_side(shape: torch.Size, kernels: int, padding: tuple[int, int]) -> int | None:
    """Return how many outputs a tile's side should have, or None where plain is faster.

    It counts what each costs instead of timing it, so that a training is the same every time.

    Args:
        shape: the maps', [N, C, H, W].
        kernels: how many filters.
        padding: rows of zeros above and below, columns of zeros left and right.

    >>> [tile_side(torch.Size((500, 128, n, n)), 256, (1, 1)) for n in (8, 10, 12)]
    [4, 5, 6]
    >>> tile_side(torch.Size((500, 3, 32, 32)), 64, (1, 1)) is None
    True

    """
    batch, channels = shape[:2]
    down, across = outputs_of(shape, padding)
    if batch < 1 or min(down, across) < 1:
        return None
    weights = kernels * channels

    def cost(side: int) -> float:
        tiles = batch * tiles_along(down, side) * tiles_along(across, side)
        moved = tiles * (kernels + channels) + weights
        return (side + KERNEL - 1) ** 2 * (tiles * weights + MOVING * moved)

    # Of equal costs the smaller tile, which errs less.
    best = min(POINTS, key=cost)
    plain = KERNEL**2 * batch * down * across * weights
    return best if cost(best) < WORTH * plain else None


def with_tiles(module: nn.Module) -> nn.Module:
    """Replace every convolution inside *module* that can be tiled by one that is, same tensors.

    They are the dense ones by 3x3 filters of stride 1. Hooks are not taken over.
    """
    for name, child in module.named_children():
        if type(child) is nn.Conv2d and _can_be_tiled(child):
            setattr(module, name, _tiled(child))
        else:
            with_tiles(child)
    return module


def _can_be_tiled(layer: nn.Conv2d) -> bool:
    return (
        layer.kernel_size == (KERNEL, KERNEL)
        and {*layer.stride, *layer.dilation, layer.groups} == {1}
        and layer.padding_mode == "zeros"
    )


def _tiled(layer: nn.Conv2d) -> TiledConv2d:
    # On no device, so that no weights are drawn from anyone's random numbers.
    tiled = TiledConv2d(
        layer.in_channels,
        layer.out_channels,
        KERNEL,
        padding=padding_of_layer(layer.padding),
        bias=layer.bias is not None,
        device="meta",
    )
    tiled.weight, tiled.bias = layer.weight, layer.bias
    return tiled.train(layer.training)


class _Tiled(Function):
    """The convolution of maps [N, C, H, W] by filters [K, C, 3, 3], chunk by chunk of images."""

    @staticmethod
    def forward(
        ctx: Any, maps: Tensor, weight: Tensor, padding: tuple[int, int], side: int
    ) -> Tensor:
        kernels, channels = weight.shape[:2]
        turn_filters = both_ways(side, maps.dtype)[1]
        taps = weight.permute(2, 3, 1, 0).reshape(KERNEL**2, -1)
        filters = (turn_filters @ taps).view(-1, channels, kernels)
        size = outputs_of(maps.shape, padding)
        found = torch.empty(
            (len(maps), kernels, *size), dtype=maps.dtype, memory_format=torch.channels_last
        )
        by_image = found.permute(0, 2, 3, 1)
        for part in _chunks(len(maps), filters, size, side):
            products = torch.bmm(turned_inputs(maps[part], padding, side), filters)
            put_outputs(by_image[part], products, side)
        # The maps are kept anyway, by the rectifier before; their turned tiles would be twice that.
        ctx.save_for_backward(maps, filters)
        ctx.padding, ctx.side = padding, side
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        maps, filters = ctx.saved_tensors
        padding, side = ctx.padding, ctx.side
        to_maps, to_filters, *_ = ctx.needs_input_grad
        of_maps = torch.empty_like(maps, memory_format=torch.channels_last) if to_maps else None
        of_filters = torch.zeros_like(filters) if to_filters else None
        backwards = filters.transpose(1, 2)
        for part in _chunks(len(maps), filters, outputs_of(maps.shape, padding), side):
            of_products = _products_of(gradient[part].permute(0, 2, 3, 1), side)
            if of_filters is not None:
                inputs = turned_inputs(maps[part], padding, side)
                of_filters.baddbmm_(inputs.transpose(1, 2), of_products)
            if of_maps is not None:
                of_inputs = torch.bmm(of_products, backwards)
                added_up = _added_up(of_inputs, maps[part].shape, padding, side)
                of_maps[part] = added_up.permute(0, 3, 1, 2)
        of_weight = None if of_filters is None else _taps_of(of_filters, side)
        return of_maps, of_weight, None, None


def _chunks(batch: int, filters: Tensor, size: tuple[int, int], side: int) -> list[slice]:
    """Return the parts of a batch that are convolved in one go."""
    products, channels, kernels = filters.shape
    tiles = tiles_along(size[0], side) * tiles_along(size[1], side)
    one_image = products * tiles * max(channels, kernels) * filters.itemsize
    at_once = max(1, CHUNK_BYTES // one_image)
    return [slice(begin, begin + at_once) for begin in range(0, batch, at_once)]


def _products_of(gradient: Tensor, side: int) -> Tensor:
    """Return the gradient [(side + 2)², tiles, K] of the products, of the outputs' [B, H, W, K]."""
    batch, down, across, kernels = gradient.shape
    rows, columns = tiles_along(down, side), tiles_along(across, side)
    if (rows * side, columns * side) != (down, across):
        beyond = (0, 0, 0, columns * side - across, 0, rows * side - down)
        gradient = functional.pad(gradient, beyond)
    blocks = gradient.reshape(batch, rows, side, columns, side, kernels)
    by_place = blocks.permute(2, 4, 0, 1, 3, 5).reshape(side * side, -1)
    turn_outputs = both_ways(side, gradient.dtype)[0]
    return (turn_outputs.T @ by_place).view(turn_outputs.shape[1], -1, kernels)


def _taps_of(of_filters: Tensor, side: int) -> Tensor:
    """Return the gradient [K, C, 3, 3] of the filters, of that of the turned ones."""
    turn_filters = both_ways(side, of_filters.dtype)[1]
    taps = turn_filters.T @ of_filters.view(len(of_filters), -1)
    return taps.view(KERNEL, KERNEL, *of_filters.shape[1:]).permute(3, 2, 0, 1)


def _added_up(of_inputs: Tensor, shape: torch.Size, padding: tuple[int, int], side: int) -> Tensor:
    """Return the gradient [B, H, W, C] of maps of *shape*, of their turned tiles' gradient.

    Neighbouring tiles share two rows or columns, whose gradients are added.
    """
    batch, channels = shape[:2]
    tile = side + KERNEL - 1
    rows, columns = (tiles_along(length, side) for length in outputs_of(shape, padding))
    turn_inputs = both_ways(side, of_inputs.dtype)[2]
    turned = turn_inputs.T @ of_inputs.view(len(of_inputs), -1)
    tiles = turned.view(tile, tile, batch, rows, columns, channels)
    whole = tiles.new_zeros(batch, rows + 1, side, columns + 1, side, channels)
    by_place = whole.permute(2, 4, 0, 1, 3, 5)  # [side, side, B, rows + 1, columns + 1, C]
    shared = slice(KERNEL - 1)
    by_place[:, :, :, :-1, :-1] = tiles[:side, :side]
    by_place[shared, :, :, 1:, :-1] += tiles[side:, :side]
    by_place[:, shared, :, :-1, 1:] += tiles[:side, side:]
    by_place[shared, shared, :, 1:, 1:] += tiles[side:, side:]
    padded = whole.view(batch, (rows + 1) * side, (columns + 1) * side, channels)
    top, left = padding
    return padded[:, top : top + shape[2], left : left + shape[3]]
