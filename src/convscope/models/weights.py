"""A network's weights: found among all that a file holds, checked against the network, put in."""

import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from convscope.arguments import described
from convscope.errors import ModelError
from convscope.models.weight_files import Unread, read_weights

NAMES_SHOWN = 3
NEAR_ENOUGH = 0.5
SETS_SHOWN = 10
COUNTER = "num_batches_tracked"  # batch norm's, which old files lack and inference never reads
# What data parallelism, torch.compile and sharding put between a network's own names.
WRAPPERS = frozenset({"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
# What a training keeps beside a network in the same dictionary: losses, metrics.
_BESIDE = re.compile(r"\w*(criterion|loss|metric|acc|auroc|f1)\w*", re.IGNORECASE)

_log = logging.getLogger("convscope")


def fill(module: nn.Module, source: str | Path) -> None:
    """Put a file's weights into a module: ``FILE``, or ``FILE#key`` for those under one key of it.

    Raises:
        ModelError: if the file cannot be read, or nothing in it fits, or several sets of weights.
    """
    path, key = Path(source), ""
    if "#" in path.name and not path.exists():
        name, _, key = str(source).rpartition("#")
        path = Path(name)
    load_into(module, read_weights(path), path, key)


def load_into(module: nn.Module, held: Any, source: str | Path, key: str = "") -> None:
    """Put weights into a module, once all of them are found to fit.

    ``held`` is name to tensor, or what a training saved: dictionaries and lists in which the
    network's weights are found by their names, whatever stands before these. What else there is, is
    left, and said in one line of the log. Floating point of another width is cast to the module's;
    a module on the meta device takes the tensors themselves. ``source`` names the file in messages;
    ``key`` chooses one of several sets of weights, as ``"state_dict"``.

    Raises:
        ModelError: naming the keys, if some are missing, extra, misshapen, of another kind, NaN or
            infinite, or if several sets of weights fit.

    >>> layer = nn.Linear(1, 1)
    >>> load_into(layer, {"model.weight": torch.ones(1, 1), "model.bias": torch.ones(1)}, "net.pth")
    """
    wanted = module.state_dict()
    file = _Contents.of(held)
    chosen = _chosen(file, wanted, source, key)
    if chosen.left:
        _log.warning(
            "%s: took %d tensors%s; left %s",
            *(source, len(chosen.tensors), f" of {chosen.key}" if chosen.key else ""),
            _some(chosen.left),
        )
    state = {
        name: _converted(name, chosen.tensors[name], tensor.dtype, source)
        if name in chosen.tensors
        else torch.zeros((), dtype=torch.long)
        for name, tensor in wanted.items()
    }
    _check_finite(state, chosen.tensors, source)
    on_meta = any(tensor.is_meta for tensor in wanted.values())
    module.load_state_dict(state, strict=True, assign=on_meta)


@dataclass
class _Contents:
    """What a file holds, flattened: dotted name to tensor, and the container that each lies in."""

    top: list[str]
    kind: str
    tensors: dict[str, Tensor] = field(default_factory=dict)
    container: dict[str, int] = field(default_factory=dict)
    modules: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, held: Any) -> "_Contents":
        top = [str(key) for key in held] if isinstance(held, Mapping) else []
        found = cls(top, described(held))
        pending, seen = [("", held)], set()
        while pending:
            path, value = pending.pop()
            if id(value) in seen:  # one that holds itself, or is held twice
                continue
            seen.add(id(value))
            if isinstance(value, Unread) and value.is_module:
                found.modules.append(value.name)
            for key, item in _items(value):
                name = f"{path}.{key}" if path else str(key)
                if isinstance(item, Tensor):
                    found.tensors[name], found.container[name] = item, id(value)
                else:
                    pending.append((name, item))
        return found

    def words(self) -> str:
        """Say what the file holds, where that is no weights."""
        if self.kind in ("a dict", "an OrderedDict"):
            return f"a dictionary of {_some(self.top)}" if self.top else "an empty dictionary"
        return self.kind


def _items(value: Any) -> Iterable[tuple[Any, Any]]:
    if isinstance(value, Mapping):
        return value.items()
    return enumerate(value) if isinstance(value, list | tuple) else ()


@dataclass
class _Candidate:
    """Tensors of a file whose names end like the network's, all with the same before it."""

    key: str
    tensors: dict[str, Tensor]  # by the network's names
    missing: list[str]
    extra: list[str]
    misshapen: list[str]
    left: list[str]


def _chosen(file: _Contents, wanted: Mapping[str, Tensor], source: object, key: str) -> _Candidate:
    start = f"{key}." if key else ""
    names = [name for name in file.tensors if name.startswith(start)]
    if file.modules and not names:
        raise ModelError(
            f"{source} holds a whole pickled network ({file.modules[0]}), not its weights: load it "
            f"where its class is at hand, and save its state_dict() with torch.save"
        )
    if not file.tensors:
        raise ModelError(
            f"{source} holds no state dict, a dictionary of names and tensors, but {file.words()}"
        )
    if not names:
        raise ModelError(f"{source} has no weights under {key!r}, but {_some(file.top)}")
    candidates = list(_candidates(file, names, wanted))
    fitting = [one for one in candidates if not (one.missing or one.extra or one.misshapen)]
    if not fitting:
        raise ModelError(_misfit(candidates[0], file, wanted, source))
    # Weights at the top of a file, or right under the key, are the ones that it is about.
    nearest = [candidate for candidate in fitting if candidate.key == key]
    if not nearest and len(fitting) > 1:
        raise ModelError(
            f"{source} holds {len(fitting)} sets of weights that fit the network; choose one with "
            f"{' or '.join(f'{source}#{one.key}' for one in fitting[:SETS_SHOWN])}"
        )
    return (nearest or fitting)[0]


def _candidates(
    file: _Contents, names: list[str], wanted: Mapping[str, Tensor]
) -> Iterator[_Candidate]:
    """Yield a candidate for everything that stands before a network's name, the best one first."""
    ours, theirs = _unwrapped(wanted), _unwrapped(names)
    before: Counter[str] = Counter()
    for name in theirs:
        parts = name.split(".")
        for place in range(len(parts)):
            if ".".join(parts[place:]) in ours:
                before["".join(f"{part}." for part in parts[:place])] += 1
    least = sum(not name.endswith(COUNTER) for name in ours)
    for place, (prefix, count) in enumerate(before.most_common() or [("", 0)]):
        if place == 0 or count >= least:
            yield _candidate(file, wanted, ours, theirs, prefix)


def _unwrapped(names: Iterable[str]) -> dict[str, str]:
    """Return names by what is left of them without wrappers, or as they are if two then agree."""
    raw = list(names)
    short = [".".join(part for part in name.split(".") if part not in WRAPPERS) for name in raw]
    return dict(zip(short if len(set(short)) == len(raw) else raw, raw, strict=True))


def _candidate(
    file: _Contents,
    wanted: Mapping[str, Tensor],
    ours: Mapping[str, str],
    theirs: Mapping[str, str],
    prefix: str,
) -> _Candidate:
    under = {name.removeprefix(prefix): name for name in theirs if name.startswith(prefix)}
    shared = [name for name in ours if name in under]
    raw = {ours[name]: theirs[under[name]] for name in shared}
    used = {file.container[name] for name in raw.values()}
    known = {name.partition(".")[0] for name in ours}
    extra: list[str] = []
    beside: list[str] = []
    for name in under:
        # What lies in other dictionaries of the file is no part of this set.
        if name in ours or (used and file.container[theirs[under[name]]] not in used):
            continue
        first = name.partition(".")[0]
        tensor = file.tensors[theirs[under[name]]]
        counted = "." not in name and (tensor.dim() == 0 or not tensor.is_floating_point())
        harmless = first not in known and (counted or _BESIDE.fullmatch(first))
        (beside if harmless else extra).append(name)
    taken = {own: file.tensors[name] for own, name in raw.items()}
    key = _before(next(iter(raw.values())), shared[0]) if shared else prefix.rstrip(".")
    return _Candidate(
        key,
        taken,
        [n for n in wanted if n not in raw and not n.endswith(COUNTER)],
        extra,
        [
            f"{name} is {list(tensor.shape)}, not {list(wanted[name].shape)}"
            for name, tensor in taken.items()
            if tensor.shape != wanted[name].shape
        ],
        _left(file, set(raw.values()), key) + beside,
    )


def _before(raw: str, name: str) -> str:
    """Return what stands before the network's *name* in a file's *raw* one, with its wrappers."""
    parts = raw.split(".")
    for part in reversed(name.split(".")):
        while parts[-1] != part:
            parts.pop()
        parts.pop()
    return ".".join(parts)


def _left(file: _Contents, taken: set[str], key: str) -> list[str]:
    """Return what else a file holds: its other keys, and the set's neighbours."""
    tops = {name.split(".")[0] for name in taken}
    left = [top for top in file.top if top.split(".")[0] not in tops]
    around = key.rpartition(".")[0]
    start = f"{around}." if around else ""
    for name in file.tensors:
        if start and name.startswith(start) and name not in taken:
            neighbour = start + name.removeprefix(start).partition(".")[0]
            if not key.startswith(neighbour) and neighbour not in left:
                left.append(neighbour)
    return left


def _misfit(best: _Candidate, file: _Contents, wanted: Mapping[str, Tensor], source: object) -> str:
    """Say why the best candidate does not fit, with the nearest names for what it lacks."""
    kinds = {"missing": best.missing, "extra": best.extra, "misshapen": best.misshapen}
    faults = [f"{kind} {len(names)} ({_some(names)})" for kind, names in kinds.items() if names]
    shapes = {name: list(tensor.shape) for name, tensor in file.tensors.items()}
    pairs = []
    for name in best.missing[:NAMES_SHOWN]:
        likeness = {
            extra: SequenceMatcher(None, name, extra).ratio()
            + (shapes[full] == list(wanted[name].shape)) / 4
            for extra in best.extra
            if (full := f"{best.key}.{extra}" if best.key else extra) in shapes
        }
        near = max(likeness, key=likeness.__getitem__, default="")
        if likeness.get(near, 0) > NEAR_ENOUGH:
            full = f"{best.key}.{near}" if best.key else near
            pairs.append(f"{near} {shapes[full]} for {name} {list(wanted[name].shape)}")
    hint = f"; nearest: {', '.join(pairs)}" if pairs else ""
    where = f" (looked for under {best.key!r})" if best.key else ""
    return f"{source} does not fit the network: {'; '.join(faults)}{hint}{where}"


def _converted(name: str, tensor: Tensor, kind: torch.dtype, source: object) -> Tensor:
    """Return a tensor as the network's kind of number, where that says the same."""
    fault = ""
    if tensor.is_quantized:
        fault = "is quantised: save the weights from before the quantisation"
    elif tensor.layout != torch.strided:
        fault = "is a sparse tensor: save it with .to_dense()"
    elif tensor.is_meta:
        fault = "has a shape but no values: it was saved from the device 'meta'"
    elif tensor.is_complex() and not kind.is_complex:
        fault = "is complex, and the network's is real"
    elif kind.is_floating_point and not (tensor.is_floating_point() or tensor.is_complex()):
        fault = (
            f"holds whole numbers ({str(tensor.dtype)[6:]}), as quantised weights do: save the "
            f"weights from before the quantisation"
        )
    if fault:
        raise ModelError(f"{source} cannot be used: {name} {fault}")
    return tensor.to(kind)


def _check_finite(state: Mapping[str, Tensor], given: Mapping[str, Tensor], source: object) -> None:
    faulty = [
        name
        for name, tensor in state.items()
        if not torch.isfinite(tensor if tensor.element_size() > 1 else tensor.float()).all()
    ]
    if not faulty:
        return
    large = [name for name in faulty if given[name].isfinite().all()]
    if large:
        raise ModelError(
            f"{source} holds weights too large for {str(state[large[0]].dtype)[6:]}, which become "
            f"infinite, in {len(large)} tensors ({_some(large)})"
        )
    raise ModelError(
        f"{source} holds NaN or infinite weights in {len(faulty)} tensors ({_some(faulty)})"
    )


def _some(names: Iterable[str]) -> str:
    """Return the first few names, and an ellipsis if there are more."""
    shown = list(names)
    return ", ".join(shown[:NAMES_SHOWN]) + (", ..." if len(shown) > NAMES_SHOWN else "")
