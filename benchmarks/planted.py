"""Which methods find what a class is known to hang on: networks with planted truth, 20 seeds each.

    python benchmarks/planted.py [--seeds 20] [--pictures 6]

writes its table into docs/attribute.md (with as many seeds).

Small networks learn drawn pictures of 32 pixels, in seconds. Their class hangs on

- a *corner*: the colour of the square in the top left one; the others bear such squares as well;
- a *mark*: a chequered stamp, which all training pictures of one class bore. What is explained is
  that class, on pictures of other classes with the stamp;
- an *object*: the shape, in the same pictures, of a network that learned without the stamp;
- *copies*: a shape that stands there twice, of which either is enough;
- a *rival*: one of two shapes of different classes, by the network of *objects*. What is explained
  is the class that is not the answer.

That it does so is tried on every picture: without the truth the answer must turn, without the rest
it must stay (of rivals, without either the answer is the other); other pictures are left out. In
networks of *objects* the channels of a convolution are copied besides, with twice and minus once
the weights behind, so that they answer as before.
"""

import argparse
import copy
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional

import convscope as cs
from convscope.methods.attribute import METHODS
from convscope.methods.similarity import edges
from timing import put

SIDE, SHAPE, MARK, CORNER, CLASSES = 32, 11, 7, 8, 4
SEEDS = 20
MARKED = 0
"""The class whose training pictures bear the mark."""
SIGNALS = {"deconvnet", "guided", "gradient", "rectgrad", "smoothgrad", "guided-grad-cam"}
"""Methods of which the size counts; of shares in the score it is what speaks for the class."""
COLOURS = torch.tensor([[0.9, 0.2, 0.2], [0.2, 0.8, 0.2], [0.2, 0.3, 0.9], [0.9, 0.8, 0.2]])
NULLS = "the picture's edges", "noise"
"""What knows nothing of the network."""


@dataclass
class Pictures:
    """Pictures [N, 3, H, W], classes [N], places [N, parts, H, W], and what is behind them."""

    images: Tensor
    classes: Tensor
    truth: Tensor
    backgrounds: Tensor

    def without(self, places: Tensor) -> Tensor:
        """Return the pictures with their background in these places, [N, H, W]."""
        return torch.where(places[:, None], self.backgrounds, self.images)


def background(count: int, generator: torch.Generator) -> Tensor:
    rough = torch.rand(count, 3, 5, 5, generator=generator)
    fine = torch.randn(count, 3, SIDE, SIDE, generator=generator)
    smooth = functional.interpolate(rough, (SIDE, SIDE), mode="bilinear")
    return (0.2 + 0.6 * smooth + 0.05 * fine).clamp(0, 1)


