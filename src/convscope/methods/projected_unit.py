"""What a sanity check projects: a target, such as a class score, or a unit of a layer."""

from dataclasses import dataclass, field

from torch import Tensor

from convscope.errors import UnitError
from convscope.methods import not_finite
from convscope.methods.randomisation import stages_of
from convscope.methods.targets import AnyTarget, answer_of, goals, readable
from convscope.network import Network
from convscope.network.blocks import narrow_steps
from convscope.network.layers import LayerName
from convscope.network.walk import ascend
from convscope.network.windows.fields import is_empty


@dataclass(frozen=True)
class ProjectedUnit:
    """A target, or a unit of a layer, whose projection is tested.

    Attributes:
        start: the step where the signal starts, the last of several.
        channel: its channel; -1 of a target that is no class.
        place: row and column; None for one at every position.
        window: what it reads of the image.
        class_name: the class whose score it is, or what another target is called.
        slopes: of a target that is no class's score, how it rises with each output.
    """

    start: int
    channel: int
    place: tuple[int, int] | None
    window: tuple[int, int, int, int]
    class_name: str | None
    slopes: dict[int, Tensor] = field(default_factory=dict)

    @property
    def steps(self) -> list[int]:
        """The steps where signals start."""
        return [*self.slopes] or [self.start]

    def name(self, net: Network) -> str:
        """Return the layer's name."""
        return net.graph.steps[self.start].name

    def signals(self, image: Tensor, shape: tuple[int, ...], channel: int) -> dict[int, Tensor]:
        """Return one at *channel*, at the unit's place, and nothing elsewhere.

        Of a target that is no class's score, how it rises with the outputs, moved on to *channel*:
        the same difference between other classes, or the same box for another class.
        """
        if self.slopes:
            by = max(channel, 0) - max(self.channel, 0)
            return {step: own.roll(by, min(1, own.dim() - 1)) for step, own in self.slopes.items()}
        signal = image.new_zeros(shape)
        if self.place is None:
            signal.view(len(signal), -1, *signal.shape[2:])[:, channel] = 1
        else:
            signal[:, channel, self.place[0], self.place[1]] = 1
        return {self.start: signal}


def projected_unit(
    net: Network,
    image: Tensor,
    name: str,
    target: AnyTarget | None,
    layer: LayerName | None,
    channel: int | None,
) -> ProjectedUnit:
    """Choose what to project: a unit of *layer* at the peak of its map, or else a target.

    By default it is the most probable class, or the channel with the strongest activation in the
    image, [1, C, H, W], called *name*. One that is NaN or infinite there is refused.
    """
    graph = net.graph
    if layer is None:
        if channel is not None:
            raise UnitError("a channel number means nothing without its layer")
        return _target_unit(net, image, name, target)
    if target is not None:
        raise UnitError("a target or a unit of a layer is projected, not both")
    start = net.step(layer)
    net.check_units(start, () if channel is None else (channel,))
    maps = ascend(graph, image, [start]).maps[start][0]
    flat = maps.flatten(1) if maps.dim() == 3 else maps[:, None]
    if channel is None:
        channel = int(flat.amax(1).argmax())
    if not flat[channel].isfinite().all():
        not_finite.refuse(net, image, [start], name)
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


def _target_unit(net: Network, image: Tensor, name: str, target: AnyTarget | None) -> ProjectedUnit:
    maps = ascend(net.graph, image, readable(net)).maps
    best = -1 if net.answer is None else int(net.answer.best(maps[net.answer.step]))
    goal, *more = goals(net, target, best)
    if more:
        raise UnitError(f"one target is tested at a time, not {1 + len(more)}")
    if not goal.values(maps).isfinite().all():
        not_finite.refuse(net, image, goal.steps, name)
    slopes = {} if goal.plain else goal.slopes(maps)
    start = max(slopes, default=goal.steps[0])
    if len(slopes) < 2 and net.answer is not None and start == net.answer.step:
        made = _made_at(net)
        if slopes and made != start:
            shape = net.graph.steps[made].shape
            # At every position, as of a class.
            slope = slopes[start].reshape(1, -1, *[1] * (len(shape) - 2))
            slopes = {made: slope.expand(shape)}
        start = made
    edges = zip(*(net.receptive_fields.map_window(step) for step in slopes or [start]), strict=True)
    top, left, bottom, right = edges
    window = min(top), min(left), max(bottom), max(right)
    title = class_title(net, goal.channel) if goal.plain else goal.name
    return ProjectedUnit(start, goal.channel, None, window, title, slopes)


def _made_at(net: Network) -> int:
    """Return the step where the last layer with weights makes the classes' scores."""
    graph, answer = net.graph, answer_of(net)
    top = stages_of(graph, answer.step)[:1]
    if top:
        step = top[0].steps[0]
        own = graph.steps[step].shape
        scores = (graph.is_map(step) or len(own) == 2) and own[:2] == (1, answer.count)
        if scores and step in narrow_steps(graph):
            return step
    return answer.step


def class_title(net: Network, number: int) -> str:
    """Return ``"class cat"``, or ``"class 7"`` where the network names no classes."""
    noun = answer_of(net).noun
    return f"{noun} {number}" if net.classes is None else f"{noun} {net.classes[number]}"
