"""Programs saved by torch.export, screened before torch runs anything in them.

``torch.export.load`` (as read in torch 2.13) is not safe on a stranger's file. It unpickles with
``weights_only=False`` whatever the archive marks as pickled, and falls back to that for the sample
inputs; it evaluates the symbolic sizes as Python; it compiles the graph's names and guards to
Python; and it resolves an operation to any attribute of ``torch``. So every one of these is checked
first, with torch's own archive reader and on the very bytes that are loaded, and what a
convolutional network does not need is refused. ``load_pt2`` is what ``torch.export.load`` calls; it
is called here directly because the latter goes on to an older, unscreened format when it fails.
"""

import io
import json
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.export.pt2_archive import PT2ArchiveReader
from torch.export.pt2_archive._package import load_pt2

from convscope.errors import ModelError, first_line, near_files

# Names of values, parameters and modules: nothing that could end an expression or call something.
_WORD = re.compile(r"[\w.+-]*")
_OPERATION = re.compile(
    r"torch\.ops\.aten\.(?!from_file\b|__)\w+\.[a-zA-Z]\w*"
    r"|torch\.ops\.higher_order\.wrap_with_(set_grad_enabled|autocast)"
    r"|_operator\.(add|sub|mul|floordiv|truediv|mod|pow|neg|eq|ne|lt|le|gt|ge|and_|or_|getitem)"
    r"|math\.(ceil|floor|trunc|sqrt)"
    r"|torch\.(sym_(int|float|ite|max|min|not|sqrt|sum)|_sym_sqrt)"
)
# The two below are what such texts are made of: nothing may be left once it is taken out.
_ARITHMETIC = r"[-+*/%()<>=!&|~, ]|\b\d+(?:\.\d+)?(?:e[-+]?\d+)?\b"
# Sizes, as in "Add(FloorDiv(Symbol('s16', positive=True, integer=True), Integer(2)), Integer(-1))".
_EXPRESSION_PARTS = re.compile(
    r"\bSymbol\('\w+'|\b[a-z]+\d+\b|\b(?:Integer|Float|Rational|Add|Mul|Pow|Max|Min|Mod|PythonMod"
    r"|ModularIndexing|FloorDiv|CleanDiv|CeilDiv|IntTrueDiv|FloatTrueDiv|FloorToInt|CeilToInt"
    r"|RoundToInt|TruncToInt|ToFloat|PowByNatural|FloatPow|Where|And|Or|Not|Eq|Ne|Lt|Le|Gt|Ge"
    r"|Equality|Unequality|StrictLessThan|LessThan|StrictGreaterThan|GreaterThan|true|false|True"
    r"|False|positive|negative|nonnegative|nonpositive|integer|finite|real|zero|nonzero)\b"
    rf"|{_ARITHMETIC}"
)
# Conditions on sizes, as in "max(1, (-2) + (L['input'].size()[3] // 2)) != 1".
_GUARD_PARTS = re.compile(
    rf"\bL\['\w+'\]\.size\(\)\[\d+\]|\b(?:max|min|and|or|not)\b|{_ARITHMETIC}"
)
_WHOLE = {"target": _OPERATION, "as_operator": _OPERATION}
_MADE_OF = {"expr_str": _EXPRESSION_PARTS, "guards_code": _GUARD_PARTS}
_CONTAINERS = (None, "builtins.tuple", "builtins.list", "builtins.dict")


def load_exported(path: Path) -> tuple[ExportedProgram, tuple[int, int, int]]:
    """Load a .pt2 file; return the program and its image shape [C, H, W].

    Raises:
        ModelError: if the file is missing or damaged, asks for more than a network needs, or does
            not take one batch of images of a fixed size.
    """
    if not path.is_file():
        names = near_files(path, "*.pt2")
        raise ModelError(f"the exported program {path} does not exist{names}")
    content = path.read_bytes()
    try:
        _screen(content)
        with warnings.catch_warnings():  # torch 2.9 warns of its own reading of bytes
            warnings.filterwarnings("ignore", "The given buffer is not writable")
            program = load_pt2(io.BytesIO(content)).exported_programs["model"]
    except _UnsafeError as unsafe:
        raise ModelError(
            f"{path} is refused: it holds {unsafe}, which could run code; "
            f"save the module's weights as .safetensors and load it by path/file.py:factory"
        ) from None
    # A damaged file, or one of another version of torch, fails anywhere in torch's reader.
    except Exception as error:
        raise ModelError(f"{path} cannot be read as a .pt2 file: {first_line(error)}") from error
    return program, _image_shape(program, path)


