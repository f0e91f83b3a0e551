"""Occlusion sensitivity: a patch slides over the image, and the network is asked at each place."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from convscope.errors import (
    ConvscopeError,
    ImageError,
    Interrupted,
    RuleError,
    UnitError,
    near_matches,
)
from convscope.images import Picture
from convscope.methods import budget as budgets
from convscope.methods.occlude.adaptive import Budget, Mask, Sampling, estimated, nearest
from convscope.methods.occlude.agreement import Agreement, agreement
from convscope.methods.occlude.passes import (
    Answers,
    FullPasses,
    Indices,
    Passes,
    Question,
    WindowedPasses,
)
from convscope.methods.occlude.patches import (
    Cover,
    FillValue,
    Size,
    boxes_of,
    default_patch,
    default_stride,
    fill_for,
    grid,
    label_map,
    masks_of,
    pair_of,
)
from convscope.methods.occlude.result import Occlusion, Occlusions
from convscope.methods.pictures import Images, read
from convscope.methods.project import LayerName, project
from convscope.methods.targets import Target, answer_of, class_numbers
from convscope.network import Network
from convscope.network.answer import Answer
from convscope.network.differences import can_take_differences
from convscope.network.rules import rule_named
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
    image: Tensor | Picture,
    patch: Size | None = None,
    stride: Size | None = None,
    fill: FillValue = "gray",
    target: Target | Sequence[Target] | None = None,
    layer: LayerName | None = None,
    channel: int | None = None,
    *,
    masks: Tensor | Picture | None = None,
    method: str = "exact",
    positions: int | None = None,
    budget: float | str | None = None,
    precision: str = "float32",
    rule: str | None = "deconvnet",
    title: str | None = None,
    memory: int | str = budgets.DEFAULT,
    progress: Progress | None = None,
    preview: Preview | None = None,
) -> Occlusion:
    """Hide part after part of an image and record what the network says (arXiv 1311.2901, 4.2).

    Args:
        net: the network; ``net.answer`` says how its output is read.
        image: a picture file or a Pillow image, or [1, C, H, W] in the network's input space.
        patch: side of the patch in pixels, or (height, width); by default about a seventh of the
            image's shorter side, 32 for 224.
        stride: pixels from one position to the next, or (down, across); by default so many that
            some 28 positions lie along the shorter side, 8 for 224. Patches at the border are cut
            off there.
        fill: what hides the pixels: a name in :data:`~.patches.FILLS`, a colour ``"#rrggbb"``, or
            a number or tensor in the network's input space.
        target: the class, by number or name; a list for several; None for the most probable one,
            or for the first where the output is several numbers.
        layer: a layer whose feature map is watched too, by its name in ``net.layers``, or a module.
        channel: that map; None for the one with the strongest activation in the clean image.
        masks: what to hide instead of patches, part by part: bool [M, H, W]; a label map [H, W] of
            whole numbers, such as superpixels, each of them a part, or a picture of one; or
            ``"channels"``, each channel of the input by itself. The grid of answers is then [1, M].
        method: ``"exact"`` computes only what a patch touches; ``"full"`` recomputes everything;
            ``"adaptive"`` computes part of the positions and estimates the others.
        positions: for ``"adaptive"``: how many positions to compute; by default a third.
        budget: for ``"adaptive"``: seconds to compute positions for instead, as a number or a text
            such as ``"20s"``; one position in 24 is computed in any case.
        precision: for ``"adaptive"``: ``"bfloat16"`` rounds what a patch changes to half the
            precision, which some processors and GPUs compute faster; noted on pictures.
        rule: how the watched map is brought down to pixels, to be shown beside; None for not at
            all. A rule that means nothing for the network leaves it out.
        title: what the image is called; by default the file's name.
        memory: bytes, or a text such as ``"2GB"``, for the batches of the walk and for filters that
            are made ready to convolve them faster; the clean maps of the image come on top.
        progress: called with the positions done and the positions in all.
        preview: for ``"adaptive"``: called with the map so far each time it has become sharper.

    Returns:
        the answers at every position.

    Raises:
        ImageError: if the image does not fit, or the patch, stride or fill does not fit the image.
        UnitError: if there is no such class, layer or channel.
        RuleError: if there is no such rule.
        ConvscopeError: if there is no such method, or the budget is none.
        Interrupted: on Ctrl-C, with what was done by then as its ``result``.

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
    if isinstance(image, Tensor) and image.dim() == 4 and len(image) > 1:
        raise ImageError(f"one image at a time is occluded, not {len(image)}; see occlude_all")
    try:
        (found,) = occlude_all(
            net, image, [patch], stride, fill, target, layer, channel, masks=masks, method=method,
            positions=positions, budget=budget, precision=precision, rule=rule,
            titles=None if title is None else [title], memory=memory, progress=progress,
            preview=preview,
        )  # fmt: skip
    except Interrupted as stopped:
        raise Interrupted(str(stopped), stopped.result[0]) from None
    return found


