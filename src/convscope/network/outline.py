"""Outline: volumes in the order of a drawing, branches together and repeated blocks told once."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from convscope.network.graph import passed_by_all
from convscope.network.volumes import Volume

LONGEST_PERIOD = 6
FEWEST_PLAIN_REPEATS = 4
"""Plain layers are told apart up to here, as papers do: VGG16's are."""


@dataclass(frozen=True)
class Block:
    """A stretch of a network that one volume enters and one leaves.

    Attributes:
        title: the name of the module that it is, or of its last volume.
        entry: the place of the volume that it reads; -1 at the images.
        volumes: their places, in the order they run; the last one is read from outside.
        branches: whether anything in it runs beside another.
    """

    title: str
    entry: int
    volumes: tuple[int, ...]
    branches: bool


@dataclass(frozen=True)
class Group:
    """Blocks that follow each other, and how often.

    Attributes:
        blocks: those of the first time.
        times: how often they stand there, one after the other.
        last: the title of the last block of the last time.
    """

    blocks: tuple[Block, ...]
    times: int
    last: str


def outline(volumes: Sequence[Volume]) -> list[Group]:
    """Return the groups that a network's volumes make, in order.

    A volume through which everything passes is a block of its own, unless it belongs to the module
    of a branching one beside it. Blocks that are alike and follow each other are told once, plain
    ones only from the fourth time on.
    """
    return _folded(volumes, _with_own(volumes, _blocks(volumes)))


def narrow(volumes: Sequence[Volume]) -> list[int]:
    """Return the places of the volumes through which everything passes."""
    return passed_by_all(range(len(volumes)), lambda place: volumes[place].inputs)


def _blocks(volumes: Sequence[Volume]) -> list[Block]:
    trunk = narrow(volumes)
    blocks = [Block(volumes[0].name, -1, (0,), branches=False)]
    for entry, exit_ in pairwise(trunk):
        places = tuple(range(entry + 1, exit_ + 1))
        title = volumes[exit_].name
        if len(places) > 1:
            title = _common([volumes[place].name for place in places]) or title
        blocks.append(Block(title, entry, places, len(places) > 1))
    return blocks


def _common(names: Sequence[str]) -> str:
    """Return the module that all of these are in, if there is one."""
    split = [name.partition(":")[0].split(".") for name in names]
    kept = []
    for parts in zip(*split, strict=False):
        if len(set(parts)) > 1:
            break
        kept.append(parts[0])
    return ".".join(kept)


def _with_own(volumes: Sequence[Volume], blocks: list[Block]) -> list[Block]:
    """Join to each branching block the plain ones beside it that are in its module."""
    joined: list[Block] = []
    for block in blocks:
        before = joined[-1] if joined else None
        if before and _joins(volumes, before, block):
            title = block.title if block.branches else before.title
            joined[-1] = Block(title, before.entry, before.volumes + block.volumes, branches=True)
            while len(joined) > 1 and _joins(volumes, joined[-2], joined[-1]):
                last = joined.pop()
                first = joined.pop()
                joined.append(
                    Block(last.title, first.entry, first.volumes + last.volumes, branches=True)
                )
        else:
            joined.append(block)
    return joined


def _joins(volumes: Sequence[Volume], before: Block, block: Block) -> bool:
    """Return whether one of two neighbours is plain and in the branching other's module."""
    if before.branches == block.branches:
        return False
    plain, branching = (block, before) if before.branches else (before, block)
    (place,) = plain.volumes[:1]
    module = branching.title.partition(":")[0]
    return bool(module) and volumes[place].name.startswith((f"{module}.", f"{module}:"))


def _folded(volumes: Sequence[Volume], blocks: list[Block]) -> list[Group]:
    alike = [_likeness(volumes, block) for block in blocks]
    groups: list[Group] = []
    start = 0
    while start < len(blocks):
        period, times = _best_repeat(blocks, alike, start)
        end = start + period * times
        groups.append(Group(tuple(blocks[start : start + period]), times, blocks[end - 1].title))
        start = end
    return groups


def _best_repeat(blocks: list[Block], alike: list[object], start: int) -> tuple[int, int]:
    """Return the period and number of times of the repeat at *start* that saves most."""
    best, saved = (1, 1), 0
    for period in range(1, LONGEST_PERIOD + 1):
        times = 1
        window = alike[start : start + period]
        while alike[start + times * period : start + (times + 1) * period] == window:
            times += 1
        branches = any(block.branches for block in blocks[start : start + period])
        enough = times >= (2 if branches else FEWEST_PLAIN_REPEATS)
        if enough and (times - 1) * period > saved:
            best, saved = (period, times), (times - 1) * period
    return best


def _likeness(volumes: Sequence[Volume], block: Block) -> object:
    """Return what two blocks have in common if they are drawn alike."""
    first = block.volumes[0]
    entry = volumes[block.entry] if block.entry >= 0 else None
    return (
        entry and (entry.channels, entry.size),
        tuple(
            (v.kind, v.detail, v.channels, v.size, v.before, v.after,
             tuple(source - first for source in v.inputs))
            for v in (volumes[place] for place in block.volumes)
        ),
    )  # fmt: skip
