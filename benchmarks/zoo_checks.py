"""What `benchmarks/zoo.py` compares of one network, with autograd, hooks and brute force."""

import math
import time
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

import convscope as cs
from convscope.network.walk import ascend

PATCHES, FILL = 3, 0.4
UNITS, LAYERS, SCANNED = 3, 3, 3
SMALL = "300KB"
EXACT, ROUGH = 1e-8, 2e-3  # of the largest value, in float64 and in float32
SINGLE = 1e-6  # what a scan keeps in float32
RECTIFIERS = {
    f"{name}Backward{number}"
    for name in (
        "Relu", "Celu", "Hardtanh", "LeakyRelu", "RreluWithNoise", "PreluKernel", "Elu", "Gelu",
        "Silu", "Hardswish", "Mish", "Softplus", "Threshold",
    )
    for number in (0, 1)
}  # fmt: skip
CLAMPS = {"ClampBackward0", "ClampBackward1", "ClampMinBackward0"}


def first_tensor(output: object) -> Tensor:
    """Return the first tensor of whatever a network gives."""
    found = next(_tensors(output), None)
    if found is None:
        raise TypeError(f"no tensor in {type(output).__name__}")
    return found


def _tensors(output: object) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        yield output
    elif output is not None and not isinstance(output, (str, int, float, bool)):
        parts = output if isinstance(output, (tuple, list)) else None
        if parts is None:
            parts = list((output if isinstance(output, dict) else vars(output)).values())
        for part in parts:
            yield from _tensors(part)


def enliven(module: nn.Module, images: Tensor) -> None:
    """Give a network weights and statistics under which nothing is zero or one by accident.

    Weights keep the deviation that lets signals neither grow nor fade, what begins as a constant
    (biases, scales, a layer's weight in its sum) is drawn around it, and batch norms get about the
    statistics of what they meet.
    """
    for weight in module.parameters():
        constant = bool((weight == weight.flatten()[0]).all()) if weight.numel() else False
        if weight.dim() > 1 and not constant and weight.shape[1:].numel() > 1:
            weight.data.normal_(std=1.2 / math.sqrt(weight.shape[1:].numel()))
        elif constant and weight.numel() > 1:
            value = float(weight.flatten()[0])
            drawn = torch.rand_like(weight)
            small = abs(value) < 0.01
            weight.data.copy_(0.3 * (drawn - 0.5) if small else value * (0.6 + 0.8 * drawn))

    def meet(norm: nn.Module, given: tuple[Tensor, ...]) -> None:
        maps = given[0].transpose(0, 1).flatten(1)
        mean, variance = norm.running_mean, norm.running_var
        if maps.shape[1] > 1 and len(maps) == len(mean):
            spread = maps.std(1)
            mean.copy_(maps.mean(1) + 0.3 * spread * torch.randn_like(mean))
            variance.copy_((spread**2 + 0.01) * (0.5 + 1.5 * torch.rand_like(variance)))

    norms = [m for m in module.modules() if isinstance(getattr(m, "running_var", None), Tensor)]
    hooks = [norm.register_forward_pre_hook(meet) for norm in norms]
    with torch.no_grad():
        module(images)
    for hook in hooks:
        hook.remove()


