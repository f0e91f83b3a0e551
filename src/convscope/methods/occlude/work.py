"""Work: a grid of patches over one image, what is asked of it, and the answers as they come."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from convscope.methods import not_finite, ranking
from convscope.methods.kept import KeptWalk
from convscope.methods.occlude.adaptive import Mask, Sampling, estimated, nearest
from convscope.methods.occlude.agreement import agreement
from convscope.methods.occlude.passes import Answers, FullPasses, Indices, Question, WindowedPasses
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
from convscope.methods.occlude.result import Occlusion
from convscope.methods.projection import Projection
from convscope.methods.targets import AnyTarget, Goal, Named, goals, several
from convscope.network import Network
from convscope.network.layers import LayerName
from convscope.reading import Picture

Preview = Callable[[Occlusion], None]
"""Called with the map so far."""
NAN = float("nan")


@dataclass(frozen=True)
class Job:
    """One grid of patches, or one row of masks, and how many of them may be computed."""

    cover: Cover
    shape: tuple[int, int]
    patch: tuple[int, int]
    stride: tuple[int, int]
    most: int

    @classmethod
    def of_patches(
        cls,
        net: Network,
        image: Tensor,
        patch: Size | None,
        stride: Size | None,
        fill: FillValue,
        asked: int | None,
    ) -> "Job":
        """Return the grid of a patch, of which *asked* positions are computed if not all are."""
        size = (image.shape[1], image.shape[2])
        own = pair_of(default_patch(size) if patch is None else patch, "patch")
        steps = pair_of(default_stride(size, own) if stride is None else stride, "stride")
        positions = grid(size, own, steps)
        cover = Cover(positions.reshape(-1, 4), fill_for(fill, image, net.preprocess, own))
        shape = positions.shape[0], positions.shape[1]
        most = max(1, round(len(cover) / 3)) if asked is None else asked
        return cls(cover, shape, own, steps, most)

    @classmethod
    def of_masks(
        cls, net: Network, image: Tensor, masks: Tensor | Picture, fill: FillValue
    ) -> "Job":
        """Return a row of masks, a label map's parts, or the channels."""
        if isinstance(masks, str) and masks == "channels":
            own = torch.eye(len(image), dtype=torch.bool, device=image.device)[:, :, None, None]
            names = tuple(f"channel {number}" for number in range(len(image)))
        else:
            own, names = masks_of(masks if isinstance(masks, Tensor) else label_map(masks), image)
        own = own.expand(-1, -1, *image.shape[1:])
        corners = boxes_of(own)
        patch = (corners[:, 2:] - corners[:, :2]).max(axis=0).tolist()
        cover = Cover(corners, fill_for(fill, image, net.preprocess, patch), own, names)
        return cls(cover, (1, len(own)), (patch[0], patch[1]), (0, 0), len(own))


@dataclass(frozen=True)
class Asked:
    """What is asked, and the answer for the clean image."""

    question: Question
    targets: Named | tuple[Named, ...] | None
    clean: dict[str, Any]
    rank: str
    notes: tuple[str, ...] = ()


