"""What changes with time during a training: learning rate, image side, the moments to keep."""

import math


def one_cycle(step: int, steps: int, warmup: float) -> float:
    """Return the learning rate of *step* as a share of its peak, in 0..1.

    A straight rise over the first *warmup* share of the training, then a straight fall to zero.

    >>> [round(one_cycle(step, 10, 0.2), 4) for step in (0, 1, 2, 9)]
    [0.25, 0.75, 0.9375, 0.0625]
    """
    progress = (step + 0.5) / steps
    if progress < warmup:
        return progress / warmup
    return (1 - progress) / (1 - warmup)


def side_at(progress: float, sides: tuple[tuple[float, int], ...], full: int) -> int:
    """Return the side in pixels to which training images are resized at *progress*, in 0..1.

    Args:
        progress: share of the training that is done.
        sides: pairs (until, side) in order of time: *side* holds while progress < *until*.
        full: the images' own side, which holds afterwards.

    >>> [side_at(progress, ((0.5, 24),), 32) for progress in (0.0, 0.49, 0.5)]
    [24, 24, 32]
    """
    return next((side for until, side in sides if progress < until), full)


def is_moment(step: int, steps_per_epoch: int) -> bool:
    """Return whether a checkpoint is kept after *step* optimizer steps; see :func:`moments`.

    >>> [step for step in range(1, 600) if is_moment(step, 100)]
    [6, 12, 25, 50, 100, 200, 500]
    """
    return step in moments(step + 1, steps_per_epoch)


def moments(steps: int, steps_per_epoch: int) -> tuple[int, ...]:
    """Return the steps after which a checkpoint is kept, from 0 to *steps*, without repetition.

    They are 0, 1/16, 1/8, 1/4, 1/2, 1, 2, 5, 10, 20, 50, ... epochs, and the end: filters change
    most in the first moments, so time is sampled geometrically.

    >>> moments(400, 100)
    (0, 6, 12, 25, 50, 100, 200, 400)
    """
    epochs = [1 / 16, 1 / 8, 1 / 4, 1 / 2]
    longest = max(1, math.ceil(steps / steps_per_epoch))
    for power in range(len(str(longest))):
        epochs.extend(factor * 10.0**power for factor in (1, 2, 5))
    kept = {int(epoch * steps_per_epoch) for epoch in epochs}
    return tuple(sorted({0, steps} | {step for step in kept if 0 < step < steps}))