def heard(module: nn.Module, images: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """Return the maps of every module that ran once, by its name, and the output."""
    maps: dict[str, list[Tensor | None]] = {}

    def listen(name: str) -> Callable[..., None]:
        def hear(_: nn.Module, __: object, output: object) -> None:
            lone = isinstance(output, Tensor) and output.dim() == 4
            maps.setdefault(name, []).append(output.clone() if lone else None)

        return hear

    hooks = [part.register_forward_hook(listen(name)) for name, part in module.named_modules()]
    try:
        output = first_tensor(module(images))
    finally:
        for hook in hooks:
            hook.remove()
    return {k: v[0] for k, v in maps.items() if k and len(v) == 1 and v[0] is not None}, output


class Descent:
    """What comes down from single units by autograd, whose rectifiers follow a rule."""

    def __init__(self, module: nn.Module, image: Tensor) -> None:
        self.leaf = image[None].clone().requires_grad_()
        self.maps, self.output = heard(module, self.leaf)
        self.rule = "gradient"
        self.rectifiers: dict[str, int] = {}
        self.hooked: set[object] = set()

    def prepare(self, layer: str) -> int:
        """Let the rectifiers below *layer* follow the rule, and return how many there are."""
        if layer not in self.rectifiers:
            found = [n for n in _nodes(self.maps[layer].grad_fn) if _is_rectifier(n)]
            self.rectifiers[layer] = len(found)
            for node in _nodes(self.maps[layer].grad_fn):
                if "BatchNorm" in node.name() and node not in self.hooked:
                    node.register_hook(partial(_by_its_scale, node))
                    self.hooked.add(node)
            for node in found:
                if node not in self.hooked:
                    node.register_hook(self._rectify)
                    self.hooked.add(node)
        return self.rectifiers[layer]

    def _rectify(self, down: tuple[Tensor, ...], signals: tuple[Tensor, ...]) -> object:
        (signal,), (own, *others) = signals, down
        if self.rule == "deconvnet":
            own = signal.clamp(min=0)
        elif self.rule == "guided":  # behind a signal above zero, own has the derivative's sign
            own = torch.where(signal > 0, own.clamp(min=0), torch.zeros_like(own))
        return (own, *others)

    def project(self, layer: str, unit: tuple[int, int, int], rule: str) -> Tensor:
        """Return what comes down from one unit, which starts with its own value."""
        self.prepare(layer)
        self.rule = rule
        value = self.maps[layer][0][unit]
        (pixels,) = torch.autograd.grad(
            value, self.leaf, value.detach(), retain_graph=True, allow_unused=True
        )
        return torch.zeros_like(self.leaf[0]) if pixels is None else pixels[0]


def _nodes(start: object) -> list[object]:
    """Return all nodes of autograd's graph that *start* reads."""
    found, left = {start}, [start]
    while left:
        for node, _ in left.pop().next_functions:
            if node is not None and node not in found:
                found.add(node)
                left.append(node)
    return list(found)


def _by_its_scale(
    node: object, found: tuple[Tensor, ...], signals: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    """Return what leaves a batch norm on its way down, by the norm's definition.

    Torch 2.9 to 2.15 derive it wrongly where the signal does not lie in memory as the maps do.
    """
    scale = (node._saved_running_var + node._saved_eps).rsqrt()
    if node._saved_weight is not None:
        scale = scale * node._saved_weight
    return (signals[0] * scale.view(-1, *[1] * (signals[0].dim() - 2)), *found[1:])


def _is_rectifier(node: object) -> bool:
    if node.name() in CLAMPS:
        return getattr(node, "_saved_min", None) == 0
    return node.name() in RECTIFIERS


def place_of(error: Exception) -> str:
    """Return what was raised, and where."""
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    place = " < ".join(f"{Path(f.filename).name}:{f.lineno}" for f in reversed(frames))
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]} ({place})"


def deviation(found: Tensor, expected: Tensor) -> float:
    """Return the largest difference, relative to the largest value that is expected."""
    if found.shape != expected.shape:
        return math.inf
    scale = float(expected.abs().max()) if expected.numel() else 0.0
    worst = float((found.to(expected) - expected).abs().max()) if expected.numel() else 0.0
    return worst / scale if scale else worst if math.isfinite(worst) else math.inf


