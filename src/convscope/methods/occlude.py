"""Occlusion sensitivity: a patch slides over the image, and the network is asked at each place."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from convscope.errors import ConvscopeError, ImageError, UnitError, near_matches
from convscope.methods import budget as budgets
from convscope.methods.adaptive import Budget, Mask, Sampling, estimated, nearest
from convscope.methods.occlusion import Occlusion
from convscope.methods.passes import Answers, FullPasses, Indices, Passes, Question, WindowedPasses
from convscope.methods.patches import Corners, Fill, FillValue, Size, fill_for, grid, pair_of
from convscope.methods.targets import Target, class_numbers, most_probable, probabilities
from convscope.network import Network
from convscope.network.differences import can_take_differences
from convscope.network.precision import halves_are_fast
from convscope.network.walk import ascend

METHODS = ("exact", "full", "adaptive")
Progress = Callable[[int, int], None]
"""Called with the positions done so far and the positions in all."""
Preview = Callable[[Occlusion], None]
"""Called with the map so far."""
NAN = float("nan")
PRECISION = torch.bfloat16
"""What the method "adaptive" rounds the changes to where that is faster."""


def occlude(
    net: Network,
    image: Tensor,
    patch: Size = 32,
    stride: Size = 8,
    fill: FillValue = "gray",
    target: Target | Sequence[Target] | None = None,
    layer: str | None = None,
    channel: int | None = None,
    *,
    method: str = "exact",
    budget: int | str | None = None,
    memory: int | str = budgets.DEFAULT,
    progress: Progress | None = None,
    preview: Preview | None = None,
) -> Occlusion:
    """Hide part after part of an image and record what the network says (arXiv 1311.2901, 4.2).

    Ctrl-C stops the work; what is done by then is returned, marked as partial.

    Args:
        net: the network; its output is taken as logits if it is [N, classes], and as the logit of
            a single yes or no if it is [N, 1].
        image: [1, C, H, W] in the network's input space.
        patch: side of the patch in pixels, or (height, width).
        stride: pixels from one position to the next, or (down, across). Patches at the border are
            cut off there.
        fill: what hides the pixels: a name in :data:`~.patches.FILLS`, a colour ``"#rrggbb"``, or
            a number or tensor in the network's input space.
        target: the class, by number or name; a list for several; None for the most probable one.
        layer: a layer whose feature map is watched too, by its name in ``net.layers``.
        channel: that map; None for the one with the strongest activation in the clean image.
        method: ``"exact"`` computes only what a patch touches; ``"full"`` recomputes everything;
            ``"adaptive"`` computes part of the positions, in half the precision where the device
            is faster so, and estimates the others.
        budget: for ``"adaptive"``: how many positions to compute, or a time such as ``"20s"``; a
            third of the positions by default.
        memory: bytes, or a text such as ``"2GB"``, for the batches of the walk and for filters that
            are made ready to convolve them faster; the clean maps of the image come on top.
        progress: called with the positions done and the positions in all.
        preview: for ``"adaptive"``: called with the map so far each time it has become sharper.

    Returns:
        the answers at every position.

    Raises:
        ImageError: if the image does not fit, or the patch, stride or fill does not fit the image.
        UnitError: if there is no such class, layer or channel.
        ConvscopeError: if there is no such method, or the budget is none.

    >>> import torch
    >>> from torch import nn
    >>> class Brightness(nn.Module):
    ...     def forward(self, x):
    ...         return torch.stack([x[:, 0, :, :2].mean((1, 2)), x[:, 0, :, 2:].mean((1, 2))], 1)
    >>> image = torch.tensor([[[[1.0, 1, 0, 0]] * 4]])
    >>> o = occlude(Network(Brightness(), image), image, patch=2, stride=2, fill="black")
    >>> o.targets, o.logit.tolist(), o.predicted.tolist()
    (0, [[0.5, 1.0], [0.5, 1.0]], [[0, 0], [0, 0]])
    >>> o.heatmap("logit")[0]
    tensor([0.5000, 0.5000, 0.0000, 0.0000])

    """
    (found,) = occlude_sizes(
        net, image, [patch], stride, fill, target, layer, channel, method=method, budget=budget,
        memory=memory, progress=progress, preview=preview,
    )  # fmt: skip
    return found


def occlude_sizes(
    net: Network,
    image: Tensor,
    patches: Sequence[Size],
    stride: Size = 8,
    fill: FillValue = "gray",
    target: Target | Sequence[Target] | None = None,
    layer: str | None = None,
    channel: int | None = None,
    *,
    method: str = "exact",
    budget: int | str | None = None,
    memory: int | str = budgets.DEFAULT,
    progress: Progress | None = None,
    preview: Preview | None = None,
) -> list[Occlusion]:
    """Occlude an image with patches of several sizes, one after the other.

    Arguments and errors are those of :func:`occlude`, but for *patches*, a list of sizes; the
    budget is that of each. Where Ctrl-C stops the work, the sizes not begun are left out.
    """
    _check_method(method, budget)
    image = net.checked(image)
    if len(image) > 1:
        raise ImageError(f"one image at a time is occluded, not {len(image)}")
    if not patches:
        raise ImageError("no patch size was given")
    height, width = image.shape[-2:]
    jobs = []
    for size in patches:
        own, steps = pair_of(size, "patch"), pair_of(stride, "stride")
        positions = grid((height, width), own, steps)
        fills = fill_for(fill, image[0], net.preprocess, own)
        jobs.append(_Job(positions, own, steps, fills, Budget.parse(budget, positions.size // 4)))
    allowed = budgets.parse_bytes(memory)
    asked = _asked(net, image, target, layer, channel)
    passes = _passes(asked.question, method, allowed)
    found: list[Occlusion] = []
    for place, job in enumerate(jobs):
        work = _Work(asked, job, passes, method, _counter(progress, jobs, place))
        found.append(work.adaptive(preview) if method == "adaptive" else work.complete())
        if found[-1].partial:
            break
    return found


@dataclass(frozen=True)
class _Job:
    """One grid of patches: [R, S, 4] corners, and what they are filled with."""

    positions: Corners
    patch: tuple[int, int]
    stride: tuple[int, int]
    fill: Fill
    budget: Budget

    @property
    def shape(self) -> tuple[int, int]:
        return self.positions.shape[0], self.positions.shape[1]

    @property
    def count(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class _Asked:
    """What is asked, and the answer for the clean image."""

    question: Question
    targets: int | tuple[int, ...] | None
    clean: dict[str, Any]

    @property
    def numbers(self) -> list[int]:
        if self.targets is None:
            return []
        return [self.targets] if isinstance(self.targets, int) else list(self.targets)


class _Work:
    """The answers to one grid of patches as they come in."""

    def __init__(
        self,
        asked: _Asked,
        job: _Job,
        passes: Passes,
        method: str,
        count: Callable[[int, int], None],
    ) -> None:
        self.asked, self.job, self.passes, self.method = asked, job, passes, method
        self.count = count
        self.done = np.zeros(job.count, dtype=bool)
        self.stopped = False
        self.values: dict[str, Tensor] = {}
        dtype = asked.question.image.dtype
        if asked.question.logits:
            for name in ("probability", "logit"):
                self.values[name] = torch.full((len(asked.numbers), job.count), NAN, dtype=dtype)
        if asked.question.layer is not None:
            self.values["activation"] = torch.full((1, job.count), NAN, dtype=dtype)
        self.predicted = torch.full((job.count,), -1)

    def complete(self) -> Occlusion:
        """Compute every position."""
        self._compute(np.arange(self.job.count), lambda: False, self.job.count)
        return self._record()

    def adaptive(self, preview: Preview | None) -> Occlusion:
        """Compute as many positions as the budget allows and estimate the others."""
        budget = self.job.budget
        budget.begin()
        sampling = Sampling(self.job.shape, budget)
        for choose in (sampling.coarse, sampling.densest, sampling.rest):
            wanted = choose(*(() if choose == sampling.coarse else (self._computed(),)))
            if not len(wanted):
                continue
            # A coarse map is worth waiting for, even where the time is too short for one.
            enough = (lambda: False) if choose == sampling.coarse else budget.spent
            most = min(self.job.count, budget.done + max(budget.left(), len(wanted)))
            self._compute(wanted, enough, most)
            self._estimate()
            if preview:
                preview(self._record())
            if self.stopped:
                break
        return self._record()

    def _computed(self) -> Mask:
        return self.done.reshape(self.job.shape)

    def _compute(self, wanted: Indices, enough: Callable[[], bool], total: int) -> None:
        """Ask for the positions *wanted* until it is *enough*, or until Ctrl-C."""
        if not len(wanted):
            return
        corners = self.job.positions.reshape(-1, 4)[wanted]
        try:
            for answers in self.passes.answers(corners, self.job.fill):
                self._take(wanted[answers.patches], answers)
                self.job.budget.done = int(self.done.sum())
                self.count(self.job.budget.done, total)
                if enough():
                    return
        except KeyboardInterrupt:
            if not self.done.any():
                raise
            self.stopped = True

    def _take(self, places: Indices, answers: Answers) -> None:
        if answers.logits is not None:
            logits = answers.logits.cpu()
            self.values["logit"][:, places] = logits[:, self.asked.numbers].T
            chances = probabilities(logits)
            self.values["probability"][:, places] = chances[:, self.asked.numbers].T
            self.predicted[places] = most_probable(logits)
        if answers.activation is not None:
            self.values["activation"][0, places] = answers.activation.to(self.values["activation"])
        self.done[places] = True

    def _estimate(self) -> None:
        computed = self._computed()
        reach = tuple(p / s for p, s in zip(self.job.patch, self.job.stride, strict=True))
        for name, values in self.values.items():
            for row in values:
                own = row.double().numpy().reshape(self.job.shape)
                filled = torch.from_numpy(estimated(own, computed, (reach[0], reach[1]))).to(row)
                row.copy_(filled.clamp(0, 1).view(-1) if name == "probability" else filled.view(-1))
        self.predicted = self.predicted[torch.from_numpy(nearest(computed)).view(-1)]

    def _record(self) -> Occlusion:
        question, shape, net = self.asked.question, self.job.shape, self.asked.question.net
        values = {name: found.clone().view(-1, *shape) for name, found in self.values.items()}
        if isinstance(self.asked.targets, int):
            values |= {name: values[name][0] for name in ("probability", "logit")}
        if "activation" in values:
            values["activation"] = values["activation"][0]
        predicted = self.predicted.clone().view(shape) if question.logits else None
        return Occlusion(
            positions=torch.from_numpy(self.job.positions),
            computed=torch.from_numpy(self.done.copy()).view(shape),
            clean=self.asked.clean,
            targets=self.asked.targets,
            classes=self._class_names(predicted),
            layer=None if question.layer is None else net.graph.steps[question.layer].name,
            channel=None if question.layer is None else question.channel,
            patch=self.job.patch,
            stride=self.job.stride,
            fill=self.job.fill.name,
            method=self.method,
            network=net.name,
            image_size=(question.image.shape[-2], question.image.shape[-1]),
            predicted=predicted,
            partial=self.stopped,
            notes=self._notes(),
            probability=values.get("probability"),
            logit=values.get("logit"),
            activation=values.get("activation"),
        )

    def _class_names(self, predicted: Tensor | None) -> dict[str, str]:
        names = self.asked.question.net.classes
        if names is None or predicted is None:
            return {}
        numbers = {
            *self.asked.numbers,
            self.asked.clean["predicted"],
            *predicted.flatten().tolist(),
        }
        return {str(n): names[n] for n in sorted(numbers) if 0 <= n < len(names)}

    def _notes(self) -> tuple[str, ...]:
        done, count = int(self.done.sum()), self.job.count
        notes = list(self.asked.question.net.notes)
        if self.stopped:
            notes.append(f"stopped early: {done} of {count} positions were computed")
        elif done < count:
            notes.append(f"{done} of {count} positions were computed, the others are estimated")
        if self.method == "adaptive" and _rounds(self.asked.question):
            notes.append("what a patch changes was computed in bfloat16")
        return tuple(notes)


def _passes(question: Question, method: str, memory: int) -> Passes:
    if method == "full":
        return FullPasses(question, memory)
    rounds = method == "adaptive" and _rounds(question)
    return WindowedPasses(question, memory, PRECISION if rounds else None)


def _rounds(question: Question) -> bool:
    """Return whether the method "adaptive" computes in half the precision: where that is faster."""
    return (
        question.image.dtype == torch.float32
        and can_take_differences(question.net.graph)
        and halves_are_fast(question.image.device.type)
    )


def _check_method(method: str, budget: int | str | None) -> None:
    if method not in METHODS:
        raise ConvscopeError(
            f"unknown method {method!r}{near_matches(method, METHODS)} "
            f"(known: {', '.join(METHODS)})"
        )
    if budget is not None and method != "adaptive":
        raise ConvscopeError("a budget needs the method 'adaptive': the others compute everything")


def _counter(progress: Progress | None, jobs: list[_Job], place: int) -> Progress:
    """Return what counts the positions of one job among those of all."""
    before, after = (sum(job.count for job in part) for part in (jobs[:place], jobs[place + 1 :]))

    def count(done: int, total: int) -> None:
        if progress:
            progress(before + done, before + total + after)

    return count


def _asked(
    net: Network,
    image: Tensor,
    target: Target | Sequence[Target] | None,
    layer: str | None,
    channel: int | None,
) -> _Asked:
    """Check what is asked for and answer it for the clean image."""
    graph = net.graph
    shape = graph.steps[graph.output].shape
    logits = net.logits > 0
    step = None if layer is None else net.step(layer)
    if channel is not None and step is None:
        raise UnitError("a channel number means nothing without its layer")
    if not logits and (step is None or target is not None):
        raise UnitError(
            f"{net.name} gives {list(shape)}, not one number a class: name a layer to watch "
            f"instead of a target"
        )
    if step is not None:
        net.check_units(step, () if channel is None else (channel,))
    question = Question(net, image[0], logits, step, channel or 0)
    found = ascend(graph, image, question.targets).maps
    clean: dict[str, Any] = {}
    targets = None
    if logits:
        answer = found[graph.output].cpu()
        clean["predicted"] = int(most_probable(answer))
        targets = class_numbers(net, target, answer)
        own = torch.tensor(targets)
        clean["logit"] = answer[0, own].tolist()
        clean["probability"] = probabilities(answer)[0, own].tolist()
    if step is not None:
        maps = found[step]
        if channel is None:
            channel = int((maps[0].flatten(1).amax(1) if maps.dim() == 4 else maps[0]).argmax())
            question = replace(question, channel=channel)
        clean["activation"] = float(maps[0, channel].double().sum())
    return _Asked(question, targets, clean)
