"""The kept walk: one image that went up a network once, and its ways down from what was kept."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from convscope.methods.project import Request, descended
from convscope.methods.projection import Projection
from convscope.network import Network
from convscope.network.graph import Graph
from convscope.network.walk import Ascent, ascend

RULES_KEPT = 4
"""For how many rules at most what they want on the way down is kept."""


class _Maps(dict[int, Tensor]):
    """Maps of one image by their steps; one that was not kept is made of those that it reads."""

    def __init__(self, graph: Graph, kept: Mapping[int, Tensor]) -> None:
        super().__init__(kept)
        self.graph = graph

    @torch.no_grad()
    def __missing__(self, index: int) -> Tensor:
        step = self.graph.steps[index]
        self[index] = step.call.run([self[source] for source in step.inputs], 1)
        return self[index]


class KeptWalk:
    """One image's walk up, which a look and an occlusion begin with.

    Args:
        net: the network.
        image: [1, C, H, W], in its input space.
        keep: the steps whose maps are kept.

    Attributes:
        maps: the maps by their steps; any other is made when it is asked for.
    """

    def __init__(self, net: Network, image: Tensor, keep: Iterable[int]) -> None:
        self.net, self.image = net, image
        self.maps: Mapping[int, Tensor] = _Maps(
            net.graph, ascend(net.graph, image, sorted({0, *keep})).maps
        )
        self._ascents: dict[tuple[str, int], Ascent] = {}

    def project(
        self,
        request: Request,
        channel: int,
        title: str,
        memory: int,
        position: tuple[int, int] | None = None,
    ) -> Projection:
        """Bring one channel down to pixels, from a position in its map or its peak."""
        places = None if position is None else torch.tensor([[position]])
        return descended(
            request, self._ascent_by(request), self.image, [title], memory,
            torch.tensor([[channel]]), positions=places,
        )  # fmt: skip

    def _ascent_by(self, request: Request) -> Ascent:
        """Return the walk up with what a rule wants, which is kept for the latest few."""
        rule, step = request.rule, request.steps[0]
        key = (rule.sees, 0) if rule.composite is None else (rule.name, step)
        if key not in self._ascents:
            if len(self._ascents) == RULES_KEPT:
                del self._ascents[next(iter(self._ascents))]
            # What this way down makes besides goes with it.
            own = Ascent(self.net.graph, _Maps(self.net.graph, self.maps), {})
            self._ascents[key] = own.remembering(rule, request.kept())
        return self._ascents[key]
