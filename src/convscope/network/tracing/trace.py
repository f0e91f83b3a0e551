"""From an exported program to a graph: a plain list of steps, each one operation."""

import operator
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind
from torch.fx import Node
from torch.utils import _pytree as pytree

from convscope.errors import TraceError
from convscope.network.calls import BatchSize, Call, Input, Shape
from convscope.network.graph import Graph, Step
from convscope.network.ops import OUTSIDE, Generated, operation_for
from convscope.network.tracing.advice import first_sentence
from convscope.network.tracing.export import TRACING, quiet, undisturbed
from convscope.network.tracing.lowering import (
    Lowered,
    Same,
    TangledError,
    filled,
    lowered,
    named_arguments,
    shares_memory_with,
    writes_over,
)
from convscope.network.tracing.naming import Owner, modules_of, names_of, owner_of
from convscope.network.tracing.randomness import (
    FREEZE,
    REFUSE,
    RandomUse,
    drawn,
    only_draws,
    own_line,
    random_use,
    switched_off,
)
from convscope.network.tracing.rectifiers import with_rectifiers

aten = torch.ops.aten

KEEPING_ROWS = {"permute", "slice", "squeeze", "unsqueeze"}
"""Operations that name the leading dimension and leave what lies in it in its order."""

ALONG_ROWS = {"flipud", "msort", "renorm"}
"""Operations that go along the leading dimension without naming it."""

IMAGES = object()
"""Stands for the images among the inputs of a program."""


def graph_of(program: ExportedProgram, inputs: Sequence[Any] = (), random: str = REFUSE) -> Graph:
    """Turn an exported program of one image batch into a graph.

    Args:
        program: the program.
        inputs: what it was exported with, all its inputs in a row; all but the images stay as they
            are here. By default the images alone.
        random: ``"refuse"`` or ``"freeze"``, see :class:`~.network.Network`.

    Raises:
        TraceError: if the program has another kind of input, control flow inside, or randomness
            that is not to be frozen.
    """
    with TRACING, undisturbed():
        # Nearly every program can be read as it was written. Only where tensors are written over
        # while views of them are in use does torch have to rewrite it, which takes far longer.
        try:
            return _finished(_Builder(program, inputs, random, rewritten=False).graph())
        except TangledError:
            pass
        with quiet():
            program = program.run_decompositions({})
        return _finished(_Builder(program, inputs, random, rewritten=True).graph())


def _finished(graph: Graph) -> Graph:
    return with_rectifiers(graph).with_maps_shown()


