"""Randomised weights: the layers of a network re-initialised, from the top downwards.

Adebayo et al., Sanity checks for saliency maps (arXiv 1810.03292), sec. 3.1: a picture that claims
to show what a network learned must change when what was learned is taken away.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from convscope.network.constants import learned_constants
from convscope.network.graph import Graph


@dataclass(frozen=True)
class Stage:
    """One layer with weights, or several that share theirs.

    Attributes:
        name: the name of its last use in the network.
        steps: the steps of the graph that read these weights, the last first.
    """

    name: str
    steps: tuple[int, ...]


def stages_of(graph: Graph, *starts: int) -> list[Stage]:
    """Return the layers with weights that *starts* depend on, the topmost first."""
    found: list[tuple[list[int], list[nn.Parameter]]] = []
    for index in sorted(graph.needed_for(starts), reverse=True):
        step = graph.steps[index]
        if not learned_constants(step):
            continue
        for steps, parameters in found:
            if any(one is other for one in parameters for other in step.parameters):
                steps.append(index)
                parameters.extend(step.parameters)
                break
        else:
            found.append(([index], list(step.parameters)))
    return [Stage(graph.steps[steps[0]].name, tuple(steps)) for steps, _ in found]


def draw(weights: Tensor, generator: torch.Generator) -> Tensor:
    """Return normal values of the mean and standard deviation that *weights* have.

    A single number, or a tensor whose values are all equal, stays what it is.
    """
    deviation, mean = torch.std_mean(weights.detach(), correction=0)
    noise = torch.randn(weights.shape, generator=generator, dtype=torch.float32).to(weights)
    return noise.mul_(deviation).add_(mean)


def draw_centred(weights: Tensor, generator: torch.Generator) -> Tensor:
    """Return normal values of mean zero for a kernel or matrix, as initialisers make them.

    Biases, and the scales and shifts of norms, are drawn by :func:`draw`.
    """
    drawn = draw(weights, generator)
    return drawn if weights.dim() < 2 else drawn.sub_(weights.detach().mean())


def permute(weights: Tensor, generator: torch.Generator) -> Tensor:
    """Return the same values in another order."""
    order = torch.randperm(weights.numel(), generator=generator).to(weights.device)
    return weights.detach().flatten()[order].view(weights.shape)


INITIALISATIONS: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "centred": draw_centred,
    "draw": draw,
    "permute": permute,
}
"""How weights are re-initialised: a fresh normal draw with each tensor's own standard deviation,
with mean zero for kernels or with the tensor's own mean, or its own values in another order."""


def randomised(
    graph: Graph, stages: list[Stage], init: str, seed: int
) -> list[dict[Tensor, Tensor]]:
    """Return, for each stage, its tensors and what takes their place.

    Each stage has a generator of its own, so that its weights do not depend on the other stages.
    Steps that compute their weights from the same parameters get the same ones.
    """
    make = INITIALISATIONS[init]
    found = []
    for place, stage in enumerate(stages):
        generator = torch.Generator().manual_seed(1_000_003 * seed + place)
        made: dict[tuple[str, torch.Size], Tensor] = {}
        replaced: dict[Tensor, Tensor] = {}
        for index in stage.steps:
            for name, weights in learned_constants(graph.steps[index]).items():
                key = (name, weights.shape)
                if key not in made:
                    made[key] = make(weights, generator)
                replaced[weights] = made[key]
        found.append(replaced)
    return found
