"""Output files: found writable first, and whole or not there at all."""

import errno
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import convscope as cs
from convscope.errors import OutputError
from convscope.outputs import check_folder, check_output, claim_folder, written_beside


def test_the_file_appears_when_it_is_whole(tmp_path):
    target = tmp_path / "out.txt"
    with written_beside(target) as beside:
        beside.write_text("whole")
        assert not target.exists()
        assert beside.parent == tmp_path
        assert beside.suffix == ".txt"
    assert target.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), OutputError),
        (KeyboardInterrupt(), KeyboardInterrupt),
        (ValueError("a bug"), ValueError),
    ],
)
def test_the_old_file_stays_when_the_writer_fails(tmp_path, error, expected):
    target = tmp_path / "out.txt"
    target.write_text("old")

    def write() -> None:
        with written_beside(target) as beside:
            beside.write_text("ha")
            raise error

    with pytest.raises(expected) as raised:
        write()
    if expected is OutputError:
        assert str(raised.value) == f"cannot write {target}: No space left on device"
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_writer_that_writes_nothing_is_an_error(tmp_path):
    def write() -> None:
        with written_beside(tmp_path / "out.txt"):
            pass

    with pytest.raises(OutputError, match=r"No such file"):
        write()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077, 0o002])
def test_who_may_read_a_file_is_as_the_user_set_it(tmp_path, umask):
    before = os.umask(umask)
    try:
        with written_beside(tmp_path / "out.txt") as beside:
            beside.touch(0o600)  # as safetensors does, whatever the user set
            beside.write_text("whole")
        folder = claim_folder(tmp_path / "report", "report")
    finally:
        os.umask(before)
    assert (tmp_path / "out.txt").stat().st_mode & 0o777 == 0o666 & ~umask
    assert folder.stat().st_mode & 0o777 == 0o777 & ~umask
    assert all(file.stat().st_mode & 0o777 == 0o666 & ~umask for file in folder.iterdir())


def test_a_killed_writer_leaves_the_old_file(tmp_path):
    target = tmp_path / "out.txt"
    target.write_text("old")
    code = (
        "import os, signal, sys\n"
        "from convscope.outputs import written_beside\n"
        "with written_beside(sys.argv[1]) as beside:\n"
        "    beside.write_text('ha')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(target)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert target.read_text() == "old"


def test_checking_leaves_nothing_behind_and_touches_nothing(tmp_path):
    target = tmp_path / "out.png"
    target.write_text("old")
    assert check_output(str(target), (".png",)) == target
    assert check_output(tmp_path / "NEW.PNG", (".png",)).name == "NEW.PNG"
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("out.pgn", "its ending must be one of .png, .npz; did you mean '.png' or '.npz'?"),
        ("out", "its ending must be one of .png, .npz"),
        ("folder.png", "it is a folder"),
        ("missing/out.png", "there is no folder"),
        ("file/out.png", "there is no folder"),
        ("n" * 255 + ".png", os.strerror(errno.ENAMETOOLONG)),
    ],
)
def test_what_cannot_be_written_is_said_beforehand(tmp_path, name, sentence):
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").touch()
    target = tmp_path / name
    with pytest.raises(OutputError, match=f"^cannot write {re.escape(str(target))}: ") as raised:
        check_output(target, (".png", ".npz"))
    assert sentence in str(raised.value)


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="no file system here is read-only")
def test_a_read_only_place_is_said_beforehand():
    with pytest.raises(OutputError, match=r"^cannot write /proc/out.png: "):
        check_output("/proc/out.png", (".png",))


def test_a_folder_is_not_called_like_a_page(tmp_path):
    with pytest.raises(OutputError, match=r"its page; leave out \.html"):
        check_folder(tmp_path / "report.html", "report")


def test_a_folder_can_be_made_where_no_file_is_in_the_way(tmp_path):
    for there in (tmp_path, tmp_path / "new", tmp_path / "new" / "deep"):
        assert check_folder(str(there), "report") == there
    file = tmp_path / "file.png"
    file.touch()
    for inside in (file, file / "deep"):
        with pytest.raises(OutputError) as caught:
            check_folder(inside, "report")
        assert str(caught.value) == f"cannot make the folder {inside}: {file} is a file"
    with pytest.raises(OutputError, match="File name too long"):
        check_folder(tmp_path / ("x" * 300), "report")
    assert list(tmp_path.iterdir()) == [file]


def test_a_folder_of_many_files_is_new_empty_or_made_for_the_same(tmp_path):
    (tmp_path / ".hidden").touch()
    own = claim_folder(tmp_path, "report")
    (own / "index.html").touch()
    assert claim_folder(own, "report") == check_folder(own, "report") == own
    with pytest.raises(OutputError, match="holds other files, and no atlas: name a new"):
        claim_folder(own, "atlas")
    assert {path.name for path in own.iterdir()} == {".hidden", ".convscope", "index.html"}
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for among in (pictures, pictures / "deep" / "report"):
        with pytest.raises(OutputError, match=f"be among those of {pictures}; name a folder outs"):
            claim_folder(among, "report", pictures)
    assert check_folder(tmp_path / "beside", "report", pictures) == tmp_path / "beside"


def test_what_a_network_of_bfloat16_gives_is_saved_and_drawn(tmp_path):
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    ).bfloat16()
    net = cs.Network(module, torch.zeros(1, 3, 16, 16).bfloat16())
    image = torch.rand(1, 3, 16, 16)
    for name, found in {
        "project": cs.project(net, image),
        "occlude": cs.occlude(net, image, 4, 4, layer="1"),
        "grad-cam": cs.attribute(net, image, 1, method="grad-cam"),
        "scan": cs.scan(net, image),
    }.items():
        found.save(tmp_path / f"{name}.png")
        found.save(tmp_path / f"{name}.npz")
        saved = np.load(tmp_path / f"{name}.npz")
        for key, values in found.arrays().items():
            np.testing.assert_array_equal(saved[key], torch.as_tensor(values).double().numpy())