class _Builder:
    """Walks an exported program once, node by node.

    A step makes a new tensor, while a program may write over one. Nodes that stand for the very
    same tensor have one *cell*, the first of them, and ``current`` has the node that was last
    written there. Nodes that may share memory have one *root*, and ``sharing`` lists them. In
    ``several`` are those with several outputs, until these are picked, and in ``kept`` the roots of
    constants that steps have among their arguments.
    """

    def __init__(
        self, program: ExportedProgram, inputs: Sequence[Any], random: str, *, rewritten: bool
    ) -> None:
        self.program = program
        self.rewritten = rewritten
        self.random = random
        self.random_uses: list[RandomUse] = []
        self.constants: dict[Node, Any] = {}
        self.learned: dict[Node, dict[int, nn.Parameter]] = {}
        self.indices: dict[Node, int] = {}
        self.several: dict[Node, Lowered] = {}
        self.cells: dict[Node, Node] = {}
        self.current: dict[Node, Node] = {}
        self.roots: dict[Node, Node] = {}
        self.sharing: dict[Node, list[Node]] = {}
        self.kept: set[Node] = set()
        self.steps: list[Step] = []
        self.owners: list[Owner] = [("", "")]
        self.batched = True
        self.names = _constant_tensors(program)
        self.order = {node: place for place, node in enumerate(program.graph.nodes)}
        self.image = self._image_node(inputs)

    def _image_node(self, inputs: Sequence[Any]) -> Node:
        specs = self.program.graph_signature.input_specs
        names = [spec.arg.name for spec in specs if spec.kind is InputKind.USER_INPUT]
        nodes = {node.name: node for node in self.program.graph.nodes if node.op == "placeholder"}
        images = [name for name, value in zip(names, inputs, strict=False) if value is IMAGES]
        images = images or names
        if (
            len(inputs) not in (0, len(names))
            or len(images) != 1
            or len(getattr(nodes[images[0]].meta.get("val"), "shape", ())) != 4
        ):
            raise TraceError("the network must take exactly one batch of images, [N, C, H, W]")
        for name, value in zip(names, inputs, strict=False):
            self.constants[nodes[name]] = value
        node: Node = nodes[images[0]]
        self.sizes = _free_sizes(node)
        batch = node.meta["val"].shape[0]
        if isinstance(batch, int):
            self.batched = False
            if batch != 1:
                raise TraceError(
                    f"the program was exported for batches of exactly {batch} images; export it "
                    f"with a dynamic batch dimension, or a batch of one"
                )
        return node

    def graph(self) -> Graph:
        image_shape = self._shape(self.image)
        assert image_shape is not None
        dtype = self.image.meta["val"].dtype
        self.steps.append(Step("images", None, OUTSIDE, (), image_shape, dtype))
        self.indices[self.image] = 0
        for node in self.program.graph.nodes:
            if node.op == "placeholder" and node is not self.image:
                constant = self.constants.setdefault(node, self.names.get(node.name))
                if isinstance(constant, nn.Parameter):
                    self.learned[node] = {id(constant): constant}
            elif node.op == "call_function":
                self._try_to_visit(node)
            elif node.op == "get_attr":
                if not self.rewritten:
                    raise TangledError  # it may be no more than `with torch.no_grad()`
                raise TraceError("the network has control flow inside (torch.cond or the like)")
        modules = modules_of(self.owners)
        names = names_of(self.steps, self.owners, modules)
        steps = tuple(
            replace(step, name=name) for name, step in zip(names, self.steps, strict=True)
        )
        outputs = self._outputs()
        # A detector may return counts or labels first, which have no derivative.
        floats = [step for step in outputs.values() if steps[step].dtype.is_floating_point]
        output = next(iter([*floats, *outputs.values()]))
        return Graph(steps, output, modules, self.batched, outputs, tuple(self.random_uses))

    def _try_to_visit(self, node: Node) -> None:
        try:
            self._visit(node)
        except (TangledError, TraceError):
            raise
        except Exception as error:  # torch's, in computing what is constant or in sizes
            near = (node, *node.all_input_nodes)
            lines = (own_line(other.meta.get("stack_trace")) for other in near)
            line = next(filter(None, lines), str(node.target))
            if "symbol" in str(error):
                raise TraceError(
                    f"how many values the network keeps depends on the pixels, at {line}; choose "
                    f"values by torch.where, which keeps the shape"
                ) from error
            reason = first_sentence(error)
            if isinstance(error, KeyError) and "item" in reason:
                reason = (
                    "it reads a number taken out of a tensor, which depends on the pixels; leave "
                    "`.item()` or `.tolist()` out, so that it stays a tensor"
                )
            raise TraceError(f"the network cannot be followed at {line}: {reason}") from error

    def _visit(self, node: Node) -> None:
        value = node.meta.get("val")
        if isinstance(value, torch.SymInt | int):
            self.constants[node] = self._size(value)
            return
        dependent = any(self._is_dependent(source) for source in node.all_input_nodes)
        # What is made for the number of images, such as zeros, has no fixed size to be kept by.
        if self._grows(node):
            dependent = True
            if isinstance(value, torch.SymFloat):
                raise TraceError("the network computes with the number of images in a batch")
        if value is None or (dependent and not isinstance(value, Tensor | tuple | list)):
            return  # an assertion
        written = None if self.rewritten else writes_over(node)
        self._place(node, shares_memory_with(node))
        use, plain = random_use(node), filled(node)
        if use is not None:
            self._visit_random(node, use, written)
        # Of a tensor like another only its shape counts: it ends the dependence on the images.
        elif plain is not None and not self._is_dependent_on(plain):
            self._add_filled(node, plain)
        elif dependent:
            self._add(node, self._lowered(node), written)
        else:
            if written is not None:
                self._check_constant(written)
            self.constants[node] = self._evaluated(node.target, node.args, node.kwargs)
            self.learned[node] = self._learned_by(node)

    def _visit_random(self, node: Node, use: RandomUse, written: Node | None) -> None:
        """Put what evaluation mode would do, or values drawn once, in the place of randomness."""
        self.random_uses.append(use)
        if self.random != FREEZE:
            raise TraceError(use.refusal)
        off = switched_off(node)
        if isinstance(off, Same) or (off is not None and self._is_dependent_on(off)):
            self._add(node, off, written)
        elif off is not None:
            self.constants[node] = self._evaluated(off.target, (), off.arguments)
        elif not only_draws(node):
            raise TraceError(
                f"{use.finding}, drawn by what is in the image, which cannot be frozen"
            )
        else:
            self._append_drawn(node, written)

    def _add_filled(self, node: Node, plain: Lowered) -> None:
        """Take in a tensor of one value: a constant, or made for as many images as there are."""
        sizes = plain.arguments["size"]
        if any(isinstance(self._size(size), BatchSize) for size in sizes):
            self._add(node, plain, None)
        else:
            sizes = [self._size(size) for size in sizes]
            self.constants[node] = self._evaluated(
                plain.target, (), {**plain.arguments, "size": sizes}
            )

    def _append_drawn(self, node: Node, written: Node | None) -> None:
        """Add values that are drawn once: the same for every image."""

        def stand_in(source: Node) -> Any:
            source = self._resolved(source)
            if source in self.indices:
                step = self.steps[self.indices[source]]
                # What draws alone reads shapes and no values.
                return torch.zeros(step.shape, dtype=step.dtype)
            constant = self.constants[source]
            return constant.at(1) if isinstance(constant, BatchSize) else constant

        values = drawn(node, len(self.random_uses), stand_in)
        shape = self._shape(node)
        if shape is None or not any(isinstance(s, torch.SymInt) for s in node.meta["val"].shape):
            self.constants[node] = values
        else:
            repeats = [BatchSize(1, 0), *(1,) * (len(shape) - 1)]
            repeat = Lowered(aten.repeat.default, {"self": values, "repeats": repeats})
            self._append_step(node, repeat, node, shape)
        self._write(node, written)

    def _place(self, node: Node, shared: Node | None) -> None:
        root = node if shared is None else self.roots.get(shared, shared)
        self.roots[node] = root
        self.sharing.setdefault(root, [root]).append(node)

    def _resolved(self, node: Node) -> Node:
        """Return the node that stands for what *node* holds at this place of the program."""
        cell = self.cells.get(node, node)
        return self.current.get(cell, cell)

    def _write(self, node: Node, written: Node | None) -> None:
        """Let *node* be what is now in the tensor that *written* stood for."""
        if written is None:
            return
        cell = self.cells[node] = self.cells.get(written, written)
        for other in self.sharing.get(self.roots.get(written, written), ()):
            last = max((self.order[user] for user in other.users), default=0)
            # Nodes of one cell are the tensor that was written, and see the change by design; any
            # other that shares its memory would show the old values.
            if self.cells.get(other, other) is not cell and last > self.order[node]:
                raise TangledError  # a view of it is read afterwards, and would show the change
        self.current[cell] = node

    def _check_constant(self, written: Node) -> None:
        """Make sure that nobody sees it if a constant is written over in earnest.

        A weight would be the module's own, and what a step has kept would change behind its back.
        """
        root = self.roots.get(written, written)
        # Steps have these tensors themselves as arguments, and no copies.
        if root.op == "placeholder" or root in self.kept:
            raise TangledError

    def _is_dependent(self, node: Node) -> bool:
        """Return whether *node* depends on the images, or on how many there are."""
        node = self._resolved(node)
        return node in self.indices or node in self.several

    def _is_dependent_on(self, found: Lowered) -> bool:
        return any(isinstance(v, Node) and self._is_dependent(v) for v in found.arguments.values())

    def _evaluated(self, target: Any, args: Any, kwargs: Any) -> Any:
        """Compute what does not depend on the images once, as weights that are normalised do."""
        args, kwargs = torch.fx.node.map_arg(
            (args, kwargs), lambda n: self.constants[self._resolved(n)]
        )
        with torch.no_grad():
            return target(*args, **kwargs)

    def _lowered(self, node: Node) -> Lowered | Same:
        if node.target is operator.getitem:
            source, item = node.args
            assert isinstance(source, Node)
            assert isinstance(item, int)
            return replace(self.several[self._resolved(source)], item=item)
        try:
            return lowered(node)
        except TangledError:
            if not self.rewritten:
                raise
            if not isinstance(node.target, torch._ops.OpOverload):
                raise TraceError(
                    f"the network has {node.target} inside, which cannot be taken apart"
                ) from None
            return Lowered(node.target, named_arguments(node))

    def _grows(self, node: Node) -> bool:
        """Return whether the number of images is among what *node* reads."""
        return any(isinstance(self.constants.get(n), BatchSize) for n in node.all_input_nodes)

    def _learned_by(self, node: Node) -> dict[int, nn.Parameter]:
        """Return the parameters that *node* reads, or that what it reads was computed from."""
        found: dict[int, nn.Parameter] = {}
        for source in node.all_input_nodes:
            found |= self.learned.get(self._resolved(source), {})
        return found

    def _add(self, node: Node, found: Lowered | Same, written: Node | None) -> None:
        """Take in what a node that depends on the images becomes."""
        if isinstance(found, Same):
            self.cells[node] = self.cells.get(found.node, found.node)
            return
        if not isinstance(node.meta["val"], Tensor) and found.item is None:
            arguments = torch.fx.node.map_arg(found.arguments, self._resolved)
            self.several[node] = replace(found, arguments=arguments)  # its getitem nodes pick it up
            return
        source = node.args[0] if node.target is operator.getitem else node
        assert isinstance(source, Node)
        shape = self._shape(node)
        if shape is None:  # the leading dimension does not count images
            self.batched = False
            shape = tuple(self._size(size, fixed=True) for size in node.meta["val"].shape) or (1,)
        self._append_step(node, found, source, shape)
        self._write(node, written)

    def _append_step(self, node: Node, found: Lowered, source: Node, shape: Shape) -> None:
        inputs: list[int] = []

        def argument(value: Any) -> Any:
            if isinstance(value, torch.SymInt):
                return self._size(value)
            if not isinstance(value, Node):
                return value
            value = self._resolved(value)
            if value not in self.indices:
                self.kept.add(self.roots.get(value, value))
                return self.constants[value]
            # x * x has one input, to which both arguments refer.
            if self.indices[value] not in inputs:
                inputs.append(self.indices[value])
            return Input(inputs.index(self.indices[value]))

        arguments = {
            name: torch.fx.node.map_aggregate(v, argument) for name, v in found.arguments.items()
        }
        shapes = tuple(self.steps[i].shape for i in inputs)
        call = Call(found.target, arguments, shapes, shape, found.item)
        self._check_dtypes(node, call, inputs)
        if shape[:1] == (0,) and any(one[:1] > (0,) for one in shapes):
            where = own_line(node.meta.get("stack_trace")) or str(node.target)
            raise TraceError(
                f"nothing is left of a single image at {where}: images of a batch are told apart "
                f"by their place there; leave that out"
            )
        if found.target is aten._native_batch_norm_legit.no_stats or _mixes_rows(call):
            self.batched = False  # images would change each other
        self.indices[node] = len(self.steps)
        # True of no inputs at all: what is left as a step then depends on the number of images
        # alone.
        made = all(isinstance(self.steps[i].operation, Generated) for i in inputs)
        operation = Generated() if made else operation_for(call)
        parameters = tuple(self._learned_by(source).values())
        dtype = node.meta["val"].dtype
        self.steps.append(Step("", call, operation, tuple(inputs), shape, dtype, parameters))
        self.owners.append(owner_of(source, found.target))

    def _check_dtypes(self, node: Node, call: Call, inputs: list[int]) -> None:
        """Run what floats of several types meet in: a trace has no values, and accepts it."""
        tensors = [v for v in pytree.tree_leaves(call.arguments) if isinstance(v, Tensor)]
        dtypes = [self.steps[index].dtype for index in inputs]
        types = {t for t in (*dtypes, *(v.dtype for v in tensors)) if t.is_floating_point}
        if len(types) < 2:
            return
        device = node.meta["val"].device
        shapes = zip(call.input_shapes, dtypes, strict=True)
        try:
            call.run([torch.zeros(shape, dtype=t, device=device) for shape, t in shapes], 1)
        except Exception as error:
            names = " and ".join(sorted(str(t).removeprefix("torch.") for t in types))
            line = own_line(node.meta.get("stack_trace")) or call.name
            raise TraceError(
                f"{names} meet at {line}, which torch does not compute: bring one to the type of "
                f"the other there, as by .to(x.dtype)"
            ) from error

    def _size(self, value: Any, fixed: bool = False) -> Any:
        """Return a size as a number, or as a :class:`BatchSize` if it grows with the batch."""
        if isinstance(value, int):
            return value
        # Sizes come as expressions of symbols. What it is at three batch sizes tells whether it is
        # fixed, or grows with the batch by as much for each image.
        expression = value.node.expr
        batch = [] if self.batch is None else [self.batch]
        at = [int(expression.subs(self.sizes | dict.fromkeys(batch, n))) for n in (1, 2, 3)]
        if fixed or at[0] == at[1] == at[2]:
            return at[0]
        if at[2] - at[1] != at[1] - at[0]:
            raise TraceError("a size inside the network grows faster than the batch")
        # Of a * n + b, at one and two images: a is the difference, and b what is left of the first.
        return BatchSize(at[1] - at[0], 2 * at[0] - at[1])

    @property
    def batch(self) -> Any:
        """The symbol that stands for the number of images, if it is not fixed."""
        size = self.image.meta["val"].shape[0]
        return None if isinstance(size, int) else size.node.expr

    def _shape(self, node: Node) -> Shape | None:
        """Return the shape for one image; None if the leading dimension does not count images."""
        sizes = [self._size(size) for size in node.meta["val"].shape]
        # An image at a time: its leading dimension is whatever one image makes it.
        if not self.batched and all(isinstance(size, int) for size in sizes):
            return tuple(sizes) or (1,)
        # Images can be told apart only where each has as many rows, and nothing else grows with
        # them.
        if not sizes or not isinstance(sizes[0], BatchSize) or sizes[0].offset:
            return None
        if any(isinstance(size, BatchSize) for size in sizes[1:]):
            return None
        return sizes[0].per_image, *sizes[1:]

    def _outputs(self) -> dict[str, int]:
        """Return the step of each output that depends on the images, by where it is returned."""
        specs = self.program.graph_signature.output_specs
        outputs = [spec.arg for spec in specs if spec.kind is OutputKind.USER_OUTPUT]
        form = self.program.call_spec.out_spec
        paths = [str(place) for place in range(len(outputs))]
        if form is not None and form.num_leaves == len(outputs):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tree = pytree.tree_unflatten(outputs, form)
                paths = [dotted(path) for path, _ in pytree.tree_flatten_with_path(tree)[0]]
        by_name = {
            # Resolved at the end of the program: an output that was written over holds what came
            # last.
            node.name: self.indices[self._resolved(node)]
            for node in self.program.graph.nodes
            if self._resolved(node) in self.indices
        }
        names = [getattr(output, "name", None) for output in outputs]
        found = {
            path: by_name[name] for path, name in zip(paths, names, strict=True) if name in by_name
        }
        if not found:
            raise TraceError("the network's output does not depend on the images")
        return found