class Examination:
    """One network and what is found of it; `self.found` is fit for JSON."""

    def __init__(self, module: nn.Module, shape: tuple[int, int, int]) -> None:
        torch.manual_seed(0)
        images = torch.randn(4, *shape) * 0.5 + 0.2
        module.eval().requires_grad_(False)
        self.dtype = torch.float64
        try:
            enliven(module, images[:2])
            with torch.no_grad():
                module.double()(images[:1].double())
        except Exception:  # some make constants in float32; convscope says of others why not
            module.float()
            self.dtype = torch.float32
        self.allowed = EXACT if self.dtype == torch.float64 else ROUGH
        self.module, self.images = module, images.to(self.dtype)
        self.found: dict[str, object] = {"dtype": str(self.dtype).removeprefix("torch.")}
        self.checks: dict[str, dict[str, object]] = {}
        self.found["checks"] = self.checks

    def run(self) -> None:
        began = time.process_time()
        self.net = cs.Network(self.module, self.images[:1])
        self.found["trace"] = round(time.process_time() - began, 2)
        if any(step.dtype == torch.float32 for step in self.net.graph.steps):
            self.allowed, self.found["dtype"] = ROUGH, "float32"  # or in parts, as attention often
        for part in self.module.modules():
            if getattr(part, "inplace", False) is True:
                part.inplace = False  # or autograd hides rectifiers that overwrite views
        self.one_to_one: dict[str, Tensor] = {}
        self.attempt("output", self.outputs)
        self.layers = self.chosen_layers()
        self.descents = [Descent(self.module, image) for image in self.images[:2]]
        for rule in ("gradient", "deconvnet", "guided"):
            self.attempt(rule, lambda rule=rule: self.projections(rule))
        self.attempt("occlusion", self.occlusion)
        self.attempt("scan", self.scan)

    def attempt(self, name: str, check: Callable[[], None]) -> None:
        """Make a check, and keep why convscope refuses it, or where it breaks."""
        try:
            check()
        except cs.ConvscopeError as refusal:
            self.checks.setdefault(name, {})["refused"] = str(refusal)
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)
            own = any(str(Path(cs.__file__).parent) in frame.filename for frame in frames)
            # What there is to compare with may be too much for the memory, or for autograd.
            self.checks.setdefault(name, {})["crash" if own else "uncompared"] = place_of(error)

    def note(
        self, name: str, found: Tensor, expected: Tensor, where: str = "", allowed: float = 0.0
    ) -> None:
        """Count a comparison, and keep the worst."""
        check = self.checks.setdefault(name, {"compared": 0, "worst": 0.0})
        worst = deviation(found, expected)
        wrong = not worst <= max(allowed, self.allowed)
        check["compared"] += 1
        if not worst <= check["worst"]:
            check["worst"], check["where"] = worst, where
        if wrong:
            check["wrong"] = check.get("wrong", 0) + 1

    def outputs(self) -> None:
        """Compare the output and all maps that a module stands for with what hooks hear."""
        with torch.no_grad():
            singles = [heard(self.module, image[None]) for image in self.images[:2]]
        expected = torch.cat([output for _, output in singles])
        self.note("output", self.net(self.images[:2]), expected)
        maps = {name: torch.cat([found[name] for found, _ in singles]) for name in singles[0][0]}
        self.one_to_one = {
            name: values
            for name, values in maps.items()
            if name in self.net.layers
            and tuple(values.shape[1:]) == self.net.layers[name].shape
            and len(set(values.shape[1:])) > 1  # or channels that come last look like rows
        }
        steps = {name: self.net.step(name) for name in self.one_to_one}
        found = ascend(self.net.graph, self.images[:2], list(steps.values())).maps
        for name, step in steps.items():
            self.note("maps", found[step], self.one_to_one[name], name)

    def chosen_layers(self) -> list[str]:
        """Return layers spread over the network that have units of their own."""
        names = []
        for name, values in self.one_to_one.items():
            try:
                self.net.check_units(self.net.step(name))
            except cs.ConvscopeError:
                continue
            if values.shape[2] * values.shape[3] > 1 and len(values.unique()) > 8:
                names.append(name)
        places = {round((len(names) - 1) * share) for share in (0.25, 0.6, 1.0)} if names else set()
        return [names[place] for place in sorted(places)][-LAYERS:]

    def projections(self, rule: str) -> None:
        """Compare units of two images together; the gradient's with little memory too."""
        for layer in self.layers if rule == "gradient" else self.layers[-2:]:
            if rule != "gradient" and not self.same_rectifiers(layer, rule):
                continue
            channels = self.channels(layer)
            expected: dict[tuple[int, int], Tensor] = {}
            for memory in ("1GB", SMALL) if rule == "gradient" else ("1GB",):
                p = cs.project(self.net, self.images[:2], layer, channels, rule=rule, memory=memory)
                for n, k in ((n, k) for n in range(2) for k in range(channels.shape[1])):
                    unit = (int(channels[n, k]), *p.position[n, k].tolist())
                    own = self.one_to_one[layer][n, unit[0]]
                    self.note("peaks", p.activation[n, k], own.max(), layer)
                    self.note("peaks", own[unit[1:]], own.max(), layer)
                    if (n, k) not in expected:
                        expected[n, k] = self.descents[n].project(layer, unit, rule)
                    where = f"{layer} {unit}, image {n}, memory {memory}"
                    self.compare(rule, p.pixels[n, k], expected[n, k], n, layer, unit, where)
                    if rule == "gradient":
                        self.window(p.window[n, k], expected[n, k], where)

    def compare(
        self, rule: str, found: Tensor, expected: Tensor, n: int, layer: str,
        unit: tuple[int, int, int], where: str,
    ) -> None:  # fmt: skip
        """Compare a projection, unless what is expected is itself at a kink or a tie there."""
        if not deviation(found, expected) <= self.allowed:
            tiny = 1e-11 if self.dtype == torch.float64 else 1e-6
            moved = self.images[n] * (1 + tiny * torch.randn_like(self.images[n]))
            beside = Descent(self.module, moved).project(layer, unit, rule)
            if deviation(beside, expected) > 0.1 * deviation(found, expected):
                check = self.checks.setdefault(rule, {"compared": 0, "worst": 0.0})
                check["kinks"] = check.get("kinks", 0) + 1
                return
        self.note(rule, found, expected, where)

    def window(self, window: Tensor, pixels: Tensor, where: str) -> None:
        """Make sure that no pixel has a derivative outside what a unit is said to read."""
        top, left, bottom, right = window.tolist()
        inside = torch.zeros_like(pixels)
        inside[:, top:bottom, left:right] = pixels[:, top:bottom, left:right]
        self.note("window", inside, pixels, where)

    def channels(self, layer: str) -> Tensor:
        """Return channels, each image its own."""
        count = self.one_to_one[layer].shape[1]
        generator = torch.Generator().manual_seed(count)
        drawn = [torch.randperm(count, generator=generator)[:UNITS] for _ in range(2)]
        return torch.stack(drawn)

    def same_rectifiers(self, layer: str, rule: str) -> bool:
        """Return whether the graph and autograd see as many rectifiers below a layer."""
        graph = self.net.graph
        needed = [graph.steps[i] for i in graph.needed_for([self.net.step(layer)])]
        own = sum(step.operation.kind == "rectifier" for step in needed)
        seen = self.descents[0].prepare(layer)
        if self.descents[1].prepare(layer) != own or seen != own:
            check = self.checks.setdefault(rule, {"compared": 0, "worst": 0.0})
            check["uncompared"] = f"{own} rectifiers in the graph, {seen} by autograd"
            return False
        return True

    def occlusion(self) -> None:
        """Compare exact occlusion of the answer and of a map with every patch pasted in turn."""
        image = self.images[:1]
        sides = tuple(max(1, side // 4) for side in image.shape[2:])
        stride = tuple(max(1, side // PATCHES) for side in image.shape[2:])
        layer = self.layers[len(self.layers) // 2] if self.layers else None
        if layer is None and self.net.answer is None:
            return
        o = cs.occlude(self.net, image, sides, stride, FILL, layer=layer)
        covered = []
        for top, left, bottom, right in o.positions.flatten(0, 1).tolist():
            patched = image.clone()
            patched[..., top:bottom, left:right] = FILL
            with torch.no_grad():
                covered.append(heard(self.module, patched))
        with torch.no_grad():
            maps, clean = heard(self.module, image)
        if layer is not None:
            sums = torch.stack([m[layer][0, o.channel].sum() for m, _ in covered])
            scale = maps[layer][0, o.channel].abs().sum()  # what the sum is rounded by
            self.note("occlusion", torch.cat([o.activation.flatten(), scale[None].cpu()]),
                      torch.cat([sums, scale[None]]), layer)  # fmt: skip
        if self.net.answer is not None:
            rows = torch.cat([output.reshape(1, -1) for _, output in covered])
            found = o.number
            if found is None:
                found = o.probability
                if o.answer == "classes" and not torch.allclose(rows.sum(1), rows.new_ones(())):
                    rows = rows.softmax(1)  # no probabilities yet
            scale = clean.abs().max()[None] if o.number is not None else torch.ones(1)
            self.note("occlusion", torch.cat([found.flatten(), scale.to(found)]),
                      torch.cat([rows[:, o.targets], scale.to(rows)]), "answer")  # fmt: skip

    def scan(self) -> None:
        """Compare the two strongest peaks of every channel, and where they are, with a hook's."""
        singles = []
        for image in self.images[:SCANNED]:
            with torch.no_grad():
                singles.append(heard(self.module, image[None])[0])
        found = cs.scan(self.net, list(self.images[:SCANNED]), top=2, memory="32MB")
        for layer in found.layers.values():
            if layer.read_at not in self.one_to_one:
                continue
            maps = torch.cat([maps[layer.read_at] for maps in singles])
            peaks = maps.flatten(2).amax(2).T.sort(1, descending=True).values[:, :2]
            self.note("scan", torch.from_numpy(layer.peak), peaks, layer.read_at, SINGLE)
