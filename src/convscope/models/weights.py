"""Weight files: read without running code, checked against the network, fetched with a hash."""

import hashlib
import pickle
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from convscope.errors import ModelError, near_matches

NAMES_SHOWN = 3
NESTS = ("state_dict", "model_state_dict", "model", "net", "network", "weights")
TORCH_STARTS = (b"PK", b"\x80")  # a zip file's, and a pickle's, which torch wrote before
WRAPPERS = ("module.", "_orig_mod.")  # left in the keys by data parallelism and torch.compile


@dataclass(frozen=True)
class OfficialWeights:
    """A file that torchvision publishes; its name ends in the first digits of its SHA-256.

    >>> OfficialWeights("https://example.org/net-0123abcd.pth").hash_prefix
    '0123abcd'
    """

    url: str

    @property
    def file(self) -> str:
        """The file's name."""
        return self.url.rpartition("/")[2]

    @property
    def hash_prefix(self) -> str:
        """The first hexadecimal digits of the SHA-256 of the file's bytes."""
        return Path(self.file).stem.rpartition("-")[2]


_PUBLISHED = "https://download.pytorch.org/models"
OFFICIAL = {
    "vgg16": OfficialWeights(f"{_PUBLISHED}/vgg16-397923af.pth"),
    "vgg16_bn": OfficialWeights(f"{_PUBLISHED}/vgg16_bn-6c64b313.pth"),
    "alexnet": OfficialWeights(f"{_PUBLISHED}/alexnet-owt-7be5be79.pth"),
    "squeezenet1_1": OfficialWeights(f"{_PUBLISHED}/squeezenet1_1-b8a52dc0.pth"),
}


def fetch(official: OfficialWeights) -> Path:
    """Return the path of an official weight file, downloading it the first time.

    The cache is torch.hub's, so that a file torchvision has fetched is not fetched again.

    Raises:
        ModelError: if it cannot be fetched, or the cached or fetched file has another hash.

    """
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    path = folder / official.file
    if path.is_file():
        if not _sha256(path).startswith(official.hash_prefix):
            raise ModelError(
                f"{path} is not used: it is not the official file, whose SHA-256 starts with "
                f"{official.hash_prefix}; delete it, or pass another file with --weights"
            )
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(
            official.url, str(path), hash_prefix=official.hash_prefix, progress=True
        )
    # An unreachable host is an OSError, a wrong hash a RuntimeError, a bad reply an HTTPException.
    except Exception as error:
        reason = _why_unfetched(error)
        raise ModelError(
            f"cannot fetch {official.file} from {official.url} ({reason}); put it into {folder}, "
            f"or pass a file of weights with --weights"
        ) from error
    return path


def _why_unfetched(error: Exception) -> str:
    """Say why a download failed, on one line."""
    if isinstance(error, HTTPError):
        error.close()  # it is the server's reply, and holds its connection
        return str(error)
    return str(error.reason) if isinstance(error, URLError) else first_line(error)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Read a file of weights, .safetensors or torch's .pth, .pt, as name to tensor on the CPU.

    A dictionary nested under "state_dict", "model" and the like is unwrapped, and prefixes such as
    "module." that every name carries are cut off. A pickle may hold tensors and nothing else: one
    that names a function or class is refused, and nothing in it is run.

    Raises:
        ModelError: if the file is missing, is neither format, is damaged or is refused.

    """
    path = Path(path)
    if path.is_dir() or not path.exists():
        near = path.parent.iterdir() if path.parent.is_dir() else ()
        names = near_matches(path.name, (file.name for file in near))
        what = "is a folder" if path.is_dir() else "does not exist"
        raise ModelError(f"the file of weights {path} {what}{names}")
    loaded = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    return _unwrap(loaded, path)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ModelError(
            f"{path} cannot be read as weights: it is no safetensors file, or a damaged one "
            f"({first_line(error)})"
        ) from error
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or first_line(error)}") from error


def _read_torch(path: Path) -> Any:
    """Read torch's format, allowing tensors and plain containers only."""
    try:
        with path.open("rb") as file:
            start = file.read(2)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or first_line(error)}") from error
    # What else it holds the unpickler would take for instructions, and complain of a letter.
    if not start.startswith(TORCH_STARTS):
        raise ModelError(
            f"{path} cannot be read as weights: it is no torch file, and its name does not end in "
            f".safetensors"
        )
    try:
        # What torch warns of here (such as another pickle protocol) either reads well or raises.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{path} is refused: it is no plain file of weights, and unpickling it could run code; "
            f"save the network's state_dict() as .safetensors, or with torch.save"
        ) from error
    except Exception as error:  # a damaged file fails wherever its bytes lead the unpickler
        raise ModelError(f"{path} cannot be read as weights: {first_line(error)}") from error


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, without a full stop, or else its kind."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__


