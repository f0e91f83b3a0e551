"""From a module to its graph: one trace by torch.export, then a plain list of steps."""

import io
import logging
import operator
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind
from torch.fx import Node
from torch.utils import _pytree as pytree

from convscope.errors import TraceError
from convscope.network.calls import BatchSize, Call, Input, Shape
from convscope.network.graph import Graph, Step
from convscope.network.ops import OUTSIDE, Generated, operation_for

aten = torch.ops.aten


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Put *module* into evaluation mode, and every part of it back as it was afterwards."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


@contextmanager
def quiet() -> Iterator[None]:
    """Keep all that torch.export says besides its errors off the screen: nobody can act on it."""
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        # Where it fails it prints the graph so far on standard error.
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def export(module: nn.Module, example: Tensor) -> ExportedProgram:
    """Trace *module* with a dynamic batch if it allows one, else with the batch of one.

    Args:
        module: any module that maps images to something; it is left as it was.
        example: [1, C, H, W]; only its shape, dtype and device matter.

    Raises:
        TraceError: if the module cannot be traced, with torch's reason.

    """
    pair = torch.cat([example, example])
    with evaluation_mode(module), quiet():
        try:
            # A batch of two, or reshapes written with a batch of one would be taken as constant.
            return torch.export.export(
                module, (pair,), dynamic_shapes=({0: Dim("batch")},), strict=False
            )
        except Exception as error:  # torch.export raises nearly anything
            if "pytree" in str(error) and _registered(module, example):
                return export(module, example)
        try:  # a fixed batch may still do
            return torch.export.export(module, (example,), strict=False)
        except Exception as error:
            raise TraceError(_reason(module, example, error)) from error


def _registered(module: nn.Module, example: Tensor) -> bool:
    """Tell torch of the dataclasses that *module* returns; return whether there were any."""
    with torch.no_grad():
        waiting, found = [module(example)], False
    while waiting:
        value = waiting.pop()
        if is_dataclass(value) and not isinstance(value, type):
            if pytree._is_leaf(value):
                torch.export.register_dataclass(type(value))
                found = True
            waiting += [getattr(value, part.name) for part in fields(value)]
        elif isinstance(value, dict | list | tuple):
            waiting += value.values() if isinstance(value, dict) else value
    return found