@shielded
def occlude_all(
    net: Network,
    images: Images,
    patches: Sequence[Size | None] = (None,),
    stride: Size | None = None,
    fill: FillValue = "gray",
    target: Target | Sequence[Target] | None = None,
    layer: LayerName | None = None,
    channel: int | None = None,
    *,
    masks: Tensor | Picture | None = None,
    method: str = "exact",
    positions: int | None = None,
    budget: float | str | None = None,
    precision: str = "float32",
    rule: str | None = "deconvnet",
    titles: Sequence[str] | None = None,
    memory: int | str = budgets.DEFAULT,
    progress: Progress | None = None,
    preview: Preview | None = None,
) -> Occlusions:
    """Occlude several images, with patches of several sizes, one after the other.

    All but *images*, *patches* and *titles* is as in :func:`occlude`, errors too; *positions* are
    those of each map, and *budget* is shared by all of them.

    >>> import convscope as cs
    >>> from torch import nn
    >>> classifier = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
    >>> net = cs.Network(classifier, torch.zeros(1, 1, 8, 8), preprocess="none")
    >>> found = cs.occlude_all(net, torch.ones(1, 1, 8, 8), [2, 4], stride=2)
    >>> [one.probability.shape for one in found]
    [torch.Size([4, 4]), torch.Size([3, 3])]

    """
    _check_method(method, positions, budget, precision)
    if rule is not None:
        rule_named(rule)
    allowed, deadline = budgets.parse_bytes(memory), budgets.Deadline(budget)
    net = net.fitting(images)
    checked, names = read(net, images, titles)
    if not len(patches):
        raise ImageError("no patch size was given")
    if masks is not None and (method == "adaptive" or stride is not None or [*patches] != [None]):
        raise ImageError("masks go without patch and stride, and by the methods exact and full")
    jobs = [
        _Job.of_patches(net, image, size, stride, fill, positions)
        if masks is None
        else _Job.of_masks(net, image, masks, fill)
        for image in checked
        for size in patches
    ]
    found: list[Occlusion] = []
    for place, job in enumerate(jobs):
        number, size = divmod(place, len(patches))
        try:
            if size == 0:
                asked = _asked(net, checked[number, None], target, layer, channel)
                passes = _passes(asked.question, method, precision, allowed)
                projection = _projection(asked.question, rule, allowed)
            counted = _counter(progress, jobs, place)
            work = _Work(asked, job, passes, method, precision, counted, names[number], projection)
            if method == "adaptive":
                job.budget.seconds = deadline.share(len(jobs) - place)
                found.append(work.adaptive(preview))
            else:
                found.append(work.complete())
        except KeyboardInterrupt:
            if not found:
                raise
            break
        if found[-1].partial:
            break
    else:
        return Occlusions.of(found)
    raise Interrupted("the occlusion was stopped", Occlusions.of(found, "interrupted"))


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
        asked: int | None,
    ) -> "_Job":
        size = (image.shape[1], image.shape[2])
        own = pair_of(default_patch(size) if patch is None else patch, "patch")
        steps = pair_of(default_stride(size, own) if stride is None else stride, "stride")
        positions = grid(size, own, steps)
        cover = Cover(positions.reshape(-1, 4), fill_for(fill, image, net.preprocess, own))
        shape = positions.shape[0], positions.shape[1]
        most = max(1, round(len(cover) / 3)) if asked is None else asked
        return cls(cover, shape, own, steps, Budget(most))

    @classmethod
    def of_masks(
        cls, net: Network, image: Tensor, masks: Tensor | Picture, fill: FillValue
    ) -> "_Job":
        if isinstance(masks, str) and masks == "channels":
            own = torch.eye(len(image), dtype=torch.bool, device=image.device)[:, :, None, None]
        else:
            own = masks_of(masks if isinstance(masks, Tensor) else label_map(masks), image)
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
        title: str,
        projection: tuple[Tensor, str] | None,
    ) -> None:
        self.asked, self.job, self.passes, self.method = asked, job, passes, method
        self.precision, self.count, self.title = precision, count, title
        self.projection = projection
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
            found = _quantities(answer, answers.values.cpu())
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
        behind = self.job.cover.fill.image
        found = Occlusion(
            image=question.image.cpu(),
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
            preprocess=net.preprocess,
            title=self.title,
            behind=None if behind is None else behind.cpu(),
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
        return found if self.projection is None else _beside(found, *self.projection)

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


def _projection(question: Question, rule: str | None, memory: int) -> tuple[Tensor, str] | None:
    """Return the watched map's projection, [C, H, W], and its rule, if there is one."""
    if question.layer is None or rule is None:
        return None
    net = question.net
    name = net.graph.steps[question.layer].name
    try:
        found = project(
            net, question.image[None], name, [question.channel], rule=rule, select="map",
            memory=memory,
        )  # fmt: skip
    except RuleError:  # no rectifier, and so no deconvnet
        return None
    return found.pixels[0, 0].cpu(), rule


def _beside(found: Occlusion, projection: Tensor, rule: str) -> Occlusion:
    """Return an occlusion with the projection of its unit, and how well the two agree."""
    agreed = Agreement()
    if bool(found.computed.any()):
        drop = found.drop("activation")
        agreed = agreement(projection, drop, found.computed, found.positions, found.masks)
    return replace(
        found, projection=projection, rule=rule, agreement=agreed.correlation,
        agreement_by_chance=agreed.by_chance,
    )  # fmt: skip


def _check_method(
    method: str, positions: int | None, budget: float | str | None, precision: str
) -> None:
    for kind, value, known in (("method", method, METHODS), ("precision", precision, PRECISIONS)):
        if value not in known:
            raise ConvscopeError(
                f"unknown {kind} {value!r}{near_matches(value, known)} (known: {', '.join(known)})"
            )
    if precision != "float32" and method != "adaptive":
        raise ConvscopeError("a precision needs the method 'adaptive': the others do not round")
    if positions is None and budget is None:
        return
    if method != "adaptive":
        what = "a budget" if positions is None else "a number of positions"
        raise ConvscopeError(f"{what} needs the method 'adaptive': the others compute everything")
    if positions is not None and budget is not None:
        raise ConvscopeError("give a number of positions or a budget of seconds, not both")
    if positions is not None and positions < 1:
        raise ConvscopeError(f"the positions to compute must be at least 1, not {positions}")


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
    layer: LayerName | None,
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
        for name, rows in _quantities(answer, values).items():
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


def _quantities(answer: Answer, values: Tensor) -> dict[str, Tensor]:
    """Return the quantities that an answer holds, [N, count] each, by their names."""
    if answer.kind == "number":
        return {"number": answer.scores(values)}
    return {"probability": answer.probabilities(values), "logit": answer.scores(values)}