@dataclass
class Work:
    """The answers to one grid of patches as they come in."""

    asked: Asked
    job: Job
    passes: FullPasses | WindowedPasses
    method: str
    precision: str
    count: Callable[[int, int], None]
    title: str
    projection: Projection | None
    stopped: str = ""

    def __post_init__(self) -> None:
        question, count = self.asked.question, len(self.job.cover)
        self.done = np.zeros(count, dtype=bool)
        rows = dict.fromkeys(question.quantities, len(question.goals))
        if question.layer is not None:
            rows["activation"] = 1
        unknown = question.image.new_tensor(NAN)
        self.values = {name: unknown.cpu().repeat(own, count) for name, own in rows.items()}
        self.predicted = torch.full((count,), -1)

    def complete(self) -> Occlusion:
        """Compute every position."""
        self._compute(np.arange(len(self.done)), len(self.done))
        return self._record()

    def adaptive(self, preview: Preview | None, seconds: float | None) -> Occlusion:
        """Compute as many positions as the budget allows and estimate the others."""
        sampling = Sampling(self.job.shape, self.job.most, seconds)
        for choose in (sampling.coarse, sampling.densest, sampling.rest):
            wanted = choose(self._computed())
            if not len(wanted):
                continue
            done = int(self.done.sum())
            most = min(len(self.done), done + max(sampling.left(done), len(wanted)))
            # A coarse map is worth waiting for, even where the time is too short for one.
            self._compute(wanted, most, None if choose == sampling.coarse else sampling)
            self._estimate()
            if preview:
                preview(self._record())
            if self.stopped:
                break
        return self._record()

    def _computed(self) -> Mask:
        return self.done.reshape(self.job.shape)

    def _compute(self, wanted: Indices, total: int, sampling: Sampling | None = None) -> None:
        """Ask for the positions *wanted* until *sampling* has none left, or until Ctrl-C."""
        try:
            for answers in self.passes.answers(self.job.cover.part(wanted)):
                self._take(wanted[answers.patches], answers)
                done = int(self.done.sum())
                self.count(done, total)
                if sampling and sampling.left(done) <= 0:
                    return
        except KeyboardInterrupt:
            if not self.done.any():
                raise
            self.stopped = "interrupted"

    def _take(self, places: Indices, answers: Answers) -> None:
        question, answer = self.asked.question, self.asked.question.answer
        outputs = {step: values.cpu() for step, values in answers.outputs.items()}
        for name, found in question.numbers(outputs).items():
            self.values[name][:, places] = found.to(self.values[name])
        if answer is not None:
            asked = outputs[answer.step]
            unknown = answer.scores(asked).isnan().any(1)  # the largest of these is none
            self.predicted[places] = answer.best(asked).masked_fill(unknown, -1)
        if answers.activation is not None:
            self.values["activation"][0, places] = answers.activation.to(self.values["activation"])
        self.done[places] = True

    def _estimate(self) -> None:
        computed = self._computed()
        reach = tuple(p / s for p, s in zip(self.job.patch, self.job.stride, strict=True))
        for name, values in self.values.items():
            for row in values:
                if bool(row.isnan().all()):
                    continue  # another quantity is read of this target
                own = row.double().numpy().reshape(self.job.shape)
                filled = torch.from_numpy(estimated(own, computed, (reach[0], reach[1]))).to(row)
                row.copy_(filled.clamp(0, 1).view(-1) if name == "probability" else filled.view(-1))
        self.predicted = self.predicted[torch.from_numpy(nearest(computed)).view(-1)]

    def _record(self) -> Occlusion:
        question, shape, net = self.asked.question, self.job.shape, self.asked.question.net
        values = {name: found.clone().view(-1, *shape) for name, found in self.values.items()}
        if not isinstance(self.asked.targets, tuple):
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
            parts=self.job.cover.names,
            answer=None if answer is None else answer.kind,
            output="" if answer is None else answer.told,
            rank=self.asked.rank,
            partial=self.stopped,
            notes=self._notes(),
            probability=values.get("probability"),
            logit=values.get("logit"),
            number=values.get("number"),
            activation=values.get("activation"),
        )
        return found if self.projection is None else _beside(found, self.projection)

    def _class_names(self, predicted: Tensor | None) -> dict[str, str]:
        names = self.asked.question.net.classes
        if names is None or self.asked.targets is None:
            return {}
        numbers = {goal.channel for goal in self.asked.question.goals if goal.plain}
        if predicted is not None:
            numbers |= {self.asked.clean["predicted"], *predicted.flatten().tolist()}
        return {str(n): names[n] for n in sorted(numbers) if 0 <= n < len(names)}

    def _notes(self) -> tuple[str, ...]:
        done, count = int(self.done.sum()), len(self.job.cover)
        notes = [*self.asked.question.net.notes, *self.asked.notes, *self._not_finite()]
        if self.stopped:
            notes.append(f"stopped early: {done} of {count} positions were computed")
        elif done < count:
            notes.append(f"{done} of {count} positions were computed, the others are estimated")
        if isinstance(self.passes, WindowedPasses) and self.passes.differs:
            notes.append("computed in full: windows gave another answer (please report it)")
        if self.precision != "float32":
            notes.append("what a patch changes was computed in bfloat16")
        return tuple(notes)

    def _not_finite(self) -> list[str]:
        """Return at how many positions only there is no number."""
        done = torch.from_numpy(self.done)
        clean = [self.asked.clean[name] for name in self.values]
        if self.asked.notes or not all(_is_finite(value) for value in clean):
            return []
        bad = torch.stack([v.isinf().any(0) | v.isnan().all(0) for v in self.values.values()])
        count = int((bad.any(0) & done).sum())
        return [f"values are not finite at {count} of {len(done)} positions"] * bool(count)


