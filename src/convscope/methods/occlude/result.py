"""Occlusion: what hiding parts of an image did to a network's answer."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from convscope.errors import UnitError, check_known
from convscope.images import Preprocess
from convscope.methods.occlude.passes import painted
from convscope.methods.occlude.patches import Cover, Fill
from convscope.methods.targets import Named
from convscope.network.windows.placement import Placement
from convscope.outputs import finite
from convscope.results import Result
from convscope.wording import times

KINDS = ("probability", "logit", "number", "activation")
NOT_FINITE = "not a finite number"
ROUNDING = 16
"""A change by fewer roundings than this is none."""


@dataclass(frozen=True, eq=False, repr=False)
class Occlusion(Result):
    """What a network says of one image with a patch over each position of a grid.

    All tensors lie on the CPU. R x S is the grid; T stands for the targets and is there only where
    a list of them was asked for. What was not computed is NaN (-1 in ``predicted``) if the work was
    stopped or has no number, and estimated from its neighbours with the method ``"adaptive"``.

    Attributes:
        image: [C, H, W], the image as it is, in the network's input space.
        positions: [R, S, 4], int64: top, left, bottom, right (the last two excluded) of the patch.
        computed: [R, S], bool: whether the network was asked; the rest is estimated or missing.
        probability: [R, S] or [T, R, S], 0 to 1, that of the target; None if the output is numbers
            or nothing that a target can be chosen of. Of several targets, NaN for what is no class.
        logit: the same for the logit: what the network makes the probability of by a softmax or a
            sigmoid.
        number: the same where the output is numbers, or a target is no class; NaN for a class.
        predicted: [R, S], int64: the most probable class; None as the probability.
        activation: [R, S]: the sum of the unit's feature map; None without a layer.
        clean: the same numbers of the image as it is, by the names above: a number, or one a
            target.
        targets: the class, or the classes, that ``probability``, ``logit`` and ``number`` are of;
            what any other target is called.
        answer: what the output was taken for: ``"classes"``, ``"labels"`` or ``"number"``; None if
            it was not looked at.
        output: the same in more words.
        rank: how the channel was found, as that of a projection; empty where it was given.
        classes: names of the classes that occur in ``targets`` and ``predicted``, by number.
        layer: name of the unit's layer.
        channel: its channel.
        patch: height and width of the patch, in pixels; of masks, of the largest one's rectangle.
        stride: pixels from one position to the next, down and across; 0 for masks.
        fill: what hid the pixels.
        method: ``"exact"``, ``"full"`` or ``"adaptive"``.
        network: the network's name.
        preprocess: takes inputs back to pixels.
        title: what the image is called.
        behind: [C, H, W], what is seen where the image is hidden; None where each part takes the
            mean of the pixels under it.
        masks: [M, 1 or C, H, W], bool: the parts that were hidden, if they were no patches; the
            grid is then [1, M].
        parts: what these are called, such as ``"channel 0"`` or ``"label 7"``.
        projection: [C, H, W], the unit's whole map brought down to pixels; None without a unit, or
            where the rule means nothing.
        rule: the projection's.
        agreement: correlation between the projection and the drop of the map's sum; see
            :func:`~.agreement.agreement`.
        agreement_by_chance: what such a correlation reaches by chance.
    """

    image: Tensor
    positions: Tensor
    computed: Tensor
    clean: dict[str, Any]
    targets: Named | tuple[Named, ...] | None
    classes: dict[str, str]
    layer: str | None
    channel: int | None
    patch: tuple[int, int]
    stride: tuple[int, int]
    fill: str
    method: str
    network: str
    preprocess: Preprocess
    title: str
    probability: Tensor | None = None
    logit: Tensor | None = None
    number: Tensor | None = None
    predicted: Tensor | None = None
    activation: Tensor | None = None
    behind: Tensor | None = None
    masks: Tensor | None = None
    parts: tuple[str, ...] = ()
    projection: Tensor | None = None
    rule: str | None = None
    agreement: float | None = None
    agreement_by_chance: float | None = None
    answer: str | None = None
    output: str = ""
    rank: str = ""

    figure: ClassVar[str] = "occlude"
    seen_only: ClassVar[tuple[str, ...]] = ("image", "behind", "projection", "masks")
    film: ClassVar[str] = "occlude_film"

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the image, in pixels."""
        return self.image.shape[1], self.image.shape[2]

    @property
    def part(self) -> str:
        """What was hidden at each position, in words."""
        if self.masks is None:
            return f"patch {times(self.patch)}"
        return f"one of {len(self.masks)} {'channels' if self.of_channels else 'masks'}"

    @property
    def of_channels(self) -> bool:
        """Whether channels were hidden, which have no place in the image."""
        return self.masks is not None and self.masks.shape[1] > 1

    def where(self, place: int) -> str:
        """Return in words what was hidden at a position, by its number in the grid."""
        top, left, bottom, right = self.positions.view(-1, 4)[place].tolist()
        rows = f"rows {top}-{bottom - 1}, columns {left}-{right - 1}"
        if self.masks is None:
            return rows
        name = self.part_name(place)
        return name if self.of_channels else f"{name} (in {rows})"

    def part_name(self, place: int) -> str:
        """Return what a mask or channel is called, by its number in the grid."""
        kind = "channel" if self.of_channels else "mask"
        return self.parts[place] if self.parts else f"{kind} {place}"

    @property
    def kind(self) -> str:
        """The quantity that a picture shows first: ``"probability"``, where there is one."""
        return next(kind for kind in KINDS if getattr(self, kind) is not None)

    def values(self, kind: str) -> Tensor:
        """Return ``probability``, ``logit``, ``number`` or ``activation`` by its name.

        Raises:
            UnitError: if there is no such quantity, or it was not asked for.
        """
        check_known("quantity", kind, KINDS, UnitError)
        found: Tensor | None = getattr(self, kind)
        if found is None:
            own = self.taken_for or ("a map only" if self.targets is None else "other numbers")
            why = "no layer was named" if kind == "activation" else f"it is of {own}"
            raise UnitError(f"there is no {kind} in this occlusion: {why}")
        return found

    def singles(self) -> "list[Occlusion]":
        """Return one occlusion a target; itself alone where there is no list of them."""
        if not isinstance(self.targets, tuple):
            return [self]
        own = [name for name in KINDS[:3] if getattr(self, name) is not None]
        found = []
        for place, target in enumerate(self.targets):
            # Beside other targets a class has its probability and its logit, they their number.
            other = isinstance(target, str) or own == ["number"]
            read = [name for name in own if (name == "number") == other]
            clean = {n: v[place] if n in own else v for n, v in self.clean.items()
                     if n not in own or n in read}  # fmt: skip
            values: dict[str, Any] = {
                n: getattr(self, n)[place] if n in read else None for n in own
            }
            found.append(replace(self, targets=target, clean=clean, **values))
        return found

    def drop(self, kind: str | None = None) -> Tensor:
        """Return by how much hiding each position lowers a quantity, [R, S] or [T, R, S].

        Of the quantity :attr:`kind` by default.
        """
        kind = kind or self.kind
        values = self.values(kind)
        clean = values.new_tensor(self.clean[kind])
        return clean.reshape(-1, 1, 1).expand_as(values) - values if clean.dim() else clean - values

    def heatmap(self, kind: str | None = None) -> Tensor:
        """Return the mean drop over the patches that cover each pixel.

        It equals captum's ``Occlusion`` for the same windows, strides and baseline.

        Args:
            kind: ``"probability"``, ``"logit"``, ``"number"`` or ``"activation"``; by default the
                first of them that there is.

        Returns:
            [H, W] or [T, H, W]; NaN where no patch lies, as between patches further apart than
            their size.

        Raises:
            UnitError: if there is no such quantity, or it was not asked for.
        """
        drop = self.drop(kind)
        return self.over_pixels(drop).to(drop)

    def over_pixels(self, values: Tensor) -> Tensor:
        """Return the mean of *values*, [..., R, S], over what covers each pixel, [..., H, W]."""
        values = values.double()
        known = ~values.isnan()
        total = self._spread(values.nan_to_num(0.0))
        count = self._spread(known.double()).round()
        return torch.where(count > 0, total / count.clamp(min=1), torch.nan)

    def _spread(self, values: Tensor) -> Tensor:
        """Return the sum at each pixel over the patches that cover it, [..., H, W]."""
        if self.masks is not None:
            covers = self.masks.any(1).double().expand(-1, *self.image_size).flatten(1)
            return (values @ covers).reshape(*values.shape[:-2], *self.image_size)
        height, width = self.image_size
        flat = values.reshape(-1, values.shape[-2] * values.shape[-1])
        top, left, bottom, right = self.positions.reshape(-1, 4).unbind(1)
        # Each patch adds its value in its corner and takes it away beyond its ends: two running
        # sums then fill the rectangle.
        steps = flat.new_zeros(len(flat), (height + 1) * (width + 1))
        for row, column, sign in ((top, left, 1), (top, right, -1), (bottom, left, -1), (bottom, right, 1)):  # fmt: skip # noqa: E501
            steps.index_add_(1, row * (width + 1) + column, sign * flat)
        sums = steps.view(-1, height + 1, width + 1).cumsum(1).cumsum(2)[:, :height, :width]
        return sums.reshape(*values.shape[:-2], height, width)

    @property
    def agrees(self) -> bool:
        """Whether the projection agrees with the drop better than by chance."""
        chance = self.agreement_by_chance
        return self.agreement is not None and chance is not None and self.agreement > chance

    @property
    def telling(self) -> int:
        """The number, row by row, of the position that lowers the target, or the unit, most."""
        return int(self._telling_drop.nan_to_num(-torch.inf).argmax())

    @property
    def _telling_drop(self) -> Tensor:
        return self.drop("logit" if self.logit is not None else None)

    @property
    def is_lowered(self) -> bool:
        """Whether any position lowers the target, or the unit, by more than rounding."""
        kind = "logit" if self.logit is not None else self.kind
        return bool((self._telling_drop > self.rounding(kind)).any())

    def rounding(self, kind: str) -> float:
        """Return by how much a quantity of the only target may change by rounding alone."""
        return float(ROUNDING * torch.finfo(self.image.dtype).eps * abs(self.clean[kind]))

    @property
    def is_finite(self) -> bool:
        """Whether the only target has a number in the image as it is."""
        return math.isfinite(self.clean[self.kind])

    def hidden(self, place: int) -> Tensor:
        """Return the image with one part hidden, by the part's number in the grid, [C, H, W]."""
        masks = None if self.masks is None else self.masks[place : place + 1]
        corners = self.positions.reshape(-1, 4)[place : place + 1].numpy()
        cover = Cover(corners, Fill(self.fill, self.behind), masks)
        return painted(self.image, cover, Placement.of_whole(self.image_size, 1))[0]

    @property
    def taken_for(self) -> str:
        """What the output was taken for; nothing where a target is another number made of it."""
        is_other = self.number is not None and self.answer != "number"
        return "" if is_other else self.output

    @property
    def is_another(self) -> bool:
        """Whether the only target is not what the network takes the image for."""
        decided = self.predicted is not None and self._is_decided
        return decided and self.clean["predicted"] != self.targets

    @property
    def _is_decided(self) -> bool:
        """Whether the image as it is was taken for something: of NaN no class is the largest."""
        values = self.clean.get("logit", self.clean.get("number"))
        several = values if isinstance(values, list | tuple) else [values]
        return not all(isinstance(v, float) and math.isnan(v) for v in several)

    def class_name(self, number: Named) -> str:
        """Return the name of a class, or its number where the network names none.

        What any other target is called stays.
        """
        if isinstance(number, str):
            return number
        noun = {"labels": "label", "number": "output"}.get(str(self.answer), "class")
        return self.classes.get(str(number), f"{noun} {number}")

    @property
    def heading(self) -> str:
        """What the image is called, and what the network takes it for."""
        if self.predicted is None or not self._is_decided:
            return self.title
        return f"{self.title}: {self.class_name(self.clean['predicted'])}"

    def derived(self) -> dict[str, Tensor]:
        """Return the heat maps that there are."""
        kinds = [kind for kind in KINDS if getattr(self, kind) is not None]
        return {f"heatmap_{kind}": self.heatmap(kind) for kind in kinds}

    def table(self) -> list[dict[str, Any]]:
        """Return a row a position and target: where it lies, and what the network says."""
        rows = []
        names = ("computed", "predicted", *KINDS)
        for one in self.singles():
            values = {n: getattr(one, n) for n in names if getattr(one, n) is not None}
            own = {n: v.flatten().tolist() for n, v in values.items()}
            for place, corners in enumerate(one.positions.view(-1, 4).tolist()):
                sides = zip(("top", "left", "bottom", "right"), corners, strict=True)
                part = {"patch": f"{one.patch[0]}x{one.patch[1]}"}
                if one.masks is not None:
                    part = {"part": one.part_name(place)}
                row = {"image": one.title, **part, **dict(sides)}
                target = {} if one.targets is None else {"target": one.targets}
                rows.append(finite(row | target | {n: v[place] for n, v in own.items()}))
        return rows

    def summary(self) -> str:
        """Return what was hidden, and where that changes the answer most."""
        done = f"{int(self.computed.sum())} of {self.computed.numel()} positions"
        lines = [f"{self.heading}; {self.part}, {done}"]
        lines += [f"  {note}" for note in self.notes if note.startswith("values are not finite")]
        if self.output:
            lines.append(f"  output: {self.output}")
        if self.targets is not None:
            lines += [line for one in self.singles() for line in one._told()]
        if self.activation is not None:
            best = self.drop("activation").nan_to_num(-torch.inf).max().item()
            told = f"sum {self.clean['activation']:.4g}, largest drop {best:.4g}"
            if not math.isfinite(self.clean["activation"]):
                told = NOT_FINITE
            lines.append(f"  {self.layer} channel {self.channel}: {told}")
            lines.append(f"  {self.agreement_told()}")
        if self.partial:
            lines.append(f"  partial: {self.notes[-1]}")
        return "\n".join(lines)

    def _told(self) -> list[str]:
        """Return what hiding the most telling place does to the only target."""
        assert self.targets is not None
        assert not isinstance(self.targets, tuple)
        where = f"hiding {self.where(self.telling)}"
        name, clean = self.class_name(self.targets), self.clean[self.kind]
        if not self.is_finite:
            return [f"  {name}: {NOT_FINITE}"]
        low = self.values(self.kind).flatten()[self.telling].item()
        told = [f"  {name} {clean:.4g}; lowest {where}: {low:.4g}"]
        if self.number is None:
            told = [f"  P({name}) {clean:.4f}; lowest logit {where}: P {low:.4f}"]
        if not self.is_lowered:
            told = [f"{told[0].partition('; lowest')[0]}; nothing that was hidden lowers it"]
        if self.is_another:
            taken = self.class_name(self.clean["predicted"])
            told.insert(0, f"  the network takes this image for {taken}, not for {name}")
        return told

    def agreement_told(self) -> str:
        """Return in words how well the projection agrees with the drop of the map's sum."""
        if self.agreement is None:
            return "no correlation with a projection"
        told = f"correlation of |projection| with the drop: {self.agreement:.2f}"
        if self.agreement_by_chance is None:
            return f"{told} (by chance: unknown)"
        more = "by chance" if self.agrees else "no better than chance:"
        return f"{told} ({more} up to {self.agreement_by_chance:.2f})"


