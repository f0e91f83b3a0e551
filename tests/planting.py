"""Faults planted in trained networks, so that a diagnosis can be checked against the truth."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor, nn

KILLED, COPIED, FACTOR, EXPLODED = 0.3, 0.1, 50.0, 1e4
POOLS = nn.MaxPool2d, nn.AdaptiveMaxPool2d


@dataclass(frozen=True)
class Planted:
    """A network with one fault.

    kind: what the diagnosis should call it
    layer: the convolution's name
    channels: which of its channels
    how: what was done
    """

    module: nn.Module
    kind: str
    layer: str
    channels: tuple[int, ...]
    how: str


def plant(module: nn.Module, fault: str, seed: int) -> Planted:
    """Return a copy of a network with a fault in a layer and in channels that the seed picks."""
    generator = torch.Generator().manual_seed(seed)
    module = copy.deepcopy(module)
    parts = list(module.named_modules())
    names = [name for name, part in parts if isinstance(part, nn.Conv2d)]
    if fault == "negated":  # the largest of negated values is no negated largest value
        pooled = {name for (name, _), (_, behind) in pairwise(parts) if isinstance(behind, POOLS)}
        names = [name for name in names if name not in pooled]
    name = names[int(torch.randint(len(names), (1,), generator=generator))]
    with torch.no_grad():
        return FAULTS[fault](module, name, generator)


def _kill(module: nn.Module, name: str, generator: torch.Generator) -> Planted:
    convolution = module.get_submodule(name)
    norm = norm_behind(module, name)
    channels = _some(convolution, KILLED, generator)
    ways = ["filters of zeros", "a bias far below zero"] + ["batch norm's scale of zero"] * bool(
        norm
    )
    how = ways[int(torch.randint(len(ways), (1,), generator=generator))]
    if how == "filters of zeros":
        convolution.weight[channels] = 0
        if convolution.bias is not None:
            convolution.bias[channels] = 0
    elif how == "batch norm's scale of zero":
        norm.weight[channels] = 0
    elif norm is not None:
        norm.bias[channels] = -20 * norm.weight.abs().max()
    else:
        convolution.bias[channels] = -1e4
    return Planted(module, "dead units", name, tuple(channels.tolist()), how)


def _duplicate(module: nn.Module, name: str, generator: torch.Generator) -> Planted:
    """Copy some filters, with a thousandth of noise, over others, with all that belongs to them."""
    convolution = module.get_submodule(name)
    norm = norm_behind(module, name)
    chosen = _some(convolution, 2 * COPIED, generator, shuffled=True)
    count = len(chosen) // 2
    originals, copies = chosen[:count], chosen[count : 2 * count]
    for part in (convolution, norm):
        if part is None:
            continue
        for values in part.state_dict(keep_vars=True).values():
            if values.dim():
                values.data[copies] = values.data[originals]
    weight = convolution.weight.data
    noise = torch.randn(weight[copies].shape, generator=generator)
    weight[copies] += 1e-3 * weight.std() * noise
    channels = tuple(sorted([*originals.tolist(), *copies.tolist()]))
    return Planted(module, "duplicate filters", name, channels, f"{count} copies")


def _negate(module: nn.Module, name: str, generator: torch.Generator) -> Planted:
    """Copy some filters over others, their kernels negated and the norm's scale as well."""
    planted = _duplicate(module, name, generator)
    convolution, norm = module.get_submodule(name), norm_behind(module, name)
    if norm is None:
        return planted
    copies = list(planted.channels[1::2])
    values = [convolution.weight, norm.weight, norm.running_mean]
    for tensor in values if convolution.bias is None else [*values, convolution.bias]:
        tensor.data[copies] *= -1
    return replace(planted, how=f"{planted.how}, negated twice")


def _explode(module: nn.Module, name: str, generator: torch.Generator) -> Planted:
    """Enlarge the scale of a whole norm, or without one the layer's weights."""
    norm = norm_behind(module, name)
    (module.get_submodule(name) if norm is None else norm).weight *= EXPLODED
    return Planted(module, "exploding layer", name, (), f"times {EXPLODED:g}")


def _scale(module: nn.Module, name: str, generator: torch.Generator) -> Planted:
    convolution = module.get_submodule(name)
    channel = int(torch.randint(convolution.out_channels, (1,), generator=generator))
    convolution.weight[channel] *= FACTOR
    return Planted(module, "dominating filter", name, (channel,), f"times {FACTOR:g}")


FAULTS: dict[str, Callable[[nn.Module, str, torch.Generator], Planted]] = {
    "killed": _kill,
    "duplicated": _duplicate,
    "negated": _negate,
    "exploded": _explode,
    "scaled": _scale,
}


def norm_behind(module: nn.Module, name: str) -> nn.BatchNorm2d | None:
    """Return the first batch norm after a convolution in the order of the modules."""
    found = False
    for own, part in module.named_modules():
        if found and isinstance(part, nn.Conv2d):
            return None
        if found and isinstance(part, nn.BatchNorm2d):
            return part
        found = found or own == name
    return None


def _some(
    convolution: nn.Conv2d, share: float, generator: torch.Generator, shuffled: bool = False
) -> Tensor:
    count = max(2, round(share * convolution.out_channels))
    chosen = torch.randperm(convolution.out_channels, generator=generator)[:count]
    return chosen if shuffled else chosen.sort().values
