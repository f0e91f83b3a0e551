"""A scan into an atlas folder: alone, or as one of several processes; and the parts as one."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from convscope.arguments import misshapen
from convscope.atlas.atlas import Atlas
from convscope.atlas.commands import ModelNames
from convscope.atlas.place import KIND, TALLY, rank_tally
from convscope.errors import ConvscopeError, DataError, OutputError
from convscope.methods.budget import Progress
from convscope.methods.scan import merge, scan
from convscope.methods.scanning.result import Scan
from convscope.methods.scanning.sources import Images
from convscope.network import Network
from convscope.outputs import MARK, claim_folder
from convscope.study.devices import make_fabric


def check_place(output: Path, images: Path, resume: bool) -> None:
    """Refuse to write over another atlas, among somebody's files, or among the pictures."""
    if not output.suffix and (output / TALLY).exists() and not resume:
        raise OutputError(f"{output} holds a scan already: --resume it, or name another folder")
    Scan.check(output, images)


@contextmanager
def made(output: Path) -> Iterator[None]:
    """Make the folder, if it is one; a mistake that leaves nothing in it takes it away again."""
    if output.suffix:
        yield
        return
    there = output.exists()
    claim_folder(output, KIND)
    try:
        yield
    except ConvscopeError:
        if not there:
            with suppress(OSError):  # other processes may have written there
                (output / MARK).unlink()
                output.rmdir()
        raise


def scanned(
    net: Network,
    source: Images,
    layer: Sequence[str] | None,
    output: Path,
    *,
    top: int,
    part: tuple[int, int],
    memory: int | str,
    resume: bool,
    progress: Progress,
) -> Scan | None:
    """Scan this process's share of the images; return that of all, in the first process only.

    Args:
        net: the network.
        source: its images.
        layer: as for :func:`.scan`, as *top*, *memory* and *resume*.
        output: the atlas's folder, where what was counted is kept; or a file.
        top: see *layer*.
        part: the k-th of how many parts of the images is scanned, counted from 1.
        memory: see *layer*.
        resume: see *layer*.
        progress: called with the first process's images done, and those in all.
    """
    rank, ranks = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    numbers = range(len(source))[part[0] - 1 :: part[1]]
    own = numbers[rank::ranks]
    if not own:
        raise DataError(f"{len(numbers)} images cannot be shared by {ranks} processes")
    if ranks > 1 and output.suffix:
        raise ConvscopeError(f"several processes write an atlas, not {output}: name a folder")
    name = None if output.suffix else output / (TALLY if ranks == 1 else rank_tally(rank, ranks))
    found = scan(
        net, source, layer, top=top, only=own, memory=memory, state=name, resume=resume,
        progress=progress if rank == 0 else None,
    )  # fmt: skip
    if ranks == 1:
        return found
    make_fabric(net.device.type, "float32").barrier()
    if rank:
        return None
    parts = [output / rank_tally(other, ranks) for other in range(ranks)]
    whole = merge(Scan.load(path, net, source) for path in parts)
    whole.save(output / TALLY)
    for path in parts:
        path.unlink()
    return whole


def merged(parts: Sequence[Path]) -> tuple[Scan, ModelNames, str]:
    """Return the scan of several atlases' images, and what the first names: network and rule."""
    facts = Atlas(parts[0]).facts
    whole = merge(Scan.load(Atlas(part).folder / TALLY) for part in parts)
    if facts["model"] is None:
        raise DataError(f"{parts[0]} does not say what network it is of: merge it in Python")
    if wrong := misshapen(facts["model"], {"model": str, "options": dict, "images": str}):
        raise DataError(f"{parts[0]} does not say rightly what network it is of: {wrong}")
    return whole, ModelNames(**facts["model"]), facts["rule"]


def drawable(whole: Scan, net: Network, source: Images) -> Scan:
    """Return a merged scan with its network and its images, which must be as they were."""
    if source.fingerprint() != whole.tally.facts["data"]["fingerprint"]:
        raise DataError(f"{source.name} has changed since it was scanned")
    return Scan.of(whole.tally, net, source)
