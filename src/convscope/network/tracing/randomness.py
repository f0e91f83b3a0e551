"""Randomness that evaluation mode leaves on: where it is, and what takes its place."""

import linecache
import random
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.fx import Node

from convscope.network.tracing.lowering import Lowered, Same, named_arguments

aten = torch.ops.aten

REFUSE, FREEZE = "refuse", "freeze"
CHOICES = (REFUSE, FREEZE)
PYTHONS = "a random number drawn in Python"
"""By its own ``random``, or by NumPy's."""
KEPT = "what it counts, or draws from a generator that it keeps,"

_DROPOUT = ("dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout")
_DRAWS = (
    "rand", "randn", "randint", "randperm", "rand_like", "randn_like", "randint_like", "normal",
    "uniform", "exponential", "geometric", "log_normal", "cauchy", "random",
)  # fmt: skip
_OURS = str(Path(__file__).parents[1])
_PLACE = re.compile(r'File "([^"]+)", line (\d+), in .+\n\s*(.+)')


@dataclass(frozen=True)
class RandomUse:
    """One place where a network is random though it is in evaluation mode.

    Attributes:
        what: ``"dropout"``, ``"a random mask"``, ``"random values"``, :data:`PYTHONS`
            or :data:`KEPT`.
        place: the line of its code, as ``"net.py:12, `F.dropout(x)`"``, or the module's name.
        module: the dotted name of the module whose forward it is in.
    """

    what: str
    place: str
    module: str

    @property
    def finding(self) -> str:
        """What is wrong, and how to put it right."""
        return (
            f"{self.what} {'stay' if self.what.endswith('s') else 'stays'} on in evaluation: "
            f"{self.place}"
        )

    @property
    def advice(self) -> str:
        """What to write instead."""
        if self.what == "dropout":
            return "pass `training=self.training` there, or use the module, such as nn.Dropout"
        return "leave it out there where `self.training` is false"

    @property
    def refusal(self) -> str:
        """What is said where it is not to be frozen."""
        return (
            f"{self.finding}, so that two equal calls differ; {self.advice}, or take "
            f"random='freeze' (--random freeze), which does without"
        )

    @property
    def note(self) -> str:
        """What pictures say where it was frozen."""
        if self.what == KEPT:
            return f"as it was at first: {self.what} in {self.place}"
        if self.what in ("random values", PYTHONS):
            return f"drawn once with a fixed seed: {self.what} at {self.place}"
        return f"switched off: {self.what} at {self.place}"


def own_line(trace: str | None) -> str | None:
    """Return the line of somebody's own code in a trace of calls, with its text.

    The innermost line of code that is not installed, else of any that is not torch's.
    """
    frames = [f for f in _PLACE.findall(trace or "") if not f[0].startswith((_OURS, "<"))]
    for foreign in ("site-packages", "/torch/"):
        own = [frame for frame in frames if foreign not in frame[0]]
        if own:
            file, line, text = own[-1]
            return f"{file}:{line}, `{text.strip()}`"
    return None


def _name(node: Node) -> str:
    target: Any = node.target
    return str(target._schema.name).split("::")[-1].removesuffix("_")


def random_use(node: Node) -> RandomUse | None:
    """Return what is random in a node of a program; None if nothing is."""
    target = node.target
    if not isinstance(target, torch._ops.OpOverload):
        return None
    if torch.Tag.nondeterministic_seeded not in target.tags:
        return None
    named = named_arguments(node)
    on = named.get("train", named.get("training", True)) is not False
    if not on or 0 in (named.get("dropout_p"), named.get("p") if "train" in named else None):
        return None
    name = _name(node)
    masks = {"bernoulli": "a random mask", "rrelu": "a random slope"}
    what = "dropout" if "train" in named or "dropout_p" in named else masks.get(name)
    stack = node.meta.get("nn_module_stack")
    owner = [*stack.values()][-1][0] if stack else ""
    place = own_line(node.meta.get("stack_trace")) or f"in module {owner or 'itself'!r}"
    return RandomUse(what or "random values", place, owner)


def switched_off(node: Node) -> Lowered | Same | None:
    """Return what evaluation mode would have made of a random node; None where it is unknown."""
    named, name = named_arguments(node), _name(node)
    target: Any = node.target
    if name in _DROPOUT:
        return Same(node.all_input_nodes[0])
    if name == "rrelu":
        return Lowered(aten.rrelu.default, {**named, "training": False})
    if "dropout_p" in named:
        return Lowered(target, {**named, "dropout_p": 0.0})
    if target is aten.bernoulli.default:
        return Same(named["self"])
    if name == "bernoulli" and isinstance(named["p"], float):
        # A mask of stochastic depth is divided by its mean afterwards, so that its mean is off.
        arguments = {"self": named["self"], "fill_value": named["p"]}
        return Lowered(aten.full_like.default, arguments)
    return None


def only_draws(node: Node) -> bool:
    """Return whether a random node takes no more than a shape from what it reads."""
    mixed = any(isinstance(named_arguments(node).get(name), Node) for name in ("mean", "std"))
    return _name(node) in _DRAWS and not mixed


def drawn(node: Node, seed: int, fill: Callable[[Node], Any]) -> Tensor:
    """Return random values for one image, the same whenever and wherever they are drawn.

    Args:
        node: a node that :func:`only_draws`.
        seed: of its own for each place.
        fill: gives what another node stands for; of a tensor, any of its shape.
    """
    args, kwargs = torch.fx.node.map_arg((node.args, dict(node.kwargs)), fill)
    if kwargs.get("device") is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.default_generator.manual_seed(seed)
        values: Tensor = node.target(*args, **kwargs)  # type: ignore[operator]
    return values.to(node.meta["val"].device)


def _states() -> tuple[Any, ...]:
    """Return where the random numbers of Python and of NumPy stand."""
    numpys: Any = np.random.get_state()
    return random.getstate(), *(part.tobytes() if part is numpys[1] else part for part in numpys)


@contextmanager
def pythons_draws(forward: Callable[[], Any]) -> Iterator[list[RandomUse]]:
    """Seed the random numbers of Python and NumPy during a trace, and put them back after it.

    A trace keeps what they decide, such as the way a branch goes, and no node tells of it.

    Args:
        forward: calls the network once, to find the line that draws.

    Yields:
        a list, which afterwards holds where they are drawn, if they are.
    """
    found: list[RandomUse] = []
    before = random.getstate(), np.random.get_state()
    try:
        random.seed(0)
        np.random.seed(0)
        seeded = _states()
        yield found
        # Without a line it was another thread that drew.
        if _states() != seeded and (line := _line_that_draws(forward)):
            found.append(RandomUse(PYTHONS, line, ""))
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])


def _line_that_draws(forward: Callable[[], Any]) -> str:
    """Return the first line after which random numbers stand elsewhere, in code but torch's."""
    line, state, found = "", _states(), ""
    others = (_OURS, "<", str(Path(torch.__file__).parent), random.__file__)

    def watch(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal line, state, found
        file, number = frame.f_code.co_filename, frame.f_lineno
        if found or file.startswith(others):
            return None
        before, state = state, _states()
        if state != before:
            found = line
        line = f"{file}:{number}, `{linecache.getline(file, number).strip()}`"
        return watch

    outer = sys.gettrace()
    sys.settrace(watch)
    try:
        with torch.no_grad():
            forward()
    finally:
        sys.settrace(outer)
    return found