@dataclass(frozen=True, eq=False, repr=False)
class Occlusions(Result):
    """Occlusions of several images, with patches of one size or several, one after another.

    Attributes:
        maps: an occlusion an image and size: all sizes of the first image, then of the next.
    """

    maps: tuple[Occlusion, ...]

    figure: ClassVar[str] = "occlude"
    film: ClassVar[str] = "occlude_film"

    @classmethod
    def of(cls, maps: Sequence[Occlusion], partial: str = "") -> Self:
        """Return occlusions as one result."""
        notes = dict.fromkeys(note for one in maps for note in one.notes)
        return cls(tuple(maps), notes=tuple(notes), partial=partial)

    def __len__(self) -> int:
        """Return how many occlusions there are."""
        return len(self.maps)

    def __getitem__(self, place: int) -> Occlusion:
        """Return one of them."""
        return self.maps[place]

    def __iter__(self) -> Iterator[Occlusion]:
        """Return each of them."""
        return iter(self.maps)

    def singles(self) -> list[Occlusion]:
        """Return one occlusion an image, size and target."""
        return [single for one in self.maps for single in one.singles()]

    def derived(self) -> dict[str, Tensor]:
        """Return the heat maps by number and name."""
        own = {n: one.derived() for n, one in enumerate(self.maps)}
        return {f"maps/{n}/{name}": v for n, found in own.items() for name, v in found.items()}

    def to_dict(self, **options: Any) -> dict[str, Any]:
        """Return all but the images and what belongs to them, fit for JSON."""
        return {**self.facts(), "maps": [one.to_dict() for one in self.maps]}

    def table(self) -> list[dict[str, Any]]:
        """Return a row an image, size, position and target."""
        return [row for one in self.maps for row in one.table()]

    def summary(self) -> str:
        """Return what was hidden of each image, and where that changes the answer most."""
        return "\n".join(one.summary() for one in self.maps)
