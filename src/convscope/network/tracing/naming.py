"""Names of steps: those of the modules whose forward holds them, as a user writes them."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from torch.fx import Node

from convscope.network.graph import Step

Owner = tuple[str, str]
"""The dotted name of the module whose forward holds an operation, and the operation's name."""


def owner_of(node: Node, target: Any) -> Owner:
    """Return the dotted name of the module whose forward holds *node*, and the operation's name."""
    stack = node.meta.get("nn_module_stack") or {"": ("", None)}
    path = list(stack.values())[-1][0]
    name = target._schema.name.split("::")[-1]
    name = {"_native_batch_norm_legit_no_training": "batch_norm"}.get(name, name)
    return path, name.removeprefix("native_").removeprefix("_")


def modules_of(owners: Sequence[Owner]) -> dict[str, int]:
    """Return for each module the last step inside it, which makes its output."""
    modules: dict[str, int] = {}
    for index, (path, _) in enumerate(owners):
        modules |= dict.fromkeys(accumulate(path.split("."), "{}.{}".format), index)
    modules.pop("", None)
    return modules


def names_of(
    steps: Sequence[Step], owners: Sequence[Owner], modules: Mapping[str, int]
) -> list[str]:
    """Name every step.

    It takes its module's name if it is the only operation written there, or makes the module's
    output; otherwise the operation's name follows.
    """
    paths = {path for path, _ in owners}
    parents = {path.rsplit(".", i)[0] for path in paths for i in range(1, path.count(".") + 1)}
    kinds: dict[str, set[str]] = {}
    for step, (path, operation) in zip(steps, owners, strict=True):
        if step.is_layer:
            kinds.setdefault(path, set()).add(operation)
    used: dict[str, int] = {}
    names = []
    for index, (step, (path, operation)) in enumerate(zip(steps, owners, strict=True)):
        alone = path not in parents and path and kinds.get(path, set()) <= {operation}
        stands_for_module = alone or modules.get(path) == index
        own = stands_for_module and step.is_layer
        name = path if own else f"{path}:{operation}".lstrip(":")
        if step.made_by is None:
            name = "images"
        count = used.get(name, 0)
        used[name] = count + 1
        names.append(f"{name}@{count}" if count else name)
    return names