def _reason(module: nn.Module, example: Tensor, error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = (lines[0] if lines else type(error).__name__).rstrip(".")
    shape = list(example.shape)
    return (
        f"{type(module).__name__} cannot be traced on an input of shape {shape}: {reason}"
        f"{_place(str(error))}; check "
        f"that the module runs on that input, and move Python branches that depend on pixel values "
        f"out of its forward"
    )


def _place(text: str) -> str:
    """Return the line of the module's own code that torch blames, if it names one."""
    found = re.findall(r'File "([^"]+)", line (\d+), in .+\n\s*(.+)', text)
    return f", at {found[-1][0]}:{found[-1][1]}, `{found[-1][2].strip()}`" if found else ""


def graph_of(program: ExportedProgram) -> Graph:
    """Turn an exported program of one image batch into a graph.

    Raises:
        TraceError: if the program has another kind of input, or control flow inside.

    """
    with quiet():
        program = program.run_decompositions({})
    return _Builder(program).graph()


class _Builder:
    """Walks an exported program once, node by node."""

    def __init__(self, program: ExportedProgram) -> None:
        self.program = program
        self.constants: dict[Node, Any] = {}
        self.learned: dict[Node, dict[int, nn.Parameter]] = {}
        self.indices: dict[Node, int] = {}
        self.steps: list[Step] = []
        self.owners: list[tuple[str, str]] = [("", "")]
        self.batched = True
        self.names = _constant_tensors(program)
        self.image = self._image_node()

    def _image_node(self) -> Node:
        specs = self.program.graph_signature.input_specs
        images = [spec.arg.name for spec in specs if spec.kind is InputKind.USER_INPUT]
        nodes = {node.name: node for node in self.program.graph.nodes if node.op == "placeholder"}
        if len(images) != 1 or len(getattr(nodes[images[0]].meta.get("val"), "shape", ())) != 4:
            raise TraceError("the network must take exactly one batch of images, [N, C, H, W]")
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
                constant = self.constants[node] = self.names.get(node.name)
                if isinstance(constant, nn.Parameter):
                    self.learned[node] = {id(constant): constant}
            elif node.op == "call_function":
                self._visit(node)
            elif node.op == "get_attr":
                raise TraceError("the network has control flow inside (torch.cond or the like)")
        modules = self._modules()
        names = _layer_names(self.steps, self.owners, modules)
        steps = tuple(
            replace(step, name=name) for name, step in zip(names, self.steps, strict=True)
        )
        outputs = self._outputs()
        floats = [step for step in outputs.values() if steps[step].dtype.is_floating_point]
        output = next(iter([*floats, *outputs.values()]))
        return Graph(steps, output, modules, self.batched, outputs)

    def _visit(self, node: Node) -> None:
        value = node.meta.get("val")
        if isinstance(value, torch.SymInt | int):
            self.constants[node] = self._size(value)
            return
        if self._grows(node):
            if isinstance(value, torch.SymFloat):
                raise TraceError("the network computes with the number of images in a batch")
        elif not _depends_on(node, self.indices):
            if value is not None:
                self.constants[node] = _evaluate(node, self.constants)
                self.learned[node] = self._learned_by(node)
            return
        if not isinstance(value, Tensor):
            return  # several outputs, which their getitem nodes pick up, or an assertion
        if node.target is operator.getitem:
            self._append(node, *node.args)  # type: ignore[arg-type]
        else:
            self._append(node, node, None)

    def _grows(self, node: Node) -> bool:
        """Return whether the number of images is among what *node* reads."""
        return any(isinstance(self.constants.get(n), BatchSize) for n in node.all_input_nodes)

    def _learned_by(self, node: Node) -> dict[int, nn.Parameter]:
        """Return the parameters that *node* reads, or that what it reads was computed from."""
        found: dict[int, nn.Parameter] = {}
        for source in node.all_input_nodes:
            found |= self.learned.get(source, {})
        return found

    def _append(self, node: Node, source: Node, item: int | None) -> None:
        inputs: list[int] = []

        def argument(value: Any) -> Any:
            if not isinstance(value, Node):
                return value
            if value not in self.indices:
                return self.constants[value]
            if self.indices[value] not in inputs:
                inputs.append(self.indices[value])
            return Input(inputs.index(self.indices[value]))

        named, positional = _by_name(source)
        named = {name: torch.fx.node.map_aggregate(v, argument) for name, v in named.items()}
        positional = torch.fx.node.map_aggregate(positional, argument)
        shape = self._shape(node)
        if shape is None:  # the leading dimension does not count images
            self.batched = False
            shape = tuple(self._size(size, fixed=True) for size in node.meta["val"].shape) or (1,)
        shapes = tuple(self.steps[i].shape for i in inputs)
        target = source.target
        if target in (aten.view.default, aten._unsafe_view.default):
            # Maps travel channels last here, where a view that held when tracing may need a copy.
            target, named = aten.reshape.default, {"self": named["self"], "shape": named["size"]}
        elif target is aten.squeeze.default:
            # On a single image it would squeeze the batch dimension away too.
            target, named = aten.reshape.default, {"self": named["self"], "shape": [-1, *shape[1:]]}
        elif target is aten.copy.default:
            # What is written into a slice; torch has no derivative for it.
            named = {"condition": torch.tensor(True), "self": named["src"], "other": named["self"]}
            target = aten.where.self
        call = Call(target, named, shapes, shape, item, tuple(positional))  # type: ignore[arg-type]
        if source.target is aten._native_batch_norm_legit.no_stats:
            self.batched = False  # normalised over the batch: images would change each other
        self.indices[node] = len(self.steps)
        made = all(isinstance(self.steps[i].operation, Generated) for i in inputs)
        operation = Generated() if made else operation_for(call)
        parameters = tuple(self._learned_by(source).values())
        dtype = node.meta["val"].dtype
        self.steps.append(Step("", call, operation, tuple(inputs), shape, dtype, parameters))
        self.owners.append(_owner(source))

    def _size(self, value: Any, fixed: bool = False) -> Any:
        """Return a size as a number, or as a :class:`BatchSize` if it grows with the batch."""
        if isinstance(value, int):
            return value
        expression = value.node.expr
        batch = [] if self.batch is None else [self.batch]
        at = [int(expression.subs(self.sizes | dict.fromkeys(batch, n))) for n in (1, 2, 3)]
        if fixed or at[0] == at[1] == at[2]:
            return at[0]
        if at[2] - at[1] != at[1] - at[0]:
            raise TraceError("a size inside the network grows faster than the batch")
        return BatchSize(at[1] - at[0], 2 * at[0] - at[1])

    @property
    def batch(self) -> Any:
        """The symbol that stands for the number of images, if it is not fixed."""
        size = self.image.meta["val"].shape[0]
        return None if isinstance(size, int) else size.node.expr

    def _shape(self, node: Node) -> Shape | None:
        """Return the shape for one image; None if the leading dimension does not count images."""
        sizes = [self._size(size) for size in node.meta["val"].shape]
        if not self.batched and all(isinstance(size, int) for size in sizes):
            return tuple(sizes) or (1,)
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
                paths = [_dotted(path) for path, _ in pytree.tree_flatten_with_path(tree)[0]]
        by_name = {node.name: index for node, index in self.indices.items()}
        names = [getattr(output, "name", None) for output in outputs]
        found = {
            path: by_name[name] for path, name in zip(paths, names, strict=True) if name in by_name
        }
        if not found:
            raise TraceError("the network's output does not depend on the images")
        return found

    def _modules(self) -> dict[str, int]:
        modules: dict[str, int] = {}
        for index, (path, _) in enumerate(self.owners):
            parts = path.split(".")
            for length in range(1, len(parts) + 1):
                modules[".".join(parts[:length])] = index
        modules.pop("", None)
        return modules


def _dotted(path: Iterable[Any]) -> str:
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


def _depends_on(node: Node, indices: Mapping[Node, int]) -> bool:
    """Return whether *node* reads the images, directly or as one of several outputs."""
    return any(
        source in indices
        or (isinstance(source.meta.get("val"), tuple | list) and _depends_on(source, indices))
        for source in node.all_input_nodes
    )


def _evaluate(node: Node, constants: Mapping[Node, Any]) -> Any:
    """Compute what does not depend on the images once, as weights that are normalised do."""
    args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), lambda n: constants[n])
    with torch.no_grad():
        return node.target(*args, **kwargs)  # type: ignore[operator]


