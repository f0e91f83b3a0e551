"""Winograd's convolution: 3x3 filters over tiles of outputs with a fraction of the products.

For tiles of 4x4 outputs it is a quarter: 6x6 inputs and a filter are each turned into 36 numbers,
whose products are turned back into the outputs, 36 products instead of 144 (A. Lavin and S. Gray,
arXiv 1509.09308). Over many channels the products are 36 matrix products, and turning costs little
beside them.

Turning adds and subtracts what lies in a tile, so an output errs by a share of the largest input
of its tile, not only of those that it reads; see :func:`is_even`.
"""

import math
from dataclasses import dataclass
from functools import cache
from threading import Lock

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from convscope.network.calls import Call, Input
from convscope.network.ops.base import pair, with_arguments

Floats = npt.NDArray[np.float64]

KERNEL, OUTPUTS = 3, 4
TILE = OUTPUTS + KERNEL - 1
PRODUCTS = TILE * TILE

POINTS = (0.0, 0.625, -0.625, 1.5, -1.5)
"""Where the polynomials behind the method are evaluated, besides infinity. In single precision
these err by 1e-6 of the outputs' deviation, half as much as the usual 0, 1, -1, 2, -2, and the
plain convolution by 2e-7; B. Barabasz et al., arXiv 1803.10986, tell why."""

MOVING = 100
"""How many multiplications take as long as turning one number, which goes through memory twice."""

WORTH = 0.85
"""The share of the plain convolution's time that it must promise to take at most."""

FEWEST_TILES = 4
"""Tiles from which the 36 matrix products run faster than one plain convolution."""

CHUNK_BYTES = 2**23
"""What one tensor of turned tiles may take, unless a single image's do: more would leave the
processor's caches."""

FILTERS_AT_ONCE = 2**14
"""How many filters' channels are turned at once, in double precision: what stays in the caches."""

FEWEST_WINDOWS = 24
"""Windows of a step from which its filters are worth being made ready for the way up."""

LARGEST = 300.0
"""How many times the mean magnitude of maps their largest value may be."""


@cache
def transforms() -> tuple[Floats, Floats, Floats]:
    """Return the matrices that turn rows of outputs, of filters and of inputs.

    They are [4, 6], [6, 3] and [6, 6], A', G and B' in Lavin and Gray's names: of six inputs d and
    a filter g, the four outputs are A' ((G g) * (B' d)).

    >>> outputs, filters, inputs = transforms()
    >>> found = outputs @ ((filters @ [1.0, 10, 100]) * (inputs @ [1.0, 2, 3, 4, 5, 6]))
    >>> found.round(6).tolist()
    [321.0, 432.0, 543.0, 654.0]
    """
    outputs, filters = np.zeros((OUTPUTS, TILE)), np.zeros((TILE, KERNEL))
    inputs = np.zeros((TILE, TILE))
    for row, point in enumerate(POINTS):
        # A polynomial of degree five is known by its values at five points and its highest power:
        # outputs and filters are evaluated there, and Lagrange's basis brings products back.
        others = [other for other in POINTS if other != point]
        outputs[:, row] = point ** np.arange(OUTPUTS)
        # The basis's denominators go with the filters, which are turned only once.
        filters[row] = point ** np.arange(KERNEL) / np.prod(np.subtract(point, others))
        # A convolution as networks have it is a product of polynomials transposed, inputs and
        # outputs exchanged. So the matrix that would evaluate a factor gives the outputs, and
        # Lagrange's basis turns the inputs.
        inputs[row, :-1] = np.poly(others)[::-1]
    # The point at infinity: the highest power alone.
    outputs[-1, -1] = filters[-1, -1] = 1
    inputs[-1] = np.poly(POINTS)[::-1]
    return outputs, filters, inputs