def _mixes_rows(call: Call) -> bool:
    """Return whether an operation goes along the leading dimension, in which images lie.

    Of what changes the number of rows, the shape tells; a softmax, sort or roll leaves it as it is.
    One that is taken for such costs time: images run one by one.
    """
    if not call.input_shapes or not call.input_shapes[0] or call.name in KEEPING_ROWS:
        return False
    if call.name == "slice_scatter" and isinstance(call.arguments["src"], Input):
        return False  # as many images as it is written into
    rank = len(call.input_shapes[0])
    if call.name in {"repeat", "tile"}:  # all images once more behind the last of them
        return call.shape[0] != call.input_shapes[0][0]
    if call.name in ALONG_ROWS or (call.name in {"tril", "triu"} and rank == 2):
        return True
    dims = call.arguments.get("dims", call.arguments.get("dim", ()))
    if dims is None or dims == []:  # along all of them, as one row or one after another
        return True
    return any(one % rank == 0 for one in pytree.tree_leaves(dims))


def dotted(path: Iterable[Any]) -> str:
    """Return where an output lies in what the module returns, such as ``"1.boxes"``."""
    parts = (getattr(key, "key", getattr(key, "idx", getattr(key, "name", key))) for key in path)
    return ".".join(map(str, parts))


def _free_sizes(node: Node) -> dict[Any, int]:
    """Return the size of the example for every free symbol in its height, width and channels."""
    sizes = node.meta["val"].shape[1:]
    return {size.node.expr: int(size.node.hint) for size in sizes if not isinstance(size, int)}


def _constant_tensors(program: ExportedProgram) -> Mapping[str, Tensor]:
    """Return the parameters, buffers and other constants by the name of their placeholder.

    They are the module's own tensors, so the graph costs no memory of its own.
    """
    tensors = {**program.state_dict, **program.constants}
    return {
        spec.arg.name: tensors[spec.target]
        for spec in program.graph_signature.input_specs
        if spec.kind is not InputKind.USER_INPUT and spec.target in tensors
    }
