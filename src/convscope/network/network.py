"""The traced network: the one object that every method of convscope works on."""

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from convscope.arguments import checked as checking
from convscope.arguments import described
from convscope.errors import ImageError, TraceError, UnitError, near_matches
from convscope.network.answer import Answer, answer_of, count_of
from convscope.network.channels import along_channels, factors_of, told, with_factors
from convscope.network.constants import with_constants
from convscope.network.graph import Graph
from convscope.network.layers import Layer, layers_of
from convscope.network.ops import Convolution
from convscope.network.shield import apart, shielded, without_autocast
from convscope.network.tracing.advice import check_module, unwrapped
from convscope.network.tracing.check import check_answers
from convscope.network.tracing.export import export, leaves
from convscope.network.tracing.inputs import inputs_of
from convscope.network.tracing.randomness import CHOICES, REFUSE, RandomUse
from convscope.network.tracing.trace import IMAGES, graph_of
from convscope.network.typical import TypicalPeaks
from convscope.network.walk import ascend
from convscope.network.windows.fields import ReceptiveFields
from convscope.preprocessing import chosen, normalisation

_FOUND = ("layers", "receptive_fields", "answer")
"""What is worked out from the graph when it is first asked for."""


def check_values(images: Tensor) -> None:
    """Refuse tensors of anything but floats that lie there one by one.

    Raises:
        ImageError: for whole numbers, complex, sparse and quantised tensors, and those without
            values.
    """
    dense = images.layout == torch.strided and not images.is_quantized and not images.is_meta
    if not dense or images.is_complex():
        raise ImageError("the images must be a dense tensor of real numbers")
    if not images.is_floating_point():
        raise ImageError(
            f"the images hold whole numbers ({str(images.dtype).removeprefix('torch.')}): the "
            f"network takes floats, and `net.preprocess` makes them of a file"
        )


