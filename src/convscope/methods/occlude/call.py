"""Occlusion sensitivity: a patch slides over the image, and the network is asked at each place."""

from collections.abc import Sequence

import torch
from torch import Tensor

from convscope.errors import (
    ConvscopeError,
    ImageError,
    Interrupted,
    RuleError,
    UnitError,
    check_known,
)
from convscope.methods import budget as budgets
from convscope.methods.kept import KeptWalk
from convscope.methods.occlude.passes import (
    FullPasses,
    Question,
    WindowedPasses,
)
from convscope.methods.occlude.patches import (
    FillValue,
    Size,
)
from convscope.methods.occlude.result import Occlusion, Occlusions
from convscope.methods.occlude.work import Job, Preview, Work, ask
from convscope.methods.pictures import Images, read
from convscope.methods.project import Request
from convscope.methods.projection import Projection
from convscope.methods.targets import AnyTarget, readable
from convscope.network import Network
from convscope.network.layers import LayerName
from convscope.network.rules import rule_named
from convscope.network.shield import shielded
from convscope.network.windows.differences import can_take_differences
from convscope.network.windows.windowed import WindowedWalk
from convscope.reading import Picture

METHODS = ("exact", "full", "adaptive")
PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16}
"""What the method "adaptive" rounds the changes to: nothing, or half the precision."""


@shielded
def occlude(
    net: Network,
    image: Tensor | Picture,
    patch: Size | None = None,
    stride: Size | None = None,
    fill: FillValue = "gray",
    target: AnyTarget | Sequence[AnyTarget] | None = None,
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
    progress: budgets.Progress | None = None,
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
            or for the first where the output is several numbers. Also all else that
            :func:`~convscope.attribute` takes, such as a :class:`~convscope.Target` or a function
            of the outputs: a number then, and no probability.
        layer: a layer whose feature map is watched too, by its name in ``net.layers``, or a module.
        channel: that map; None for the one that answers most in the clean image, ranked as by
            :func:`project`.
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
@budgets.holding
def occlude_all(
    net: Network,
    images: Images,
    patches: Sequence[Size | None] = (None,),
    stride: Size | None = None,
    fill: FillValue = "gray",
    target: AnyTarget | Sequence[AnyTarget] | None = None,
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
    progress: budgets.Progress | None = None,
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
        Job.of_patches(net, image, size, stride, fill, positions)
        if masks is None
        else Job.of_masks(net, image, masks, fill)
        for image in checked
        for size in patches
    ]
    kept = _maps_read(net, layer, channel, method, precision)
    found: list[Occlusion] = []
    for place, job in enumerate(jobs):
        number, size = divmod(place, len(patches))
        try:
            if size == 0:
                walk = KeptWalk(net, checked[number, None], kept)
                asked = ask(walk, target, layer, channel)
                passes = _passes(walk, asked.question, method, precision, allowed)
                projection = _projection(walk, asked.question, rule, names[number], allowed)
                del walk  # with what the projection made besides
            counted = _counter(progress, jobs, place)
            work = Work(asked, job, passes, method, precision, counted, names[number], projection)
            if method == "adaptive":
                found.append(work.adaptive(preview, deadline.share(len(jobs) - place)))
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


def _maps_read(
    net: Network, layer: LayerName | None, channel: int | None, method: str, precision: str
) -> set[int]:
    """Return the steps whose clean maps are read, of the layer, the outputs and around windows."""
    steps = readable(net)
    if layer is not None:
        steps = [net.step(layer), *steps]
        net.check_units(steps[0], () if channel is None else (channel,))
    elif channel is not None:
        raise UnitError("a channel number means nothing without its layer")
    if method == "full":
        return {*steps}
    # Whatever is not linear is asked twice in half the precision, with the clean map as well.
    halved = PRECISIONS[precision] is not None
    return {*net.graph.needed_for(steps)} if halved else WindowedWalk(net.graph, {}, steps).reads


def _passes(
    walk: KeptWalk, question: Question, method: str, precision: str, memory: int
) -> FullPasses | WindowedPasses:
    if method == "full":
        return FullPasses(question, memory)
    rounded = PRECISIONS[precision]
    if rounded is not None and not can_take_differences(question.net.graph):
        raise ConvscopeError(
            f"{question.net.name} cannot be computed in {precision}: leave the precision out"
        )
    return WindowedPasses(question, walk.maps, memory, rounded)


def _projection(
    walk: KeptWalk, question: Question, rule: str | None, title: str, memory: int
) -> Projection | None:
    if question.layer is None or rule is None:
        return None
    channel, name = question.channel, walk.net.graph.steps[question.layer].name
    try:
        request = Request.of(walk.net, name, [channel], rule, "map", None)
        return walk.project(request, channel, title, memory)
    except RuleError:  # no rectifier, and so no deconvnet
        return None


def _check_method(
    method: str, positions: int | None, budget: float | str | None, precision: str
) -> None:
    for kind, value, known in (("method", method, METHODS), ("precision", precision, PRECISIONS)):
        check_known(kind, value, known)
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


def _counter(progress: budgets.Progress | None, jobs: list[Job], place: int) -> budgets.Progress:
    """Return what counts the positions of one job among those of all."""
    counts = [len(job.cover) for job in jobs]
    before, after = sum(counts[:place]), sum(counts[place + 1 :])

    def count(done: int, total: int) -> None:
        if progress:
            progress(before + done, before + total + after)

    return count
