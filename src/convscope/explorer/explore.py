"""The live page of a network: served, or written as files."""

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from convscope.atlas.atlas import Atlas
from convscope.errors import ConvscopeError
from convscope.explorer.export import Ahead, write_page
from convscope.explorer.server import serve
from convscope.explorer.session import Session
from convscope.explorer.training import TrainingSession
from convscope.methods import budget
from convscope.methods.pictures import Images
from convscope.network import Network
from convscope.network.layers import LayerName
from convscope.reading import decode_image
from convscope.results import in_notebook
from convscope.samples import SAMPLES
from convscope.study.run import Run

PORT = 8420


def explore(
    net: Network | Run,
    images: Images | None = None,
    *,
    against: Sequence[Network] = (),
    atlas: str | Path | None = None,
    titles: Sequence[str] | None = None,
    port: int = PORT,
    browser: bool = True,
    memory: int | str = budget.DEFAULT,
    export: str | Path | None = None,
    layer: LayerName | Sequence[LayerName] | None = None,
    top: int | None = None,
    patch: int | None = None,
    stride: int | None = None,
    trust: bool = False,
    ready: Callable[[str], None] = print,
    progress: Callable[[int, int], None] | None = None,
) -> Any:
    """Serve a page on this machine where a network can be touched, until Ctrl-C.

    The page shows feature maps, projections and the network's answer, and a patch that is dragged
    over the image is answered at once, each from a kept walk up; see :func:`convscope.look`. It
    answers to this machine alone, and to who has its address, which holds a key.

    In a notebook it returns a widget that shows the page there, which the kernel answers instead.

    With *export* the page is written as files instead, which open from a disk or any web host. They
    hold what was computed ahead: the options from *layer* on say of what.

    Args:
        net: the network; or a training, whose checkpoints get a slider, and which is followed
            while it goes on.
        images: picture files, Pillow images, or [N, C, H, W] in the network's input space; None for
            the photographs that ship.
        against: networks that stand beside it on the page where that is asked for.
        atlas: an atlas folder of the network, as :func:`.scan` makes them: the strongest patches of
            each channel stand on the page, and faults are found by its images.
        titles: one an image; by default the names of the files.
        port: where to serve; the next free one where it is taken.
        browser: whether to open the page.
        memory: bytes, or a text such as ``"2GB"``, for the work besides the maps that are kept.
        export: a new or empty folder, to write the page to as files.
        layer: a name, a module, or several, whose maps and channels are exported; by default the
            last of each block.
        top: how many channels of each, those that reach most in any of the images, above what they
            typically reach where that is known; 12.
        patch: the side of the patch in the export, in pixels; by default about a seventh of the
            image's.
        stride: pixels from one place of it to the next; by default so many that there are about 28
            places each way.
        trust: whether the export says how far to trust each channel's projections: a second for
            each on a small network, up to 20 on a large one.
        ready: called with the page's address once it can be opened; of an export with its path.
        progress: called with the parts of an export that are done, and all.

    Raises:
        ImageError: if an image does not fit.
        TrainError: if the training has no checkpoint yet.
        UnitError: if there is no such layer.
        OutputError: if the folder to export to holds other files, or cannot be written.
        DataError: if the atlas is none, or one of another network.
        ConvscopeError: if no port is free, or *top*, *patch* or *stride* do not fit.
    """
    if images is None:
        images = [decode_image(one.content(), one.file) for one in SAMPLES]
        titles = [one.title for one in SAMPLES] if titles is None else titles
    others = [Session(other, images, titles, memory) for other in against]
    own = None if atlas is None else Atlas(atlas)
    if own is not None and not isinstance(net, Run):  # a training's may be of any checkpoint
        own.check_weights(net)
    session = (
        TrainingSession(net, images, titles, memory, others, own)
        if isinstance(net, Run)
        else Session(net, images, titles, memory, others, own)
    )
    if export is not None:
        work = Ahead(session.at(None), layer, top, patch, stride, trust)
        ready(str(write_page(work, export, progress)))
        return None
    if not in_notebook():
        serve(session, port, browser, ready)
        return None
    try:
        return import_module("convscope.explorer.widget").Widget(session)
    except ModuleNotFoundError as error:
        raise ConvscopeError(
            f"in a notebook the page needs {error.name}: install it with "
            "`pip install 'convscope[notebook]'`"
        ) from None