def _by_name(node: Node) -> tuple[dict[str, Any], tuple[Any, ...]]:
    """Return a node's arguments by the names of the operation's schema, defaults filled in."""
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return dict(node.kwargs), node.args
    named = {a.name: a.default_value for a in schema.arguments if a.has_default_value()}
    given = zip((a.name for a in schema.arguments), node.args, strict=False)
    return {**named, **dict(given), **node.kwargs}, ()


def _owner(node: Node) -> tuple[str, str]:
    """Return the dotted name of the module whose forward holds *node*, and the operation's name."""
    stack = node.meta.get("nn_module_stack") or {"": ("", None)}
    path = list(stack.values())[-1][0]
    target = node.target
    name = target._schema.name.split("::")[-1] if hasattr(target, "_schema") else str(target)
    name = {"_native_batch_norm_legit_no_training": "batch_norm"}.get(name, name)
    return path, name.removeprefix("native_").removeprefix("_")


def _layer_names(
    steps: list[Step], owners: list[tuple[str, str]], modules: dict[str, int]
) -> list[str]:
    """Name every step.

    It takes its module's name if it is the only operation written there, or makes the module's
    output; otherwise the operation's name follows.
    """
    paths = {path for path, _ in owners}
    parents = {path.rsplit(".", i)[0] for path in paths for i in range(1, path.count(".") + 1)}
    kinds: dict[str, set[str]] = {}
    for step, (path, operation) in zip(steps, owners, strict=True):
        if step.operation.is_layer:
            kinds.setdefault(path, set()).add(operation)
    used: dict[str, int] = {}
    names = []
    for index, (step, (path, operation)) in enumerate(zip(steps, owners, strict=True)):
        alone = path not in parents and path and kinds.get(path, set()) <= {operation}
        stands_for_module = alone or modules.get(path) == index
        own = stands_for_module and step.operation.is_layer
        name = path if own else f"{path}:{operation}".lstrip(":")
        if step.call is None:
            name = "images"
        count = used.get(name, 0)
        used[name] = count + 1
        names.append(f"{name}@{count}" if count else name)
    return names
