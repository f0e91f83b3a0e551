"""Operations that stand in for others under a rule that sees values: alike up, another way down.

:mod:`convscope.network.relevance` says which stands where.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from convscope.network.calls import Call
from convscope.network.ops.base import (
    Operation,
    Saved,
    Signals,
    Window,
    vector_jacobian_product,
    with_arguments,
)
from convscope.network.ops.convolution import Convolution
from convscope.network.rules import Rule, Share, Sharing, Term

STABILISER = 1e-6
"""What a denominator is moved away from zero by: the usual value."""

ALIKE = 1e-10
"""Inputs this close to the reference's have no slope between them, as in captum."""

SMALLEST = {"amin", "min", "minimum"}
"""Choices of the smallest value; others are of the largest."""


class HandedOn:
    """An operation that hands on all of its relevance, to some of its inputs in equal shares.

    Whatever else is asked of it, the operation itself answers.
    """

    outputs_saved = 0

    def __init__(self, own: Operation, takers: Sequence[int]) -> None:
        self.own, self.takers = own, takers

    def __getattr__(self, name: str) -> Any:
        return getattr(self.own, name)

    def remember(
        self, call: Call, inputs: Sequence[Tensor], batch: int, rule: Rule
    ) -> tuple[Tensor, Saved]:
        """Run *call*."""
        return call.run(inputs, batch), ()

    def reverse(self, call: Call, signal: Tensor, saved: Saved, rule: Rule) -> Signals:
        """Return *signal*, summed where an input was broadcast."""
        batch = len(signal) // call.shape[0]
        found: list[Tensor | None] = [None] * len(call.input_shapes)
        for taker in self.takers:
            first, *rest = call.input_shapes[taker]
            share = signal if len(self.takers) == 1 else signal / len(self.takers)
            found[taker] = share.sum_to_size(batch * first, *rest)
        return tuple(found)

    def reverse_channels(
        self, call: Call, maps: Tensor, channels: Tensor, saved: Saved = ()
    ) -> Tensor | None:
        """Return None."""
        return None

    def reverse_window(
        self, call: Call, window: Window, signal: Tensor, saved: Saved, rule: Rule
    ) -> Signals:
        """Return the window."""
        return self.reverse(window.call, signal, saved, rule)


class HandedToHalf(HandedOn):
    """A gated linear unit, which hands on all to the half that it lets through."""

    def reverse(self, call: Call, signal: Tensor, saved: Saved, rule: Rule) -> Signals:
        """Return *signal* for the first half."""
        return (torch.cat([signal, torch.zeros_like(signal)], call.arguments["dim"]),)