def shapes() -> Tensor:
    """Return a disc, a frame, a cross and a cross that is turned, [4, 11, 11]."""
    y, x = torch.meshgrid(*[torch.arange(SHAPE) - SHAPE // 2] * 2, indexing="ij")
    return torch.stack([
        x**2 + y**2 <= 25, torch.maximum(x.abs(), y.abs()) >= 4,
        (x.abs() <= 1) | (y.abs() <= 1), ((x - y).abs() <= 1) | ((x + y).abs() <= 1),
    ])  # fmt: skip


def quarters(side: int, order: Tensor, at: int, generator: torch.Generator) -> Iterator[slice]:
    """Return a random place for a square in one of the four quarters of a picture, yet free."""
    for axis in (order[at] // 2, order[at] % 2):
        half = SIDE // 2
        first = half * int(axis) + int(torch.randint(half - side + 1, (1,), generator=generator))
        yield slice(first, first + side)


def corners(count: int, generator: torch.Generator) -> Pictures:
    under = background(count, generator)
    images, drawn = under.clone(), torch.randint(CLASSES, (count, 4), generator=generator)
    for place, (rows, columns) in enumerate(
        (rows, columns)
        for rows in (slice(CORNER), slice(-CORNER, None))
        for columns in (slice(CORNER), slice(-CORNER, None))
    ):
        images[:, :, rows, columns] = COLOURS[drawn[:, place]][:, :, None, None]
    truth = torch.zeros(count, 2, SIDE, SIDE, dtype=torch.bool)
    truth[:, 0, :CORNER, :CORNER] = True
    truth[:, 1] = (images != under).any(1) & ~truth[:, 0]
    return Pictures(images, drawn[:, 0], truth, under)


def objects(
    count: int,
    generator: torch.Generator,
    marked: str = "none",
    copies: int = 1,
    rival: bool = False,
) -> Pictures:
    """Return pictures of a shape, or a few, and of a bar that means nothing.

    Args:
        count: how many pictures.
        generator: of all that is random.
        marked: which bear the mark: ``"none"``, those of the ``"class"``, or ``"all"``.
        copies: how many shapes.
        rival: whether the others are of the next class, or the one or two after.

    Returns:
        the places of the shapes and, last, of the mark, as truth.

    """
    under = background(count, generator)
    images, classes = under.clone(), torch.randint(CLASSES, (count,), generator=generator)
    truth = torch.zeros(count, copies + 1, SIDE, SIDE, dtype=torch.bool)
    chequered = torch.arange(MARK)[:, None].add(torch.arange(MARK)) % 2
    for n, own in enumerate(classes.tolist()):
        order = torch.randperm(4, generator=generator)
        colour = torch.rand(3, 1, generator=generator)
        rows, columns = quarters(5, order, 3, generator)
        images[n, :, rows, columns] = torch.rand(3, 1, 1, generator=generator)
        for part in range(copies):
            rows, columns = quarters(SHAPE, order, part, generator)
            drawn = (own + 1 + n % 3) % CLASSES if rival and part else own
            images[n, :, rows, columns][:, shapes()[drawn]] = colour
            truth[n, part, rows, columns] = True
        rows, columns = quarters(MARK, order, 2, generator)
        truth[n, copies, rows, columns] = True
        if marked == "all" or (marked == "class" and own == MARKED):
            images[n, :, rows, columns] = chequered.float()
    return Pictures(images, classes, truth, under)


def network(flat: bool) -> nn.Sequential:
    """Return a small network whose answer knows places, if *flat*, or does not."""
    layers = [
        nn.Conv2d(3, 12, 5, 2, 2), nn.BatchNorm2d(12), nn.ReLU(),
        nn.Conv2d(12, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 24, 3, padding=1), nn.BatchNorm2d(24), nn.ReLU(),
    ]  # fmt: skip
    if flat:
        head = [nn.Flatten(), nn.Linear(24 * 8 * 8, 16), nn.ReLU(), nn.Linear(16, CLASSES)]
    else:
        head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, CLASSES)]
    return nn.Sequential(*layers, *head)


def trained(module: nn.Module, pictures: Pictures, generator: torch.Generator, rounds: int = 9):
    """Return the network, trained on the pictures."""
    count, batch = len(pictures.images), 64
    steps = rounds * (count // batch)
    optimizer = torch.optim.AdamW(module.parameters(), 1e-2, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, steps)
    module.train()
    for step in range(steps):
        if step % (count // batch) == 0:
            order = torch.randperm(count, generator=generator)
        chosen = order[step % (count // batch) * batch :][:batch]
        optimizer.zero_grad()
        inputs = pictures.images[chosen] * 4 - 2
        functional.cross_entropy(module(inputs), pictures.classes[chosen]).backward()
        optimizer.step()
        schedule.step()
    return module.eval()


def found_in(
    net: cs.Network, pictures: Tensor, asked: Tensor, method: str, others: Tensor
) -> Tensor:
    """Return what a method finds for the classes asked for, none below zero, [N, H, W]."""
    baseline = net.preprocess.to_inputs(others) if method == "expected-gradients" else None
    found = torch.cat([
        cs.attribute(
            net, net.preprocess.to_inputs(image[None]), int(number), method=method,
            baseline=baseline, steps=24,
        ).pixels[:, 0]
        for image, number in zip(pictures, asked, strict=True)
    ])  # fmt: skip
    return found.abs().sum(1) if method in SIGNALS else found.sum(1).clamp(min=0)


def hits(values: Tensor, truth: Tensor) -> list[tuple[float, float]]:
    """Return for each picture whether its strongest pixel is true, and the share that is.

    Of copies the weaker must besides have a quarter or more of what both have.
    """
    rows = []
    for own, parts in zip(values, truth, strict=True):
        inside = torch.stack([own[part].sum() for part in parts])
        share = float(inside.sum() / own.sum()) if own.any() else 0.0
        hit = bool(own.any() and parts.any(0).flatten()[own.argmax()])
        if len(parts) > 1:
            hit &= bool(inside.min() >= inside.sum() / 4)
        rows.append((float(hit), share))
    return rows


def decided(kind: str, module: nn.Module, shown: Pictures) -> tuple[Tensor, Tensor]:
    """Return in which pictures the class asked for hangs on the truth and nothing else, and it.

    Args:
        kind: the plant.
        module: the network.
        shown: the pictures, with the truth and, as the last place, the rest.

    """

    def answers(pictures: Tensor) -> Tensor:
        with torch.no_grad():
            return module(pictures * 4 - 2).argmax(1)

    said, truth = answers(shown.images), shown.truth[:, :-1]
    parts = [answers(shown.without(place)) for place in shown.truth.unbind(1)]
    if kind == "rival":  # the truth is the shape of the class asked for
        return (parts[0] == said) & (parts[1] == shown.classes) & (said != shown.classes), (
            shown.classes
        )
    held = (answers(shown.without(truth.any(1))) != said) & (parts[-1] == said)
    if kind == "copies":
        held &= (parts[0] == said) & (parts[1] == said)
    if kind == "mark":
        held &= (said == MARKED) & (shown.classes != MARKED)
    return held, said


def copied(module: nn.Sequential) -> nn.Sequential:
    """Return a network that answers alike, with each channel of its second convolution twice."""
    twin = copy.deepcopy(module)
    convolution, norm, after = twin[3], twin[4], twin[6]
    for part, names in ((convolution, ("weight", "bias")), (norm, ("weight", "bias"))):
        for name in names:
            values = getattr(part, name).data
            setattr(part, name, nn.Parameter(torch.cat([values, values])))
    for name in ("running_mean", "running_var"):
        setattr(norm, name, torch.cat([getattr(norm, name)] * 2))
    after.weight = nn.Parameter(torch.cat([2 * after.weight.data, -after.weight.data], 1))
    return twin


@cache
def learned(kind: str, seed: int) -> nn.Sequential:
    """Return a network trained on what a plant's pictures are of."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    if kind == "corner":
        return trained(network(flat=True), corners(1024, generator), generator)
    marked, copies = "class" if kind == "mark" else "none", 2 if kind == "copies" else 1
    pictures = objects(1024, generator, marked, copies)
    return trained(network(flat=False), pictures, generator)


def plant(kind: str, seed: int) -> tuple[nn.Sequential, Pictures]:
    """Return a trained network, and pictures with the truth and the rest that might be taken."""
    generator = torch.Generator().manual_seed(1_000 + seed)
    if kind == "corner":
        return learned(kind, seed), corners(64, generator)
    if kind in ("copies", "rival"):
        shown = objects(64, generator, copies=2, rival=kind == "rival")
        if kind == "rival":
            shown = replace(shown, truth=shown.truth[:, :2])
        return learned("object" if kind == "rival" else kind, seed), shown
    shown = objects(64, generator, "all")
    if kind == "mark":
        shown = replace(shown, truth=shown.truth.flip(1))
    return learned(kind, seed), shown


Found = dict[str, dict[str, list[tuple[float, float]]]]
KINDS = ("corner", "mark", "object", "copies", "rival")


def measured(seeds: int, count: int) -> tuple[Found, str]:
    """Return of each method and plant a row a seed: how often it hits, and the share that does."""
    found = {name: {kind: [] for kind in (*KINDS, "same")} for name in [*METHODS, *NULLS]}
    held = {kind: [] for kind in KINDS}
    for kind in KINDS:
        for seed in range(seeds):
            module, shown = plant(kind, seed)
            kept, asked = decided(kind, module, shown)
            held[kind].append(float(kept.float().mean()))
            chosen = kept.nonzero()[:count, 0]
            if not len(chosen):
                continue
            images, truth, asked = shown.images[chosen], shown.truth[chosen, :-1], asked[chosen]
            net, twin = (
                cs.Network(own, (1, 3, SIDE, SIDE), mean=(0.5,) * 3, std=(0.25,) * 3)
                for own in (module, copied(module))
            )
            for name in METHODS:
                values = found_in(net, images, asked, name, shown.images[-16:])
                found[name][kind].append(means(hits(values, truth)))
                if kind == "object":
                    again = found_in(twin, images, asked, name, shown.images[-16:])
                    alike = functional.cosine_similarity(values.flatten(1), again.flatten(1))
                    found[name]["same"].append((float(alike.mean()), 0.0))
            nothing = torch.rand(values.shape, generator=torch.Generator().manual_seed(seed))
            steep = torch.stack([edges(image) for image in images])
            for name, values in zip(NULLS, (steep, nothing), strict=True):
                found[name][kind].append(means(hits(values, truth)))
            print(kind, seed, f"{held[kind][-1]:.0%} of pictures", flush=True)
    words = ", ".join(f"{kind} {sum(own) / len(own):.0%}" for kind, own in held.items())
    return found, words


def means(rows: list[tuple[float, float]]) -> tuple[float, float]:
    first, second = zip(*rows, strict=True)
    return sum(first) / len(rows), sum(second) / len(rows)


def cell(rows: list[tuple[float, float]]) -> str:
    """Return the mean over seeds with the half of its 95 % interval, and that of the share."""
    first, second = (
        torch.tensor(column, dtype=torch.float64) for column in zip(*rows, strict=True)
    )
    if len(rows) < 2:
        return f"{first.mean():.0%} ({second.mean():.0%})"
    half = 2.09 * first.std() / math.sqrt(len(first))
    return f"{100 * first.mean():.0f} ± {100 * half:.0f} ({100 * second.mean():.0f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--pictures", type=int, default=6)
    options = parser.parse_args()
    began = time.process_time()
    found, held = measured(options.seeds, options.pictures)
    table = as_table(found)
    print(table, f"\nhangs on its truth alone: {held}; {time.process_time() - began:.0f} s")
    if options.seeds >= SEEDS:
        put("attribute.md", "planted", table)


def as_table(found: Found) -> str:
    """Return a line a method, the best first: by the mean of its hits over the plants."""

    def rank(name: str) -> float:
        own = [torch.tensor(found[name][kind])[:, 0].mean() for kind in KINDS]
        return -float(sum(own)) / len(own)

    lines = [
        "| method | corner | mark | object | two copies | rival | mean | copied channels |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name in [*sorted(METHODS, key=rank), *NULLS]:
        cells = [cell(found[name][kind]) for kind in KINDS]
        same = [own for own, _ in found[name]["same"]]
        alike = f"{sum(same) / len(same):.2f}" if same else ""
        title = name if name in NULLS else f"`{name}`"
        lines.append(f"| {title} | {' | '.join(cells)} | {-100 * rank(name):.0f} | {alike} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