class _UnsafeError(Exception):
    """Something in an archive that is not loaded; says what."""


def _screen(content: bytes) -> None:
    """Look through all records of an archive; raise _UnsafeError at the first that is not plain."""
    with PT2ArchiveReader(io.BytesIO(content)) as archive:
        for name in archive.get_file_names():
            if name.startswith("data/aotinductor/"):
                raise _UnsafeError("compiled code")
            if name.startswith("models/"):
                _screen_text(json.loads(archive.read_string(name)), "")
            elif name.endswith(".pt"):
                _screen_pickle(name, archive.read_bytes(name))
            elif name.endswith("_config.json"):
                _screen_payloads(json.loads(archive.read_string(name)))


def _screen_pickle(name: str, content: bytes) -> None:
    """Allow sample inputs, and the weights of older files, that hold tensors only."""
    try:
        if content:
            torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception:  # whatever is wrong here, torch would try again without weights_only
        raise _UnsafeError(f"a pickle ({name})") from None


def _screen_payloads(config: Mapping[str, Any]) -> None:
    """Allow weights and constants that are raw bytes."""
    for name, payload in config["config"].items():
        plain = re.fullmatch(r"(weight|tensor)_\d+", payload["path_name"])
        if payload["use_pickle"] is not False or not plain:
            raise _UnsafeError(f"a pickle ({name})")


def _screen_text(value: Any, field: str) -> None:
    """Check every text of a serialised graph that torch evaluates, compiles or looks up."""
    if isinstance(value, dict):
        for key, item in value.items():
            _screen_word(key, "")
            # Metadata is kept as text, and strings among the arguments as strings.
            if key not in ("metadata", "as_string", "as_strings"):
                _screen_text(item, key)
    elif isinstance(value, list):
        for item in value:
            _screen_text(item, field)
    elif isinstance(value, str) and field in ("in_spec", "out_spec"):
        _screen_containers(value)
    elif isinstance(value, str):
        _screen_word(value, field)


def _screen_word(text: str, field: str) -> None:
    if field in _MADE_OF:
        plain = not _MADE_OF[field].sub("", text)
    else:
        plain = bool(_WHOLE.get(field, _WORD).fullmatch(text))
    if not plain:
        raise _UnsafeError(f"{text[:60]!r}")


def _screen_containers(text: str) -> None:
    """Allow arguments and results in tuples, lists and dictionaries with plain keys."""
    pending = [json.loads(text)[1]]
    while pending:
        spec = pending.pop()
        keys = json.loads(spec["context"] or "null") or []
        if spec["type"] not in _CONTAINERS or not all(isinstance(key, str | int) for key in keys):
            raise _UnsafeError(f"the container {spec['type']!r}")
        pending += spec["children_spec"]


def _image_shape(program: ExportedProgram, path: Path) -> tuple[int, int, int]:
    names = program.graph_signature.user_inputs
    nodes = [node for node in program.graph.nodes if node.name in names]
    shapes = [tuple(getattr(node.meta.get("val"), "shape", ())) for node in nodes]
    if len(shapes) != 1 or len(shapes[0]) != 4:
        raise ModelError(f"{path} must take exactly one batch of images [N, C, H, W]")
    if not all(isinstance(length, int) for length in shapes[0][1:]):
        raise ModelError(
            f"{path} was exported for images of any size; export it with a fixed height and width"
        )
    return shapes[0][1:]
