"""Rules on one network: whether one means something there, and what its pictures must say."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from convscope.errors import RuleError
from convscope.network import Network
from convscope.network.ops import Rectifier, ReLU
from convscope.network.relevance import falls_short
from convscope.network.rules import Rule, rule_named


def chosen_rule(net: Network, name: str) -> Rule:
    """Return the rule called *name*, refused where it needs a rectifier and *net* has none."""
    rule = rule_named(name)
    if rule.needs_rectifier and not any(
        isinstance(s.operation, Rectifier) for s in net.graph.steps
    ):
        raise RuleError(
            f"{net.name} has no rectifier (ReLU or the like), and rule {name!r} differs from the "
            f"gradient there only: use rule 'gradient'"
        )
    # The inputs of black and of white pixels.
    extremes = torch.tensor([0.0, 1.0], dtype=net.dtype).view(2, 1, 1, 1)
    low, high = net.preprocess.to_inputs(extremes.expand(2, net.input_shape[0], 1, 1))[:, None]
    return replace(rule, bounds=(low, high))


def rule_notes(net: Network, rule: Rule, starts: Sequence[int]) -> tuple[str, ...]:
    """Return what pictures of some steps must say: where the rule was not the published one."""
    graph, notes = net.graph, list[str]()
    if not (rule.needs_rectifier or rule.composite or rule.secant):
        return ()
    steps = [graph.steps[i] for i in {*starts, *graph.needed_for(starts)} if graph.steps[i].made_by]
    if rule.secant:
        derived = [step for step in steps if falls_short(graph, step, rule)]
    else:
        within = "tabled" if rule.composite else "published"
        derived = [step for step in steps if not getattr(step.operation, within)]
    names = {step.kind for step in derived}
    if names:
        notes.append(f"derivative instead of a rule at: {', '.join(sorted(names))}")
    smooth = {
        s.call.name
        for s in steps
        if isinstance(s.operation, Rectifier) and not isinstance(s.operation, ReLU)
    }
    if smooth and rule.needs_rectifier:
        notes.append(f"taken as rectifiers: {', '.join(sorted(smooth))}")
    return tuple(notes)