def _is_finite(value: float | list[float]) -> bool:
    """Return whether of one target's number, or of several's, all that are read are finite."""
    several = value if isinstance(value, list) else [value]
    return any(map(math.isfinite, several)) and not any(map(math.isinf, several))


def _beside(found: Occlusion, projection: Projection) -> Occlusion:
    """Return an occlusion with the projection of its unit, and how well the two agree."""
    pixels = projection.pixels[0, 0].cpu()
    agreed, by_chance = agreement(
        pixels, found.drop("activation"), found.computed, found.positions, found.masks
    )
    return replace(
        found, projection=pixels, rule=projection.rule, agreement=agreed,
        agreement_by_chance=by_chance, notes=tuple(dict.fromkeys(projection.notes + found.notes)),
    )  # fmt: skip


def ask(
    walk: KeptWalk,
    target: AnyTarget | Sequence[AnyTarget] | None,
    layer: LayerName | None,
    channel: int | None,
) -> Asked:
    """Return what is asked, and its answer for the clean image."""
    net, found = walk.net, walk.maps
    step, answer = None if layer is None else net.step(layer), net.answer
    best = 0 if answer is None else int(answer.best(found[answer.step]))
    chosen: list[Goal] = []
    if step is None or target is not None or answer is not None:
        chosen = goals(net, target, best)
    clean: dict[str, Any] = {}
    rank = ""
    if answer is not None and answer.kind != "number":
        clean["predicted"] = best
    if step is not None:
        maps = found[step]
        if channel is None:
            channel, rank = _strongest(net, step, found)
        clean["activation"] = float(maps[0, channel].double().sum())
    question = Question(net, walk.image[0], answer, step, channel or 0, tuple(chosen))
    named = tuple(goal.channel if goal.plain else goal.name for goal in chosen)
    single = len(named) == 1 and several(target) is None
    outputs = {place: found[place].cpu() for place in question.outputs}
    for name, values in question.numbers(outputs).items():
        own: list[float] = values[:, 0].tolist()
        clean[name] = own[0] if single else own
    targets = named[0] if single else named or None
    finite = all(bool(found[place].isfinite().all()) for place in question.targets)
    notes = () if finite else not_finite.notes(net, walk.image, question.targets)
    return Asked(question, targets, clean, rank, notes)


def _strongest(net: Network, step: int, maps: Mapping[int, Tensor]) -> tuple[int, str]:
    """Return the channel that answers most, as a projection finds it, and how it was ranked."""
    rank = ranking.chosen_rank(net.graph, [step], None, net.typical)
    typical = None if net.typical is None else net.typical.of(net.graph, step)
    found = (maps[step], maps[ranking.clamped(net.graph, step)])
    peaks, unclamped = (own.flatten(2).amax(2) if own.dim() == 4 else own for own in found)
    return int(ranking.strongest(peaks, unclamped, typical, 1)), rank