@cache
def both_ways(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Return those that turn whole tiles: outputs [16, 36], filters [36, 9], inputs [36, 36]."""
    # A tile is turned along its rows and along its columns. With its numbers in a row, one product
    # by the Kronecker square does both.
    return tuple(torch.from_numpy(np.kron(m, m)).to(dtype) for m in transforms())  # type: ignore[return-value]


@dataclass(frozen=True, eq=False)
class WinogradConvolution:
    """A convolution whose filters are turned already.

    Attributes:
        filters: [36, C, K], from C channels to K.
        bias: [K], or None.
    """

    filters: Tensor
    bias: Tensor | None

    @classmethod
    def of(cls, weight: Tensor, bias: Tensor | None) -> "WinogradConvolution":
        """Turn filters [K, C, 3, 3], float32, on the CPU.

        They take four times the room of the plain ones.
        """
        # In double precision, as this is done once and its error would be in every output.
        _, both, _ = both_ways(torch.float64)
        taps = weight.detach().permute(2, 3, 1, 0).reshape(KERNEL**2, -1)
        turned = taps.new_empty(PRODUCTS, taps.shape[1])
        for begin in range(0, taps.shape[1], FILTERS_AT_ONCE):
            part = slice(begin, begin + FILTERS_AT_ONCE)
            turned[:, part] = both @ taps[:, part].double()
        return cls(turned.view(PRODUCTS, weight.shape[1], weight.shape[0]), bias)

    @torch.no_grad()
    def run(self, maps: Tensor, padding: tuple[int, int]) -> Tensor:
        """Return the convolution of maps.

        Args:
            maps: [B, C, H, W], float32; fastest in channels_last.
            padding: rows of zeros above and below, columns of zeros left and right.

        Returns:
            [B, K, H + 2 * padding[0] - 2, W + 2 * padding[1] - 2], in channels_last.
        """
        batch = len(maps)
        down, across = outputs_of(maps.shape, padding)
        _, channels, kernels = self.filters.shape
        found = maps.new_empty(batch, down, across, kernels)
        one_image = PRODUCTS * tiles_along(down) * tiles_along(across) * max(channels, kernels)
        # Tiles take no more than the filters, which whoever made them had the memory for.
        room = min(CHUNK_BYTES, self.filters.nbytes)
        at_once = max(1, room // (one_image * maps.itemsize))
        for begin in range(0, batch, at_once):
            part = slice(begin, begin + at_once)
            products = torch.bmm(turned_inputs(maps[part], padding), self.filters)
            put_outputs(found[part], products)
        if self.bias is not None:
            found += self.bias
        return found.permute(0, 3, 1, 2)


class TurnedFilters:
    """Filters of convolutions ready for many walks, which share them, and threads.

    What these give on the way down serves to be looked at: an output errs by a millionth of the
    largest signal of its tile, which is nothing beside a grey, but may be much beside a faint
    signal.

    Args:
        room: bytes that they may take.
    """

    def __init__(self, room: int) -> None:
        self.room = room
        self._ready: dict[tuple[int, bool], WinogradConvolution | None] = {}
        self._met: dict[int, int] = {}
        self._lock = Lock()

    def convolved(self, index: int, call: Call, maps: Tensor) -> Tensor | None:
        """Return the convolution of windows on their way up, [B, C, H, W].

        Args:
            index: of the step, which the filters are kept by.
            call: the convolution.
            maps: what it reads.

        Returns:
            None where the plain one is faster, or errs less, or there is no room.
        """
        if not (is_suited(call) and pays(call, maps.shape)):
            return None
        if (index, False) not in self._ready:
            # Getting them ready takes as long as some windows, so it waits until a step has met
            # those; where windows come one by one, no two steps keep the same one waiting.
            self._met[index] = self._met.get(index, 0) + len(maps)
            if self._met[index] < FEWEST_WINDOWS + len(self._ready):
                return None
        ready = self._of(index, call) if is_even(maps) else None
        return None if ready is None else ready.run(maps, padding_of(call))

    def reversed(self, index: int, call: Call, signal: Tensor) -> Tensor | None:
        """Return the transposed convolution of a signal, [B, K, H, W], as [B, C, H + 2, W + 2].

        Args:
            index: of the step, which the filters are kept by.
            call: the convolution.
            signal: where its outputs are.

        Returns:
            None where the plain one is faster, or there is no room.
        """
        # Whatever the call pads: a window's signal comes down with the padding that it read.
        around = [KERNEL - 1, KERNEL - 1]
        if not is_suited(call) or not pays(with_arguments(call, padding=around), signal.shape):
            return None
        ready = self._of(index, call, down=True)
        return None if ready is None else ready.run(signal, (KERNEL - 1, KERNEL - 1))

    def _of(self, index: int, call: Call, down: bool = False) -> WinogradConvolution | None:
        """Return a step's convolution with its filters ready, if there is room for them."""
        with self._lock:
            if (index, down) not in self._ready:
                weight, bias = call.arguments["weight"], call.arguments["bias"]
                if down:
                    # The transpose of a 3x3 convolution is one with its kernels turned round and
                    # its channels exchanged, over the signal with two zeros around it.
                    weight, bias = weight.flip(2, 3).transpose(0, 1), None
                needed = bytes_needed(call)
                fits = needed <= self.room
                self.room -= needed if fits else 0
                self._ready[index, down] = WinogradConvolution.of(weight, bias) if fits else None
            return self._ready[index, down]


def turned_inputs(maps: Tensor, padding: tuple[int, int]) -> Tensor:
    """Cut maps [B, C, H, W] into tiles that give 4x4 outputs each, and turn them.

    Returns:
        [36, tiles, C], the tiles image by image, row by row.
    """
    batch, channels, height, width = maps.shape
    down, across = outputs_of(maps.shape, padding)
    rows = OUTPUTS * tiles_along(down) + KERNEL - 1
    columns = OUTPUTS * tiles_along(across) + KERNEL - 1
    top, left = padding
    # PyTorch's own padding writes all of it twice.
    padded = maps.new_empty(batch, rows, columns, channels).permute(0, 3, 1, 2)
    padded[:, :, :top] = 0
    padded[:, :, top + height :] = 0
    padded[:, :, top : top + height, :left] = 0
    padded[:, :, top : top + height, left + width :] = 0
    padded[:, :, top : top + height, left : left + width] = maps
    tiles = padded.unfold(2, TILE, OUTPUTS).unfold(3, TILE, OUTPUTS)  # [B, C, rows, columns, 6, 6]
    # The 36 numbers of a tile come first, so that turning all tiles is one matrix product, and what
    # it gives are 36 matrices of tiles by channels, ready to be multiplied with the filters'.
    by_place = tiles.permute(4, 5, 0, 2, 3, 1).reshape(PRODUCTS, -1)
    return (both_ways(maps.dtype)[2] @ by_place).view(PRODUCTS, -1, channels)


def put_outputs(found: Tensor, products: Tensor) -> None:
    """Turn products [36, tiles, K] into outputs, written to *found*, [B, H, W, K]."""
    batch, down, across, kernels = found.shape
    rows, columns = tiles_along(down), tiles_along(across)
    outputs = both_ways(products.dtype)[0] @ products.view(len(products), -1)
    blocks = outputs.view(OUTPUTS, OUTPUTS, batch, rows, columns, kernels)
    blocks = blocks.permute(2, 3, 0, 4, 1, 5)
    # Where no tile sticks out, one pass through memory writes all; else the rest is cut off first.
    if (rows * OUTPUTS, columns * OUTPUTS) == (down, across):
        found.view(blocks.shape).copy_(blocks)
    else:
        whole = blocks.reshape(batch, rows * OUTPUTS, columns * OUTPUTS, kernels)
        found.copy_(whole[:, :down, :across])


def padding_of(call: Call) -> tuple[int, int]:
    """Return the rows and columns of zeros on each side that a suited call pads with."""
    padding = call.arguments["padding"]
    if isinstance(padding, str):
        padding = (KERNEL - 1) // 2 if padding == "same" else 0
    rows, columns = pair(padding)
    return rows, columns


def outputs_of(shape: torch.Size, padding: tuple[int, int]) -> tuple[int, int]:
    """Return the rows and columns of a 3x3 convolution's outputs, given its input's shape."""
    down, across = shape[2:]
    return down + 2 * padding[0] - KERNEL + 1, across + 2 * padding[1] - KERNEL + 1


def is_suited(call: Call) -> bool:
    """Tell whether a call is a convolution that can be done so.

    That is one of images by fixed 3x3 filters, dense, in single precision, on the CPU.
    """
    if call.name != "conv2d":
        return False
    arguments = call.arguments
    weight, bias = arguments["weight"], arguments["bias"]
    return (
        arguments["input"] == Input(0)
        and len(call.input_shapes[0]) == 4  # PyTorch also convolves an image without a batch
        and isinstance(weight, Tensor)
        and (bias is None or isinstance(bias, Tensor))
        and weight.shape[2:] == (KERNEL, KERNEL)
        and weight.dtype == torch.float32
        and weight.device.type == "cpu"
        and {*pair(arguments["stride"]), *pair(arguments["dilation"]), arguments["groups"]} == {1}
    )


def is_even(maps: Tensor) -> bool:
    """Tell whether maps have no value so large that its tile's other outputs drown beside it.

    >>> maps = torch.ones(1, 2, 100, 100)
    >>> before = is_even(maps)
    >>> maps[0, 0, 50, 50] = 1e6
    >>> before, is_even(maps)
    (True, False)
    """
    values = maps.permute(0, 2, 3, 1).reshape(-1)  # as they lie in memory
    # PyTorch's norm of order infinity takes ten times as long.
    # A NaN anywhere makes both of them NaN, which is not finite: the plain convolution keeps it at
    # its place, where turning would spread it over a tile.
    low, high = map(float, torch.aminmax(values))
    largest = max(-low, high)
    mean = float(values.abs().sum()) / len(values)
    return math.isfinite(largest) and largest <= LARGEST * mean


def bytes_needed(call: Call) -> int:
    """Return how much room the turned filters of a suited call take."""
    weight: Tensor = call.arguments["weight"]
    return weight.nbytes * PRODUCTS // KERNEL**2


def pays(call: Call, shape: torch.Size) -> bool:
    """Tell whether it is faster than the plain convolution on maps of *shape*, [B, C, H, W].

    Its tiles may stick out, and turning them costs more, in proportion, the fewer the channels.
    The filters are taken as turned already.
    """
    kernels, channels = call.arguments["weight"].shape[:2]
    down, across = outputs_of(shape, padding_of(call))
    tiles = tiles_along(down) * tiles_along(across)
    plain = KERNEL**2 * down * across * kernels * channels
    # For each of a tile's 36 numbers: its products, and turning it in for each input channel and
    # out for each output channel.
    turned = kernels * channels + MOVING * (kernels + channels)
    return shape[0] * tiles >= FEWEST_TILES and bool(PRODUCTS * tiles * turned < WORTH * plain)


def tiles_along(outputs: int) -> int:
    """Return how many tiles of four outputs cover so many."""
    return -(-outputs // OUTPUTS)