class Shared(HandedOn):
    """A linear operation that shares its relevance among its inputs by what they contributed.

    Args:
        own: the operation.
        sharing: how.
        call: the operation with the weights that count.
        norm: the batch norm that is merged into it.
        bounds: the lowest and the highest input.
    """

    def __init__(
        self,
        own: Operation,
        sharing: Sharing,
        call: Call,
        norm: Call | None = None,
        bounds: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        super().__init__(own, ())
        self.sharing, self.call, self.norm = sharing, call, norm
        self.bounds = bounds or (torch.zeros(()), torch.ones(()))  # pixels as they are
        self.outputs_saved = len(sharing)

    @cached_property
    def changes(self) -> dict[Term, dict[str, Tensor | None]]:
        """The weights and the bias of each term, by the call's names for them."""
        names, found = weights_of(self.call), {}
        for term in {term for share in self.sharing for term in share.terms}:
            values = [self.call.arguments[name] for name in names]
            found[term] = {
                name: None if value is None else term.weights(value)
                for name, value in zip(names, values, strict=True)
            }
            if len(names) > 1 and values[1] is not None and not term.bias:
                found[term][names[1]] = torch.zeros_like(values[1])
        return found

    def inputs(self, term: Term, values: Tensor) -> Tensor:
        """Return what a term has in the place of an input, fit to meet it."""
        if term.bound:
            return self.bounds[term.bound > 0].to(values)
        return term.inputs(values)

    def remember(
        self, call: Call, inputs: Sequence[Tensor], batch: int, rule: Rule
    ) -> tuple[Tensor, Saved]:
        """Run *call*, and keep the inputs and by what relevance is multiplied in each share."""
        output = call.run(inputs, batch)
        total = output if self.norm is None else self.norm.run([output], batch)
        kept = [self._multiplier(share, total, inputs, batch) for share in self.sharing]
        return output, (*kept, *inputs)

    def _multiplier(
        self, share: Share, total: Tensor, inputs: Sequence[Tensor], batch: int
    ) -> Tensor:
        # The plain term is the output that is there already.
        if share.terms != (Term(),):
            found = torch.zeros_like(total)
            for term in share.terms:
                changed = [self.inputs(term, own).expand_as(own) for own in inputs]
                run = with_arguments(self.call, **self.changes[term]).run(changed, batch)
                found.add_(run, alpha=term.sign)
        else:
            found = total
        # Away from zero on either side, so that no sum changes its sign.
        found = share.factor / (found + torch.where(found < 0, -STABILISER, STABILISER))
        return found if share.where == 0 else found * (total * share.where > 0)

    def reverse(self, call: Call, signal: Tensor, saved: Saved, rule: Rule) -> Signals:
        """Return what each input contributed, times what that is worth."""
        return self._shares(signal, saved, lambda s, term: self.own.reverse(
            with_arguments(call, **self.changes[term]), s, self._remembered(saved), rule
        ))  # fmt: skip

    def reverse_window(
        self, call: Call, window: Window, signal: Tensor, saved: Saved, rule: Rule
    ) -> Signals:
        """Return the same for what the window reads."""

        def reverse(s: Tensor, term: Term) -> Signals:
            changed = with_arguments(window.call, **self.changes[term])
            own = Window(changed, window.corner)
            whole = with_arguments(call, **self.changes[term])
            return self.own.reverse_window(whole, own, s, self._remembered(saved), rule)

        return self._shares(signal, saved, reverse)

    def reverse_channels(
        self, call: Call, maps: Tensor, channels: Tensor, saved: Saved = ()
    ) -> Tensor | None:
        """Return the same of a single channel, by a convolution."""
        if not isinstance(self.own, Convolution):
            return None
        unit, outputs = torch.arange(len(maps), device=maps.device), saved[: self.outputs_saved]
        own = (value[unit % len(value), channels][:, None] for value in outputs)

        def reverse(s: Tensor, term: Term) -> Signals:
            changed = with_arguments(call, **self.changes[term])
            return (self.own.reverse_channels(changed, s, channels),)

        return self._shares(maps, (*own, *saved[self.outputs_saved :]), reverse)[0]

    def _remembered(self, saved: Saved) -> Saved:
        return saved[self.outputs_saved :] if self.own.remembers_inputs else ()

    def _shares(self, signal: Tensor, saved: Saved, reverse: Any) -> Signals:
        inputs = saved[self.outputs_saved :]
        found: list[Tensor | None] = [None] * len(inputs)
        for share, multiplier in zip(self.sharing, saved, strict=False):
            for term in share.terms:
                # The multiplier is in single precision at least, the signal perhaps in half.
                down = reverse((signal * multiplier).to(signal.dtype), term)
                for place, (values, own) in enumerate(zip(inputs, down, strict=True)):
                    if own is not None:
                        given = own * self.inputs(term, values) * term.sign
                        earlier = found[place]
                        found[place] = given if earlier is None else earlier + given
        return tuple(found)


class Secant(HandedOn):
    """A function, value by value, with the slope from a reference in place of its derivative.

    Args:
        own: the operation.
        before: its inputs for the reference.
        after: its output for that.
    """

    outputs_saved = 1

    def __init__(self, own: Operation, before: Sequence[Tensor], after: Tensor) -> None:
        super().__init__(own, ())
        self.before, self.after = before, after

    def remember(
        self, call: Call, inputs: Sequence[Tensor], batch: int, rule: Rule
    ) -> tuple[Tensor, Saved]:
        """Run *call* and keep the slope; where the reference is alike, the derivative."""
        # Half precision would round small changes away: two neighbours have a slope of anything.
        fine = with_arguments(call, **{
            name: widened(value) for name, value in call.arguments.items()
            if isinstance(value, Tensor)
        })  # fmt: skip
        values, (before,), (away,) = [widened(inputs[0])], self.before, self.away(inputs)
        output, usual = fine.run(values, batch), fine.run([widened(before)], 1)
        (derivative,) = vector_jacobian_product(fine, torch.ones_like(output), values)
        assert derivative is not None
        # A root's is infinite at zero; where nothing changes, nothing is to be shared.
        derivative = derivative.nan_to_num(posinf=0, neginf=0)
        slope = torch.where(away.abs() < ALIKE, derivative, (output - usual) / away)
        return output.to(self.after.dtype), (slope,)

    def away(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return how far the inputs are from the reference's."""
        pairs = zip(inputs, self.before, strict=True)
        return tuple(widened(own) - widened(usual) for own, usual in pairs)

    def reverse(self, call: Call, signal: Tensor, saved: Saved, rule: Rule) -> Signals:
        """Return the signal times the slope."""
        return (signal * saved[0],)


class SecantBetween(Secant):
    """An operation that goes down by its reverses at the inputs and at the reference's."""

    def has_windows(self, call: Call, axes: Any) -> bool:
        """Return False: the reference's values are of whole maps."""
        return False

    def ends(
        self, call: Call, inputs: Sequence[Tensor], batch: int, rule: Rule
    ) -> tuple[Tensor, Saved]:
        """Run *call*, and keep what the reverses at both ends want, the inputs' own first."""
        output, own = self.own.remember(call, inputs, batch, rule)
        return output, (*own, *self.own.remember(call, self.before, 1, rule)[1])


class SecantProduct(SecantBetween):
    """A product of two values, or sums of such, by the mean of its derivatives at both ends.

    Its derivative grows evenly on the way from the reference, so that this mean makes up the whole
    change: ab - cd = (a - c)(b + d) / 2 + (b - d)(a + c) / 2.
    """

    def remember(
        self, call: Call, inputs: Sequence[Tensor], batch: int, rule: Rule
    ) -> tuple[Tensor, Saved]:
        """Run *call* and keep the inputs of both ends."""
        return self.ends(call, inputs, batch, rule)

    def reverse(self, call: Call, signal: Tensor, saved: Saved, rule: Rule) -> Signals:
        """Return the mean of what comes down at the two ends."""
        count = len(saved) // 2
        both = (
            self.own.reverse(call, signal / 2, end, rule) for end in (saved[:count], saved[count:])
        )
        return tuple(None if a is None or b is None else a + b for a, b in zip(*both, strict=True))


class SecantQuotient(SecantBetween):
    """A quotient of two values: the product of the first with one over the second.

    From d to b the slope of one over it is -1 / bd.
    """

    def remember(
        self, call: Call, inputs: Sequence[Tensor], batch: int, rule: Rule
    ) -> tuple[Tensor, Saved]:
        """Run *call* and keep the factors by which the signal goes down."""
        (upper, lower), (usual_upper, usual_lower) = (
            [values[call.arguments[name].position] for name in ("self", "other")]
            for values in (inputs, self.before)
        )
        middle = (upper + usual_upper) / 2
        factors = (1 / lower + 1 / usual_lower) / 2, -middle / lower / usual_lower
        return call.run(inputs, batch), factors

    def reverse(self, call: Call, signal: Tensor, saved: Saved, rule: Rule) -> Signals:
        """Return the signal times each factor, summed where an input was broadcast."""
        found: list[Tensor | None] = [None] * len(saved)
        for name, factor in zip(("self", "other"), saved, strict=True):
            place = call.arguments[name].position
            first, *rest = call.input_shapes[place]
            rows = len(signal) // call.shape[0] * first
            found[place] = (signal * factor).sum_to_size(rows, *rest)
        return tuple(found)


class SecantChoice(SecantBetween):
    """A choice of the largest values, or the smallest, such as max pooling.

    The change of each is shared between the two places it was at.
    """

    def remember(
        self, call: Call, inputs: Sequence[Tensor], batch: int, rule: Rule
    ) -> tuple[Tensor, Saved]:
        """Choose, and keep both ends' choices and how far the inputs and the chosen are apart."""
        output, ends = self.ends(call, inputs, batch, rule)
        beyond = output.minimum if call.name in SMALLEST else output.maximum
        between, usual = widened(beyond(self.after)), widened(self.after)
        return output, (*ends, between - usual, widened(output) - between, *self.away(inputs))

    def reverse(self, call: Call, signal: Tensor, saved: Saved, rule: Rule) -> Signals:
        """Return what each input's share is worth for each unit that it changed by."""
        several = len(call.input_shapes)
        *ends, risen, fallen = saved[:-several]
        count = len(ends) // 2
        own, other = tuple(ends[:count]), tuple(ends[count:])
        # Both parts make up the change of the maximum: what it rose by above the reference's goes
        # to the place that has it now, what it fell by to the one that had it.
        parts = (
            self.own.reverse(call, (signal * risen).to(signal.dtype), own, rule),
            self.own.reverse(call, (signal * fallen).to(signal.dtype), other, rule),
            self.own.reverse(call, signal, own, rule),
        )
        return tuple(
            None if up is None or down is None or plain is None
            else torch.where(away.abs() < ALIKE, plain, (up + down) / away)
            for up, down, plain, away in zip(*parts, saved[-several:], strict=True)
        )  # fmt: skip


def widened(values: Tensor) -> Tensor:
    """Return values in single precision at least; in half ALIKE itself would be nothing."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def weights_of(call: Call) -> tuple[str, ...]:
    """Return what a layer's weights and its bias are called; nothing of one without weights."""
    if call.target is torch.ops.aten.addmm.default:
        return "mat2", "self"
    return ("weight", "bias") if {"weight", "bias"} <= {*call.arguments} else ()