class Network:
    """Any convolutional network, traced once into a graph of operations.

    The module is only read: no hook, no changed layer, mode or ``requires_grad``. Its weights are
    shared, not copied; after training it further, make a new ``Network``. Your own hooks run once,
    while it is traced, on tensors without values. ``traced`` is the graph with the
    module's own weights, ``graph`` the one that computes, see :meth:`with_constants`.

    Args:
        module: any ``nn.Module`` that maps a batch of images, float [N, C, H, W], to a tensor or to
            several, or a program from ``torch.export``.
        example: [1, C, H, W], an input the module accepts, or its shape; its values do not matter.
            Of a module that takes several inputs all of them, in a tuple or by name.
        name: what to call the network on pictures; the module's class by default.
        preprocess: how pictures become inputs, in any of the ways that
            :func:`~convscope.preprocessing.preprocessing_of` knows: a name such as ``"imagenet"``,
            a :class:`~convscope.images.Preprocess`, timm's ``pretrained_cfg``, torchvision's
            ``weights.transforms()``, a Hugging Face image processor, ``transforms.Compose``. By
            default the module's own attribute ``preprocess`` or ``pretrained_cfg``, else pixels in
            0..1, which every result then says.
        mean: per channel or one for all, of pixels in 0..1, subtracted from them.
        std: likewise, by which they are then divided.
        resize: short side in pixels before the centre crop, with *mean* and *std*; by default
            pictures are squeezed to the input's size.
        interpolation: Pillow's name of its filter, with *mean* and *std*.
        classes: the names of the outputs, for a classifier.
        notes: what every picture of this network must say, such as ``"random weights"``.
        answer: what a row of outputs means: ``"classes"``, of which one is right; ``"labels"``,
            each of which holds or not; ``"number"``, such as an age, which is no probability. By
            default the end of the network tells: softmax, classes; sigmoid, labels; else a row is
            the logits of classes, and one output alone is a number, or a label if *classes* names
            it. Probabilities and logits are right in each case; ``net.answer.told`` says what the
            output was taken for.
        head: which of several outputs counts: its number, or its place in what the module
            returns, such as ``"aux"`` or ``"1.scores"``; by default the first.
        fixed: further inputs by name, such as ``{"timestep": tensor}``, the same for every image.
        image: the name of the input that is the images, where the module takes several of four
            dimensions.
        random: where the module is random though in evaluation mode, as by ``F.dropout`` without
            ``training=``: ``"refuse"`` it, or ``"freeze"`` it: dropout is off, random masks are
            their mean, and any other values are drawn once, with a fixed seed.

    Raises:
        ImageError: if the preprocessing is not understood, or does not fit.
        TraceError: if the module cannot be traced, its weights have no values, its outputs are
            not as many as *classes*, or there is no such answer or head.

    >>> import torch
    >>> from torch import nn
    >>> module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2))
    >>> net = Network(module, torch.zeros(1, 3, 10, 10))
    >>> [(layer.name, layer.op, layer.shape) for layer in net.layers.values()]
    [('0', 'convolution', (4, 8, 8)), ('1', 'rectifier', (4, 8, 8)), ('2', 'max pool', (4, 4, 4))]
    >>> net.layers["2"].receptive_field, net.layers["2"].stride
    ((4, 4), (2, 2))
    """

    @without_autocast()  # the module's own factories keep their author's other settings
    def __init__(
        self,
        module: nn.Module | ExportedProgram,
        example: Any,
        *,
        name: str | None = None,
        preprocess: Any = None,
        mean: Sequence[float] | float | None = None,
        std: Sequence[float] | float | None = None,
        resize: int | None = None,
        interpolation: str | None = None,
        classes: Sequence[str] | None = None,
        notes: Sequence[str] = (),
        answer: str | None = None,
        head: int | str | None = None,
        fixed: Mapping[str, Any] | None = None,
        image: str | None = None,
        random: str = REFUSE,
    ) -> None:
        if random not in CHOICES:
            raise TraceError(f"random is {' or '.join(map(repr, CHOICES))}, not {random!r}")
        module = unwrapped(module)
        if not isinstance(module, ExportedProgram):
            check_module(module)
        if isinstance(classes, str) or not isinstance(classes, Iterable | None):
            raise TraceError(f"classes are names, one an output, not {described(classes)}")
        self.module = module
        self.name = name or type(module).__name__
        self.classes = None if classes is None else tuple(classes)
        self.notes = tuple(notes)
        self.random = random
        self.typical: TypicalPeaks | None = None
        inputs = inputs_of(module, example, fixed or {}, image)
        self.dtype, self.device = _home(module, inputs.image)
        self.inputs = inputs.to(self.device, self.dtype)
        self._trace()
        numbers = normalisation(mean, std, resize, interpolation, self.input_shape)
        self.preprocess, note = chosen(module, preprocess, numbers, self.input_shape)
        self.notes += (note,) if note else ()
        self._others: dict[tuple[int, int], Network] = {}
        self._read(answer, head)
        self._check_classes()

    def _trace(self) -> None:
        """Trace the module on an image of the size that ``inputs`` has."""
        program, draws = self.module, list[RandomUse]()
        if not isinstance(program, ExportedProgram):
            program, draws = export(program, self.inputs)
        graph = graph_of(program, leaves(self.inputs, IMAGES), self.random)
        if not (isinstance(self.module, ExportedProgram) or draws or graph.random):
            draws = check_answers(self.module, self.inputs, graph, self.name)
        if draws and self.random == REFUSE:
            raise TraceError(draws[0].refusal)
        self.graph: Graph = replace(graph, random=(*draws, *graph.random))
        self.traced = self.graph
        self.notes += tuple(n for use in self.graph.random if (n := use.note) not in self.notes)
        self.input_shape: tuple[int, int, int] = (*self.graph.steps[0].shape[1:],)  # type: ignore[assignment]
        if self.input_shape != tuple(self.inputs.image.shape[1:]):
            raise TraceError(
                f"the program was exported for images of shape {list(self.input_shape)}, "
                f"not {list(self.inputs.image.shape[1:])}"
            )

    def _read(self, answer: str | None, head: int | str | None) -> None:
        """Choose the output, and what it is taken for."""
        self.asked_answer, self.head_note = answer, ""
        if head is not None:
            own_weights = self.graph is self.traced
            self.traced = self.traced.with_head(head)
            self.graph = self.traced if own_weights else self.graph.with_head(head)
        elif len(self.graph.outputs) > 1:
            self.head_note = f"of the outputs {', '.join(self.graph.outputs)}, the first was taken"
            self.notes += (self.head_note,)
        if answer is not None:
            self.__dict__.pop("answer", None)
            self.answer  # noqa: B018 (refused at once if it does not fit)

    def reading(self, answer: str | None = None, head: int | str | None = None) -> "Network":
        """Return a network of which another output counts, or is taken for something else.

        Nothing is traced anew. See the arguments of the class.
        """
        if answer is None and head is None:
            return self
        notes = tuple(note for note in self.notes if note != self.head_note)
        twin = self._twin(notes=notes, _others={})
        twin._read(answer or self.asked_answer, head)
        twin._check_classes()
        return twin

    def _twin(self, **changes: Any) -> "Network":
        """Return the network with other attributes; what follows from its graph is found anew."""
        twin = copy.copy(self)
        twin.__dict__.update(changes)
        for name in _FOUND:
            twin.__dict__.pop(name, None)
        return twin

    def _check_classes(self) -> None:
        """Make sure that a classifier's outputs have a name each, if they have names."""
        count = count_of(self.graph)
        if self.classes is not None and count not in (0, len(self.classes)):
            raise TraceError(
                f"{self.name} has {count} outputs, and {len(self.classes)} names of classes for "
                f"them"
            )

    def __repr__(self) -> str:
        """Return the name, the input shape and the number of layers."""
        return f"Network({self.name!r}, input {list(self.input_shape)}, {len(self.layers)} layers)"

    @cached_property
    def answer(self) -> Answer | None:
        """How the output is read as classes, labels or numbers; None if it is no row of them."""
        named = self.classes is not None
        return answer_of(self.graph, self.device, self.asked_answer, named)

    @property
    def class_count(self) -> int:
        """How many classes or labels the output has; 0 where it is anything else."""
        return 0 if self.answer is None or self.answer.kind == "number" else self.answer.count

    @cached_property
    def layers(self) -> dict[str, Layer]:
        """The layers by name, in the order they run."""
        return layers_of(self.graph)

    @cached_property
    def receptive_fields(self) -> ReceptiveFields:
        """Finds what part of the image a unit reads."""
        return ReceptiveFields(self.graph)

    @shielded
    def __call__(self, images: Tensor) -> Tensor:
        """Run the network.

        Args:
            images: [N, C, H, W] in the network's input space; of another size than it was traced
                at, it is traced once more.

        Returns:
            its output (the one that *head* chose), on the network's device.

        Raises:
            ImageError: if the images do not have the network's shape, or are not finite.
        """
        net = self.fitting(images)
        output = net.graph.output
        return ascend(net.graph, net.checked(images), [output]).maps[output]

    def at(self, size: tuple[int, int]) -> "Network":
        """Return the network for images of another size, traced the first time and then kept.

        Args:
            size: height and width.

        Raises:
            ImageError: if the module does not take images of that size, or is not at hand, as
                that of an exported program is not.

        >>> net = Network(nn.Conv2d(3, 4, 3), (1, 3, 10, 10))
        >>> net.at((20, 30)).input_shape, net.at((20, 30)) is net.at((20, 30))
        ((3, 20, 30), True)
        """
        size = (int(size[0]), int(size[1]))
        if size == self.input_shape[1:]:
            return self
        if isinstance(self.module, ExportedProgram) or self.graph is not self.traced:
            what = "was exported" if isinstance(self.module, ExportedProgram) else "was made"
            raise ImageError(
                f"{self.name} {what} for images of {self.input_shape[1:]}, not of {size}: resize "
                f"them"
            )
        if size not in self._others:
            image = self.inputs.image
            image = image.new_zeros(*image.shape[:2], *size)
            twin = self._twin(inputs=self.inputs.with_image(image))
            try:
                twin._trace()
            except TraceError as error:
                raise ImageError(
                    f"the network takes images {self._expected()}, and none of {size}: {error}"
                ) from error
            where = {step: path for path, step in self.graph.outputs.items()}
            twin.graph = twin.graph.with_head(where[self.graph.output] or 0)
            twin.traced = twin.graph
            twin.preprocess = self.preprocess.resized(size)
            self._others[size] = twin
        return self._others[size]

    def fitting(self, images: Any) -> "Network":
        """Return the network for images of the size that *images* have, see :meth:`at`.

        Of pictures that are yet to be prepared for the network, and of wrong images, it is this.
        """
        shape = tuple(getattr(images, "shape", ()))
        if len(shape) != 4 or shape[1] != self.input_shape[0] or self.graph is not self.traced:
            return self
        if isinstance(self.module, ExportedProgram):
            return self
        return self.at((shape[2], shape[3]))

    def checked(self, images: Tensor) -> Tensor:
        """Return *images* on the network's device and in its dtype, if they have its shape.

        Raises:
            ImageError: if they do not, or hold values that are not finite.
        """
        if not isinstance(images, Tensor):
            raise ImageError(
                f"the network takes images as a tensor, not {described(images)}; "
                f"`net.preprocess` makes one of a file"
            )
        check_values(images)
        if images.dim() != 4 or tuple(images.shape[1:]) != self.input_shape:
            shape = list(images.shape)
            raise ImageError(f"the network takes images {self._expected()}, not {shape}")
        if not len(images):
            raise ImageError("there is no image in the batch")
        if not images.isfinite().all():
            raise ImageError("the images hold values that are not finite")
        return apart(images).to(self.device, self.dtype)

    def _expected(self) -> str:
        """Return the shape that images have, in words."""
        return f"[{', '.join(map(str, ('N', *self.input_shape)))}]"

    def with_constants(self, replaced: Mapping[Tensor, Tensor], *notes: str) -> "Network":
        """Return a network that computes with other weights; this one stays as it is.

        Nothing is traced anew, and what is not replaced is shared. ``module`` remains the module
        that was traced, with its own weights.

        Args:
            replaced: a tensor of the graph, such as a parameter of the module -> what takes its
                place, of the same shape.
            notes: what every picture of the new network must say besides.

        Raises:
            TraceError: if a replacement has another shape, or a tensor is none of the graph's.

        >>> import torch
        >>> from torch import nn
        >>> module = nn.Conv2d(1, 1, 1, bias=False)
        >>> net = Network(module, torch.ones(1, 1, 2, 2))
        >>> other = net.with_constants({module.weight: torch.full((1, 1, 1, 1), 3.0)})
        >>> other(torch.ones(1, 1, 2, 2)).unique()
        tensor([3.])
        """
        graph, said = with_constants(self.graph, replaced), (*self.notes, *notes)
        return self._twin(graph=graph, typical=None, notes=said, _others={})

    @checking
    @shielded
    def with_units(
        self,
        layer: str | nn.Module,
        *,
        off: Sequence[int] = (),
        scale: Mapping[int, float] | None = None,
        only: Sequence[int] | None = None,
    ) -> "Network":
        """Return a network in which channels of a layer are off or scaled; this one stays.

        It goes on as with a forward hook that multiplies the layer's maps, and every method takes
        it as any other network. Nothing is traced anew. Of a layer that is used again the first use
        changes; for images of another size, change what :meth:`at` returns.

        Args:
            layer: its name, or a module.
            off: the channels to switch off.
            scale: channel -> what its map is multiplied by.
            only: the channels to keep, where all others are to be switched off.

        Raises:
            UnitError: if there is no such layer or channel.

        >>> import torch
        >>> from torch import nn
        >>> net = Network(nn.Sequential(nn.ReLU(), nn.Flatten()), (1, 3, 1, 1))
        >>> net.with_units("0", off=[0], scale={2: 0.5})(torch.ones(1, 3, 1, 1))
        tensor([[0.0000, 1.0000, 0.5000]])
        """
        step, factors = self.unit_factors(layer, off, scale, only)
        twin = self.with_constants({}, told(self.graph.steps[step].name, factors))
        made, _, shaped = along_channels(self.graph, step, factors.to(self.device))
        twin.graph = with_factors(self.graph, made, shaped)
        twin.traced = with_factors(self.traced, made, torch.ones_like(shaped))
        twin.typical = self.typical  # of the whole network, which these are to be measured by
        return twin

    def unit_factors(
        self,
        layer: str | nn.Module,
        off: Sequence[int] = (),
        scale: Mapping[int, float] | None = None,
        only: Sequence[int] | None = None,
    ) -> tuple[int, Tensor]:
        """Return a layer's step, and by what each of its channels is multiplied, float64.

        See :meth:`with_units`.
        """
        step = self.step(layer)
        self.check_units(step, [*off, *(scale or {}), *(only or ())])
        return step, factors_of(self.graph.steps[step].shape[1], off, scale or {}, only)

    def laid_out(self) -> "Network":
        """Return the network with its kernels laid out as convolutions of maps read them.

        PyTorch lays them out anew in every convolution otherwise, which takes longer than to
        convolve a small window. They take their room once more; what lies so is shared.
        """
        kernels = {
            weight
            for step in self.graph.steps
            if step.made_by is not None and isinstance(step.operation, Convolution)
            if isinstance(weight := step.call.arguments["weight"], Tensor) and weight.dim() == 4
        }
        laid = {one: one.detach().contiguous(memory_format=torch.channels_last) for one in kernels}
        laid = {one: new for one, new in laid.items() if new.stride() != one.stride()}
        if not laid:
            return self
        twin = copy.copy(self)  # what was found of layers and fields holds of it as well
        twin.graph = with_constants(self.graph, laid)
        return twin

    def step(self, layer: str | nn.Module) -> int:
        """Return the index in the graph of a layer, or of the last layer inside a module.

        Where a layer keeps its channels elsewhere than first, it is the step that puts them there.

        Args:
            layer: a layer's or a module's name, or a module of the network itself.

        Raises:
            UnitError: if there is neither, with near matches.
        """
        if isinstance(layer, nn.Module):
            inside = self.module.named_modules() if isinstance(self.module, nn.Module) else ()
            names = [name for name, module in inside if module is layer]
            if not names:
                raise UnitError(
                    f"the {type(layer).__name__} given as a layer is none of {self.name}"
                )
            layer = names[0]
        if not isinstance(layer, str):
            raise UnitError(f"a layer is called by its name, not by {layer!r}")
        named = (
            index for index, step in enumerate(self.graph.steps) if step.name == layer and index
        )
        found = next(named, self.graph.modules.get(layer))
        if found is not None:
            found = self.graph.changed.get(found, found)
            return self.graph.shown.get(found, found)
        known = [*self.layers, *self.graph.modules]
        hint = near_matches(layer, known) or f" (`convscope layers` lists its {len(self.layers)})"
        raise UnitError(f"{self.name} has no layer {layer!r}{hint}")

    def check_units(
        self, step: int, channels: Iterable[int] = (), maps_only: bool = False,
        position: Sequence[int] | None = None,
    ) -> None:  # fmt: skip
        """Make sure that a layer has units of its own, and these channels.

        Args:
            step: the layer's index in the graph.
            channels: the channels asked for.
            maps_only: whether single values instead of feature maps are not enough.
            position: a row and column asked for.

        Raises:
            UnitError: if it has none, or not one of the channels, or not that position.
        """
        shape, name = self.graph.steps[step].shape, self.graph.steps[step].name
        dtype = self.graph.steps[step].dtype
        if not dtype.is_floating_point:
            kind = str(dtype).removeprefix("torch.")
            raise UnitError(f"layer {name!r} gives no real numbers but {kind}: choose another")
        values = len(shape) == 2 and shape[0] == 1 and not maps_only
        if not self.graph.is_map(step) and not values:
            raise UnitError(f"layer {name!r} gives {list(shape)}, which has no feature maps")
        for channel in channels:
            if not 0 <= channel < shape[1]:
                raise UnitError(f"layer {name!r} has channels 0 to {shape[1] - 1}, not {channel}")
        extent = shape[2:]
        if position is not None and not (
            len(position) == len(extent) == 2
            and all(0 <= own < whole for own, whole in zip(position, extent, strict=True))
        ):
            raise UnitError(f"position {tuple(position)} does not lie in a map of {tuple(extent)}")


def _home(module: nn.Module | ExportedProgram, example: Tensor) -> tuple[torch.dtype, torch.device]:
    """Return the dtype and device that the module's weights have."""
    for weight in module.parameters():
        if weight.is_floating_point():
            return weight.dtype, weight.device
    return example.dtype, example.device
