"""Filters in pairs, each the other's mirror image: a picture and its mirror image look alike.

The first half of each layer's channels sees a picture as the second half sees its mirror image
(T. Cohen and M. Welling, arXiv 1602.07576, for the group of a mirror alone). What is learned of
one is known of the other, at no cost, with half of the values to learn.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

IMAGE_CHANNELS = 3
"""An image's colours, which are in no pairs; that their number is odd tells them from channels."""


def twin(layer: nn.Module, tensor: Tensor) -> Tensor:
    """Return what *tensor* would be, had its layer seen all pictures mirrored.

    Args:
        layer: a convolution, a batch norm or a linear layer.
        tensor: its weight, bias or running statistics, or the gradient of one.

    Returns:
        A tensor of the same shape, whose own twin is *tensor*.

    >>> norm = nn.BatchNorm2d(4)
    >>> twin(norm, torch.tensor([1, 2, 3, 4])).tolist()
    [3, 4, 1, 2]

    """
    if isinstance(layer, nn.Linear):
        return _exchanged(tensor, 1) if tensor.ndim == 2 else tensor
    exchanged = _exchanged(tensor, 0)
    if tensor.ndim < 4:
        return exchanged
    if tensor.shape[1] != IMAGE_CHANNELS:
        exchanged = _exchanged(exchanged, 1)
    return exchanged.flip(3)


@torch.no_grad()
def pair_up(network: nn.Module) -> None:
    """Make the second half of every layer's channels the mirror image of the first."""
    for layer, tensor in _tensors(network):
        half = tensor.shape[_axis(layer)] // 2
        second = twin(layer, tensor).narrow(_axis(layer), half, half)
        tensor.narrow(_axis(layer), half, half).copy_(second)


@torch.no_grad()
def pair_gradients(network: nn.Module) -> None:
    """Give both of a pair the mean of their gradients, as if they were one filter."""
    for layer, tensor in _tensors(network):
        if tensor.grad is not None:
            tensor.grad.add_(twin(layer, tensor.grad)).mul_(0.5)


@torch.no_grad()
def pair_weights(network: nn.Module) -> None:
    """Take the mean of every pair, which rounding or a batch's statistics have moved apart."""
    for layer, tensor in _tensors(network):
        tensor.add_(twin(layer, tensor)).mul_(0.5)


def _exchanged(tensor: Tensor, axis: int) -> Tensor:
    """Return *tensor* with each channel of a pair in the other's place."""
    return tensor.roll(tensor.shape[axis] // 2, axis)


def _axis(layer: nn.Module) -> int:
    """Return the axis of a layer's tensors on which pairs lie."""
    return 1 if isinstance(layer, nn.Linear) else 0


def _tensors(network: nn.Module) -> Iterator[tuple[nn.Module, Tensor]]:
    """Yield all that is in pairs, with its layer."""
    for layer in network.modules():
        if isinstance(layer, nn.Linear):
            yield layer, layer.weight
        elif isinstance(layer, (nn.Conv2d, nn.BatchNorm2d)):
            for tensor in (*layer.parameters(recurse=False), *layer.buffers(recurse=False)):
                if tensor.ndim:
                    yield layer, tensor