def _unwrap(loaded: Any, path: Path) -> dict[str, Tensor]:
    """Find the name-to-tensor dictionary in what a file held."""
    while isinstance(loaded, Mapping) and not _is_state_dict(loaded):
        nest = next((name for name in NESTS if isinstance(loaded.get(name), Mapping)), None)
        if nest is None:
            break
        loaded = loaded[nest]
    if not isinstance(loaded, Mapping) or not _is_state_dict(loaded):
        raise ModelError(
            f"{path} holds no state dict, a dictionary of names and tensors, but "
            f"{_contents(loaded)}"
        )
    state = dict(loaded)
    while prefix := next((p for p in WRAPPERS if all(name.startswith(p) for name in state)), None):
        state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def _is_state_dict(loaded: Mapping[Any, Any]) -> bool:
    return bool(loaded) and all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in loaded.items()
    )


def _contents(loaded: Any) -> str:
    if isinstance(loaded, Mapping):
        return f"a dictionary of {_some(map(str, loaded))}" if loaded else "an empty dictionary"
    return f"an object of type {type(loaded).__name__}"


def load_into(module: nn.Module, state: Mapping[str, Tensor], source: str | Path) -> None:
    """Put weights into a module, once all of them are found to fit.

    ``state`` is name to tensor; floating point of another width is cast to the module's. A module
    on the meta device takes the tensors themselves. ``source`` names the file in messages.

    Raises:
        ModelError: naming the keys, if some are missing, extra, misshapen, NaN or infinite.

    >>> layer = nn.Linear(1, 1)
    >>> load_into(layer, {"weight": torch.ones(1, 1), "bais": torch.ones(1)}, "net.pth")
    Traceback (most recent call last):
        ...
    convscope.errors.ModelError: net.pth does not fit the network: missing 1 (bias); extra 1 (bais)

    """
    wanted = module.state_dict()
    state = {**_missing_counters(wanted, state), **state}
    _check_fit(wanted, state, source)
    _check_finite(state, source)
    cast = {
        name: tensor.to(wanted[name].dtype) if tensor.dtype != wanted[name].dtype else tensor
        for name, tensor in state.items()
    }
    on_meta = any(tensor.is_meta for tensor in wanted.values())
    module.load_state_dict(cast, strict=True, assign=on_meta)


def _missing_counters(
    wanted: Mapping[str, Tensor], state: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Batch norm's step counters, which old files lack and inference never reads."""
    return {
        name: torch.zeros((), dtype=torch.long)
        for name in wanted
        if name.endswith("num_batches_tracked") and name not in state
    }


def _check_fit(wanted: Mapping[str, Tensor], state: Mapping[str, Tensor], source: object) -> None:
    missing = [name for name in wanted if name not in state]
    extra = [name for name in state if name not in wanted]
    misshapen = [
        f"{name} is {list(state[name].shape)}, not {list(wanted[name].shape)}"
        for name in wanted
        if name in state and state[name].shape != wanted[name].shape
    ]
    kinds = {"missing": missing, "extra": extra, "misshapen": misshapen}
    faults = [f"{kind} {len(names)} ({_some(names)})" for kind, names in kinds.items() if names]
    if faults:
        raise ModelError(f"{source} does not fit the network: {'; '.join(faults)}")


def _check_finite(state: Mapping[str, Tensor], source: object) -> None:
    faulty = [
        name
        for name, tensor in state.items()
        if tensor.is_floating_point() and not torch.isfinite(tensor).all()
    ]
    if faulty:
        raise ModelError(
            f"{source} holds NaN or infinite weights in {len(faulty)} tensors ({_some(faulty)})"
        )


def _some(names: Iterable[str]) -> str:
    """Return the first few names, and an ellipsis if there are more."""
    shown = list(names)
    return ", ".join(shown[:NAMES_SHOWN]) + (", ..." if len(shown) > NAMES_SHOWN else "")
