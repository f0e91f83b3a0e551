"""What a sanity check projects: a class score, or a unit of a layer."""

from dataclasses import dataclass

from torch import Tensor

from convscope.errors import UnitError
from convscope.methods.randomisation import stages_of
from convscope.methods.targets import ClassName, answer_of, answers, class_number
from convscope.network import Network
from convscope.network.blocks import narrow_steps
from convscope.network.layers import LayerName
from convscope.network.walk import ascend
from convscope.network.windows.fields import is_empty


@dataclass(frozen=True)
class ProjectedUnit:
    """A class score, or a unit of a layer, whose projection is tested.

    Attributes:
        start: the step where the signal starts.
        channel: its channel.
        place: row and column; None for one at every position.
        window: what it reads of the image.
        class_name: the class whose score it is.
    """

    start: int
    channel: int
    place: tuple[int, int] | None
    window: tuple[int, int, int, int]
    class_name: str | None

    def name(self, net: Network) -> str:
        """Return the layer's name."""
        return net.graph.steps[self.start].name

    def signal(self, image: Tensor, shape: tuple[int, ...], channel: int) -> Tensor:
        """Return one at *channel*, at the unit's place, and nothing elsewhere."""
        signal = image.new_zeros(shape)
        if self.place is None:
            signal.view(len(signal), -1, *signal.shape[2:])[:, channel] = 1
        else:
            signal[:, channel, self.place[0], self.place[1]] = 1
        return signal


def projected_unit(
    net: Network,
    image: Tensor,
    target: ClassName | None,
    layer: LayerName | None,
    channel: int | None,
) -> ProjectedUnit:
    """Choose what to project: a unit of *layer* at the peak of its map, or else a class score.

    By default it is the most probable class, or the channel with the strongest activation in the
    image, [1, C, H, W].
    """
    graph = net.graph
    if layer is None:
        if channel is not None:
            raise UnitError("a channel number means nothing without its layer")
        return _class_unit(net, image, target)
    if target is not None:
        raise UnitError("a class or a unit of a layer is projected, not both")
    start = net.step(layer)
    net.check_units(start, () if channel is None else (channel,))
    maps = ascend(graph, image, [start]).maps[start][0]
    flat = maps.flatten(1) if maps.dim() == 3 else maps[:, None]
    if channel is None:
        channel = int(flat.amax(1).argmax())
    if maps.dim() == 1:
        return ProjectedUnit(start, channel, None, net.receptive_fields.map_window(start), None)
    row, column = divmod(int(flat[channel].argmax()), maps.shape[2])
    window = net.receptive_fields.window(start, row, column)
    if is_empty(window):
        raise UnitError(
            f"the peak of channel {channel} of layer {graph.steps[start].name!r} reads padding "
            f"alone, and no pixel: choose another channel"
        )
    return ProjectedUnit(start, channel, (row, column), window, None)


def _class_unit(net: Network, image: Tensor, target: ClassName | None) -> ProjectedUnit:
    graph, answer = net.graph, answer_of(net)
    best = int(answer.best(answers(net, image)))
    number = best if target is None else class_number(net, target)
    start = answer.step
    shape = (1, answer.count)
    top = stages_of(graph, start)[:1]
    if top:
        own = graph.steps[top[0].steps[0]].shape
        maps = graph.is_map(top[0].steps[0])
        scores = (maps or len(own) == 2) and own[:2] == shape
        if scores and top[0].steps[0] in narrow_steps(graph):
            start = top[0].steps[0]
    window = net.receptive_fields.map_window(start)
    return ProjectedUnit(start, number, None, window, class_title(net, number))


def class_title(net: Network, number: int) -> str:
    """Return ``"class cat"``, or ``"class 7"`` where the network names no classes."""
    noun = answer_of(net).noun
    return f"{noun} {number}" if net.classes is None else f"{noun} {net.classes[number]}"
