"""Convolutions that learn faster on a CPU: Winograd's method, forwards and back."""

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
    outputs_from,
    outputs_of,
    padding_of_layer,
    tiles_along,
    turned_inputs,
)

MOVING = 75
"""How many multiplications take as long as turning one number, forwards and back, as measured."""

CHUNK_BYTES = 2**23
"""What one tensor of turned tiles may take, unless a single image's do: more would leave the
processor's caches."""


class TiledConv2d(nn.Conv2d):
    """:class:`torch.nn.Conv2d` with 3x3 filters that learns by Winograd's method where that pays.

    In evaluation it is the plain layer. In training, in single precision, its outputs and gradients
    differ from the plain layer's by some 1e-6 of their deviation, a thousandth of what bfloat16
    does.
    """

    def forward(self, maps: Tensor) -> Tensor:
        """Return the convolution of maps [N, C, H, W]."""
        padding = padding_of_layer(self.padding)
        side = tile_side(maps.shape, self.out_channels, padding) if self.training else None
        if side is None:
            return super().forward(maps)
        found: Tensor = _Tiled.apply(maps, self.weight, padding, side)  # type: ignore[no-untyped-call]
        return found if self.bias is None else found + self.bias.view(-1, 1, 1)


def tile_side(shape: torch.Size, kernels: int, padding: tuple[int, int]) -> int | None:
    """Return how many outputs a tile's side should have, or None where plain is faster.

    Args:
        shape: the maps', [N, C, H, W].
        kernels: how many filters.
        padding: rows of zeros above and below, columns of zeros left and right.

    >>> [tile_side(torch.Size((9, 128, n, n)), 256, (1, 1)) for n in (8, 10, 12)]
    [4, 5, 6]
    >>> tile_side(torch.Size((9, 3, 32, 32)), 64, (1, 1)) is None
    True

    """
    down, across = outputs_of(shape, padding)
    channels = shape[1]
    one_product = kernels * channels + MOVING * (kernels + channels)

    def cost(side: int) -> int:
        tiles = tiles_along(down, side) * tiles_along(across, side)
        return (side + KERNEL - 1) ** 2 * tiles * one_product

    # Of equal costs the smaller tile, which errs less.
    best = min(POINTS, key=cost)
    plain = KERNEL**2 * down * across * kernels * channels
    return best if cost(best) < WORTH * plain else None


def with_tiles(module: nn.Module) -> nn.Module:
    """Replace every convolution inside *module* that can be tiled by one that is, same tensors.

    They are the dense ones by 3x3 filters of stride 1.
    """
    for name, child in module.named_children():
        if type(child) is nn.Conv2d and _can_be_tiled(child):
            tiled = TiledConv2d(
                child.in_channels,
                child.out_channels,
                KERNEL,
                padding=padding_of_layer(child.padding),
                bias=child.bias is not None,
            )
            tiled.weight, tiled.bias = child.weight, child.bias
            setattr(module, name, tiled)
        else:
            with_tiles(child)
    return module


def _can_be_tiled(layer: nn.Conv2d) -> bool:
    return (
        layer.kernel_size == (KERNEL, KERNEL)
        and {*layer.stride, *layer.dilation, layer.groups} == {1}
        and layer.padding_mode == "zeros"
    )


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
        found = maps.new_empty(len(maps), *size, kernels)
        kept = []
        for part in _chunks(len(maps), filters, size, side):
            inputs = turned_inputs(maps[part], padding, side)
            products = torch.bmm(inputs, filters)
            found[part] = outputs_from(products, len(maps[part]), size, side)
            kept.append(inputs)
        ctx.save_for_backward(filters, *kept)
        ctx.padding, ctx.side, ctx.shape = padding, side, maps.shape
        return found.permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, None, None]:
        filters, *kept = ctx.saved_tensors
        padding, side, shape = ctx.padding, ctx.side, ctx.shape
        _, channels, kernels = filters.shape
        size = outputs_of(shape, padding)
        of_filters = torch.zeros_like(filters)
        of_maps = None
        if ctx.needs_input_grad[0]:
            of_maps = gradient.new_empty(len(gradient), *shape[2:], channels)
        backwards = filters.transpose(1, 2)
        chunks = _chunks(len(gradient), filters, size, side)
        for part, inputs in zip(chunks, kept, strict=True):
            of_products = _products_of(gradient[part].permute(0, 2, 3, 1), side)
            of_filters.baddbmm_(inputs.transpose(1, 2), of_products)
            if of_maps is not None:
                of_inputs = torch.bmm(of_products, backwards)
                of_maps[part] = _added_up(of_inputs, len(gradient[part]), shape, padding, side)
        turn_filters = both_ways(side, gradient.dtype)[1]
        taps = (turn_filters.T @ of_filters.view(len(of_filters), -1)).view(3, 3, channels, kernels)
        whole = None if of_maps is None else of_maps.permute(0, 3, 1, 2)
        return whole, taps.permute(3, 2, 0, 1), None, None


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


def _added_up(
    of_inputs: Tensor, batch: int, shape: torch.Size, padding: tuple[int, int], side: int
) -> Tensor:
    """Return the gradient [B, H, W, C] of maps of *shape*, of their turned tiles' gradient.

    Neighbouring tiles share two rows or columns, whose gradients are added.
    """
    channels = of_inputs.shape[2]
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
