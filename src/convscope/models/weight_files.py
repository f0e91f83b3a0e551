"""Files of weights, read without importing or calling anything that they name."""

import pickle
import pickletools
import re
import sys
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from convscope.errors import ModelError, first_line, near_files

TORCH_STARTS = (b"PK", b"\x80")  # a zip file's, and a pickle's, which torch wrote before
# Names that the old format has from Python 2.
PYTHON_2 = {"__builtin__": "builtins", "copy_reg": "copyreg", "long": "int", "unicode": "str"}
GIT_POINTER = b"version https://git-lfs"
# Of Python's own library, what people's settings are made of; all else of it may be a trap.
_HARMLESS = re.compile(
    r"builtins\.(bool|bytearray|bytes|complex|dict|float|frozenset|int|list|long"
    r"|object|range|set|slice|str|tuple|unicode)"
    r"|(argparse|collections|copyreg|datetime|decimal|enum|fractions|pathlib(\._local)?"
    r"|types|uuid)\.\w+|_codecs\.encode|functools\.partial"
)
# The unpickler fills dictionaries by name, and only those of its own kind.
_DICTIONARY = re.compile(r"(dict|Dict|Config|Counter)$")


class Unread:
    """Stands for an object of a class that a file names; the class is not imported."""

    name: ClassVar[str] = ""
    state: Any = None

    def __new__(cls, *_: Any, **__: Any) -> "Unread":
        """Make one from whatever arguments the file has for the class."""
        return object.__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        self.state = state

    @property
    def is_module(self) -> bool:
        """Whether it was a whole network."""
        return isinstance(self.state, dict) and {"_parameters", "_modules"} <= self.state.keys()


class _UnreadDictionary:
    """Makes a dictionary of the unpickler's own kind in place of another."""

    def __new__(cls, *_: Any, **__: Any) -> OrderedDict[Any, Any]:  # type: ignore[misc]
        return OrderedDict()


def read_weights(path: str | Path) -> Any:
    """Return what a file of weights, .safetensors or torch's, holds, with tensors on the CPU.

    Objects that are neither tensors nor plain containers come out as :class:`Unread`: nothing that
    the file names is imported or called. One that names a function or class of Python's own library
    that settings do not need is refused, as it may be meant to run code.

    Raises:
        ModelError: if the file is missing, of another kind, damaged or refused.
    """
    path = Path(path)
    try:
        if path.is_dir() or not path.exists():
            what = "is a folder" if path.is_dir() else "does not exist"
            raise ModelError(f"the file of weights {path} {what}{near_files(path)}")
        with path.open("rb") as file:
            start = file.read(64)
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {first_line(error)}") from error
    if start.startswith(GIT_POINTER):
        raise ModelError(f"{path} only points to a file of weights: fetch it with `git lfs pull`")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    # What else it holds the unpickler would take for instructions, and complain of a letter.
    if not start.startswith(TORCH_STARTS):
        raise ModelError(
            f"{path} cannot be read as weights: it is no torch file, and its name does not end in "
            f".safetensors"
        )
    return _read_torch(path, zipped=start.startswith(b"PK"))


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ModelError(
            f"{path} cannot be read as weights: it is no safetensors file, or a damaged one "
            f"({first_line(error)})"
        ) from error
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {first_line(error)}") from error


def _read_torch(path: Path, *, zipped: bool) -> Any:
    """Read torch's format, with stand-ins for all but tensors and plain containers."""
    try:
        # What torch warns of here (such as another pickle protocol) either reads well or raises.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if zipped:
                _check_archive(path)
            stand_ins = [(_stand_in(name, path), name) for name in _names(path, zipped)]
            with safe_globals(stand_ins):  # type: ignore[arg-type]
                return torch.load(path, map_location="cpu", weights_only=True)
    except ModelError:
        raise
    except pickle.UnpicklingError as error:
        raise _refusal(path) from error
    except Exception as error:  # a damaged file fails wherever its bytes lead the unpickler
        raise ModelError(
            f"{path} cannot be read as weights: it is damaged, or was not written by torch.save"
        ) from error


def _check_archive(path: Path) -> None:
    """Refuse the zip files of other programs, each with what to do."""
    with zipfile.ZipFile(path) as archive:
        inside = {Path(name).name for name in archive.namelist()}
    if "constants.pkl" in inside:
        raise ModelError(
            f"{path} is a TorchScript program, not a file of weights: "
            f"save torch.jit.load(...).state_dict() with torch.save, and name that file"
        )
    if "archive_format" in inside:
        raise ModelError(
            f"{path} is a program of torch.export, not a file of weights: "
            f"name it as the model, with the ending .pt2"
        )
    if "data.pkl" not in inside:
        raise ModelError(f"{path} cannot be read as weights: it is a zip file, but not torch's")


def _names(path: Path, zipped: bool) -> Iterator[str]:
    """Return the functions and classes that a file names, besides those that torch allows."""
    if zipped:
        yield from get_unsafe_globals_in_checkpoint(path)
        return
    seen = set()
    with path.open("rb") as file:
        for _ in range(4):  # of the old format's pickles the fourth is the content
            for code, argument, _ in pickletools.genops(file):
                if code.name == "GLOBAL":
                    seen.add(" ".join(PYTHON_2.get(w, w) for w in str(argument).split()))
            if not file.peek(1):
                break
    yield from (name.replace(" ", ".") for name in seen)


def _stand_in(name: str, path: Path) -> type:
    root = name.partition(".")[0]
    if root in sys.stdlib_module_names and not _HARMLESS.fullmatch(name):
        raise _refusal(path)
    if _DICTIONARY.search(name):
        return _UnreadDictionary
    return type("Unread", (Unread,), {"name": name})


def _refusal(path: Path) -> ModelError:
    return ModelError(
        f"{path} is refused: it is no plain file of weights, and unpickling it could run code; "
        f"save the network's state_dict() as .safetensors, or with torch.save"
    )
