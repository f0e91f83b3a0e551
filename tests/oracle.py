"""A slow account of how each operation reverses, in float64, sharing no code with convscope.

Linear operations are written out as matrices, one column a unit input, and transposed. Pooling is
undone by loops over its windows. Rectifiers have their derivatives written by hand.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def reverse_linear(function, signal: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Transpose a linear (or affine) function of one image of *shape*, column by column."""
    count = math.prod(shape)
    offset = function(torch.zeros(1, *shape, dtype=torch.float64))
    columns = function(torch.eye(count, dtype=torch.float64).view(count, *shape)) - offset
    return (columns.reshape(count, -1) @ signal.reshape(-1)).view(shape)


def reverse_convolution(signal: Tensor, weight: Tensor, shape, stride, padding, dilation, groups):
    """Transposed convolution with the same weights, onto an input of *shape* (C, H, W)."""
    reached = [
        (signal.shape[1 + i] - 1) * stride[i] - 2 * padding[i]
        + dilation[i] * (weight.shape[2 + i] - 1) + 1
        for i in (0, 1)
    ]  # fmt: skip
    missed = [shape[1 + i] - reached[i] for i in (0, 1)]
    return F.conv_transpose2d(
        signal[None], weight, None, stride, padding, missed, groups, dilation
    )[0]


def reverse_max_pool(signal: Tensor, image: Tensor, kernel, stride, padding, dilation) -> Tensor:
    """Put each value where the first largest input of its window stands, adding up overlaps."""
    result = torch.zeros_like(image)
    channels, height, width = image.shape
    for c in range(channels):
        for i in range(signal.shape[1]):
            for j in range(signal.shape[2]):
                best, place = -math.inf, None
                for a in range(kernel[0]):
                    for b in range(kernel[1]):
                        row = i * stride[0] - padding[0] + a * dilation[0]
                        column = j * stride[1] - padding[1] + b * dilation[1]
                        inside = 0 <= row < height and 0 <= column < width
                        if inside and image[c, row, column] > best:
                            best, place = image[c, row, column], (row, column)
                result[c][place] += signal[c, i, j]
    return result


def normal_density(x: Tensor) -> Tensor:
    return torch.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)


def logistic(x: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-x))


SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772

DERIVATIVES = {
    "relu": lambda x: (x > 0).double(),
    "relu6": lambda x: ((x > 0) & (x < 6)).double(),
    "hardtanh": lambda x: ((x > -1) & (x < 1)).double(),
    "clamp 0 to 1": lambda x: ((x >= 0) & (x <= 1)).double(),
    "clamp_min": lambda x: (x >= 0).double(),
    "threshold": lambda x: (x > 0.1).double(),
    "leaky_relu": lambda x: 0.2 + 0.8 * (x > 0).double(),
    "rrelu": lambda x: torch.where(x > 0, torch.ones_like(x), (1 / 8 + 1 / 3) / 2),
    "prelu": lambda x: 0.3 + 0.7 * (x > 0).double(),
    "elu": lambda x: torch.where(x > 0, 1.0, torch.exp(x)),
    "celu": lambda x: torch.where(x > 0, 1.0, torch.exp(x / 2)),
    "selu": lambda x: SELU_SCALE * torch.where(x > 0, 1.0, SELU_ALPHA * torch.exp(x)),
    "gelu": lambda x: 0.5 * (1 + torch.erf(x / math.sqrt(2))) + x * normal_density(x),
    "silu": lambda x: logistic(x) * (1 + x * (1 - logistic(x))),
    "hardswish": lambda x: torch.where(x < -3, 0.0, torch.where(x > 3, 1.0, (2 * x + 3) / 6)),
    "mish": lambda x: (
        torch.tanh(torch.log1p(torch.exp(x)))
        + x * logistic(x) / torch.cosh(torch.log1p(torch.exp(x))) ** 2
    ),
    "softplus": logistic,
}


def reverse_rectifier(rule: str, name: str, signal: Tensor, value: Tensor) -> Tensor:
    """What each rule says at a rectifier, from its paper."""
    derivative = DERIVATIVES[name](value)
    if rule == "deconvnet":  # Zeiler & Fergus sec. 2.1: the signal itself is rectified
        return torch.relu(signal)
    if rule == "guided":  # Springenberg et al. sec. 3.4: both masks at once
        return torch.relu(signal) * torch.relu(derivative)
    return signal * derivative
