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
from convscope.methods.passes import (
    Answers,
    FullPasses,
    Indices,
    Passes,
    Question,
    WindowedPasses,
)
from convscope.methods.patches import (
    Cover,
    FillValue,
    Size,
    boxes_of,
    default_patch,
    default_stride,
    fill_for,
    grid,
    masks_of,
    pair_of,
)
from convscope.methods.targets import Target, answer_of, class_numbers
from convscope.network import Network
from convscope.network.answer import Answer
from convscope.network.differences import can_take_differences
from convscope.network.shield import shielded
from convscope.network.walk import ascend

METHODS = ("exact", "full", "adaptive")
PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16}
"""What the method "adaptive" rounds the changes to: nothing, or half the precision."""
Progress = Callable[[int, int], None]
"""Called with the positions done so far and the positions in all."""
Preview = Callable[[Occlusion], None]
"""Called with the map so far."""
NAN = float("nan")


@shielded
def occlude(
    net: Network,
    image: Tensor,
    patch: Size | None = None,
    stride: Size | None = None,
    fill: FillValue = "gray",
    target: Target | Sequence[Target] | None = None,
    layer: str | None = None,
    channel: int | None = None,
    *,
    masks: Tensor | str | None = None,
    method: str = "exact",
    budget: int | str | None = None,
    precision: str = "float32",
    memory: int | str = budgets.DEFAULT,
    progress: Progress | None = None,
    preview: Preview | None = None,
) -> Occlusion:
    """Hide part after part of an image and record what the network says (arXiv 1311.2901, 4.2).

    Ctrl-C stops the work; what is done by then is returned, marked as partial.

    Args:
        net: the network; ``net.answer`` says how its output is read.
        image: [1, C, H, W] in the network's input space.
        patch: side of the patch in pixels, or (height, width); by default about a seventh of the
            image's shorter side, 32 for 224.
        stride: pixels from one position to the next, or (down, across); by default so many that
            some 28 positions lie along the shorter side, 8 for 224. Patches at the border are cut
            off there.
        fill: what hides the pixels: a name in :data:`~.patches.FILLS`, a colour ``"#rrggbb"``, or
            a number or tensor in the network's input space.
        target: the class, by number or name; a list for several; None for the most probable one,
            or for the first where the output is several numbers.
        layer: a layer whose feature map is watched too, by its name in ``net.layers``.
        channel: that map; None for the one with the strongest activation in the clean image.
        masks: what to hide instead of patches, part by part: bool [M, H, W]; a label map [H, W] of
            whole numbers, such as superpixels, each of them a part; or ``"channels"``, each channel
            of the input by itself. The grid of answers is then [1, M].
        method: ``"exact"`` computes only what a patch touches; ``"full"`` recomputes everything;
            ``"adaptive"`` computes part of the positions and estimates the others.
        budget: for ``"adaptive"``: how many positions to compute, or a time such as ``"20s"``; a
            third of the positions by default.
        precision: for ``"adaptive"``: ``"bfloat16"`` rounds what a patch changes to half the
            precision, which some processors and GPUs compute faster; noted on pictures.
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
        net, image, [patch], stride, fill, target, layer, channel, masks=masks, method=method,
        budget=budget, precision=precision, memory=memory, progress=progress, preview=preview,
    )  # fmt: skip
    return found


@shielded
def occlude_sizes(
    net: Network,
    image: Tensor,
    patches: Sequence[Size | None],
    stride: Size | None = None,
    fill: FillValue = "gray",
    target: Target | Sequence[Target] | None = None,
    layer: str | None = None,
    channel: int | None = None,
    *,
    masks: Tensor | str | None = None,
    method: str = "exact",
    budget: int | str | None = None,
    precision: str = "float32",
    memory: int | str = budgets.DEFAULT,
    progress: Progress | None = None,
    preview: Preview | None = None,
) -> list[Occlusion]:
    """Occlude an image with patches of several sizes, one after the other.

    All but *patches* is as in :func:`occlude`, errors too; the budget is that of each size. Where
    Ctrl-C stops the work, the sizes not begun are left out.

    >>> import convscope as cs
    >>> from torch import nn
    >>> classifier = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
    >>> net = cs.Network(classifier, torch.zeros(1, 1, 8, 8), preprocess="none")
    >>> found = cs.occlude_sizes(net, torch.ones(1, 1, 8, 8), [2, 4], stride=2)
    >>> [one.probability.shape for one in found]
    [torch.Size([4, 4]), torch.Size([3, 3])]

    """
    _check_method(method, budget, precision)
    net = net.fitting(image)
    image = net.checked(image)
    if len(image) > 1:
        raise ImageError(f"one image at a time is occluded, not {len(image)}")
    if not patches:
        raise ImageError("no patch size was given")
    if masks is None:
        jobs = [_Job.of_patches(net, image[0], size, stride, fill, budget) for size in patches]
    elif method == "adaptive" or stride is not None or [*patches] != [None]:
        raise ImageError("masks go without patch and stride, and by the methods exact and full")
    else:
        jobs = [_Job.of_masks(net, image[0], masks, fill)]
    allowed = budgets.parse_bytes(memory)
    asked = _asked(net, image, target, layer, channel)
    passes = _passes(asked.question, method, precision, allowed)
    found: list[Occlusion] = []
    for place, job in enumerate(jobs):
        work = _Work(asked, job, passes, method, precision, _counter(progress, jobs, place))
        found.append(work.adaptive(preview) if method == "adaptive" else work.complete())
        if found[-1].partial:
            break
    return found


@dataclass(frozen=True)
class _Job:
    """One grid of patches, or one row of masks."""

    cover: Cover
    shape: tuple[int, int]
    patch: tuple[int, int]
    stride: tuple[int, int]
    budget: Budget

    @classmethod
    def of_patches(
        cls,
        net: Network,
        image: Tensor,
        patch: Size | None,
        stride: Size | None,
        fill: FillValue,
        budget: int | str | None,
    ) -> "_Job":
        size = (image.shape[1], image.shape[2])
        own = pair_of(default_patch(size) if patch is None else patch, "patch")
        steps = pair_of(default_stride(size, own) if stride is None else stride, "stride")
        positions = grid(size, own, steps)
        cover = Cover(positions.reshape(-1, 4), fill_for(fill, image, net.preprocess, own))
        shape = positions.shape[0], positions.shape[1]
        return cls(cover, shape, own, steps, Budget.parse(budget, len(cover)))

    @classmethod
    def of_masks(cls, net: Network, image: Tensor, masks: Tensor | str, fill: FillValue) -> "_Job":
        if isinstance(masks, str):
            if masks != "channels":
                raise ImageError(f"masks are a tensor or 'channels', not {masks!r}")
            own = torch.eye(len(image), dtype=torch.bool, device=image.device)[:, :, None, None]
        else:
            own = masks_of(masks, image)
        own = own.expand(-1, -1, *image.shape[1:])
        corners = boxes_of(own)
        patch = (corners[:, 2:] - corners[:, :2]).max(axis=0).tolist()
        cover = Cover(corners, fill_for(fill, image, net.preprocess, patch), own)
        return cls(cover, (1, len(own)), (patch[0], patch[1]), (0, 0), Budget(len(own)))

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
        precision: str,
        count: Callable[[int, int], None],
    ) -> None:
        self.asked, self.job, self.passes, self.method = asked, job, passes, method
        self.precision, self.count = precision, count
        self.done = np.zeros(job.count, dtype=bool)
        self.stopped = ""
        self.values: dict[str, Tensor] = {}
        dtype = asked.question.image.dtype
        for name in asked.question.quantities:
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
        try:
            for answers in self.passes.answers(self.job.cover.part(wanted)):
                self._take(wanted[answers.patches], answers)
                self.job.budget.done = int(self.done.sum())
                self.count(self.job.budget.done, total)
                if enough():
                    return
        except KeyboardInterrupt:
            if not self.done.any():
                raise
            self.stopped = "interrupted"

    def _take(self, places: Indices, answers: Answers) -> None:
        answer = self.asked.question.answer
        if answer is not None and answers.values is not None:
            found = read(answer, answers.values.cpu())
            for name in self.asked.question.quantities:
                self.values[name][:, places] = found[name][:, self.asked.numbers].T
            self.predicted[places] = answer.best(answers.values).cpu()
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
            values |= {name: values[name][0] for name in question.quantities}
        if "activation" in values:
            values["activation"] = values["activation"][0]
        answer, masks = question.answer, self.job.cover.masks
        decides = answer is not None and answer.kind != "number"
        predicted = self.predicted.clone().view(shape) if decides else None
        return Occlusion(
            positions=torch.from_numpy(self.job.cover.corners).view(*shape, 4),
            computed=torch.from_numpy(self.done.copy()).view(shape),
            clean=self.asked.clean,
            targets=self.asked.targets,
            classes=self._class_names(predicted),
            layer=None if question.layer is None else net.graph.steps[question.layer].name,
            channel=None if question.layer is None else question.channel,
            patch=self.job.patch,
            stride=self.job.stride,
            fill=self.job.cover.fill.name,
            method=self.method,
            network=net.name,
            image_size=(question.image.shape[-2], question.image.shape[-1]),
            predicted=predicted,
            masks=None if masks is None else masks.cpu(),
            answer=None if answer is None else answer.kind,
            output="" if answer is None else answer.told,
            partial=self.stopped,
            notes=self._notes(),
            probability=values.get("probability"),
            logit=values.get("logit"),
            number=values.get("number"),
            activation=values.get("activation"),
        )

    def _class_names(self, predicted: Tensor | None) -> dict[str, str]:
        names = self.asked.question.net.classes
        if names is None or self.asked.targets is None:
            return {}
        numbers = {*self.asked.numbers}
        if predicted is not None:
            numbers |= {self.asked.clean["predicted"], *predicted.flatten().tolist()}
        return {str(n): names[n] for n in sorted(numbers) if 0 <= n < len(names)}

    def _notes(self) -> tuple[str, ...]:
        done, count = int(self.done.sum()), self.job.count
        notes = list(self.asked.question.net.notes)
        if self.stopped:
            notes.append(f"stopped early: {done} of {count} positions were computed")
        elif done < count:
            notes.append(f"{done} of {count} positions were computed, the others are estimated")
        if isinstance(self.passes, WindowedPasses) and self.passes.differs:
            notes.append("computed in full: windows gave another answer (please report it)")
        if self.precision != "float32":
            notes.append("what a patch changes was computed in bfloat16")
        return tuple(notes)


def _passes(question: Question, method: str, precision: str, memory: int) -> Passes:
    if method == "full":
        return FullPasses(question, memory)
    rounded = PRECISIONS[precision]
    if rounded is not None and not can_take_differences(question.net.graph):
        raise ConvscopeError(
            f"{question.net.name} cannot be computed in {precision}: leave the precision out"
        )
    return WindowedPasses(question, memory, rounded)


def _check_method(method: str, budget: int | str | None, precision: str) -> None:
    if method not in METHODS:
        raise ConvscopeError(
            f"unknown method {method!r}{near_matches(method, METHODS)} "
            f"(known: {', '.join(METHODS)})"
        )
    if precision not in PRECISIONS:
        raise ConvscopeError(
            f"unknown precision {precision!r}{near_matches(precision, PRECISIONS)} "
            f"(known: {', '.join(PRECISIONS)})"
        )
    if precision != "float32" and method != "adaptive":
        raise ConvscopeError("a precision needs the method 'adaptive': the others do not round")
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
    step = None if layer is None else net.step(layer)
    if channel is not None and step is None:
        raise UnitError("a channel number means nothing without its layer")
    answer = answer_of(net) if step is None or target is not None else net.answer
    if step is not None:
        net.check_units(step, () if channel is None else (channel,))
    question = Question(net, image[0], answer, step, channel or 0)
    found = ascend(graph, image, question.targets).maps
    clean: dict[str, Any] = {}
    targets = None
    if answer is not None:
        values = found[answer.step].cpu()
        best = int(answer.best(values))
        if answer.kind != "number":
            clean["predicted"] = best
        targets = class_numbers(net, target, best)
        for name, rows in read(answer, values).items():
            own: list[float] = rows[0].tolist()
            if isinstance(targets, int):
                clean[name] = own[targets]
            else:
                clean[name] = tuple(own[n] for n in targets)
    if step is not None:
        maps = found[step]
        if channel is None:
            channel = int((maps[0].flatten(1).amax(1) if maps.dim() == 4 else maps[0]).argmax())
            question = replace(question, channel=channel)
        clean["activation"] = float(maps[0, channel].double().sum())
    return _Asked(question, targets, clean)


def read(answer: Answer, values: Tensor) -> dict[str, Tensor]:
    """Return the quantities that an answer holds, [N, count] each, by their names."""
    if answer.kind == "number":
        return {"number": answer.scores(values)}
    return {"probability": answer.probabilities(values), "logit": answer.scores(values)}
