"""Reading image sets: the binary layout to the byte, and every fault named."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from convscope.errors import DataError
from convscope.study import data
from convscope.study.data import ImageSet, load_cifar10, require_cifar10, split


@pytest.fixture
def binary(tmp_path: Path) -> Path:
    """Six files of the right size, all zero but one record; sparse, so they cost no disk."""
    folder = tmp_path / data.FOLDER
    folder.mkdir()
    for names in data.FILES.values():
        for name in names:
            with (folder / name).open("wb") as file:
                file.truncate(data.FILE_BYTES)
    record = np.zeros(data.RECORD_BYTES, np.uint8)
    record[0] = 7
    record[1 + 5] = 11  # red, row 0, column 5
    record[1 + 1024 + 32 * 2 + 3] = 22  # green, row 2, column 3
    record[1 + 2048 + 1023] = 33  # blue, row 31, column 31
    with (folder / "data_batch_2.bin").open("r+b") as file:
        file.seek(4 * data.RECORD_BYTES)
        file.write(record.tobytes())
    return tmp_path


def test_a_record_is_a_label_and_three_planes_row_by_row(binary):
    images = load_cifar10(binary)
    assert images.images.shape == (50_000, 3, 32, 32)
    assert images.images.dtype == torch.uint8
    assert images.labels.nonzero().tolist() == [[10_004]]
    assert images.classes[images.labels[10_004]] == "horse"
    pixels = images.images[10_004]
    assert (pixels[0, 0, 5], pixels[1, 2, 3], pixels[2, 31, 31]) == (11, 22, 33)
    assert int(images.images.sum(dtype=torch.int64)) == 11 + 22 + 33


def test_the_inner_folder_may_be_named_too(binary):
    assert len(load_cifar10(binary / data.FOLDER, "test")) == 10_000


def test_a_missing_file_is_named_with_its_size(binary):
    (binary / data.FOLDER / "data_batch_4.bin").unlink()
    with pytest.raises(DataError, match=r"data_batch_4\.bin is missing.* 30,730,000 bytes"):
        load_cifar10(binary)
    with pytest.raises(DataError, match="data_batch_4"):
        require_cifar10(binary, "train")
    require_cifar10(binary, "test")


@pytest.mark.parametrize(("change", "fault"), [(-1, "truncated"), (1, "too long")])
def test_a_file_of_another_size_is_named_with_both(binary, change, fault):
    path = binary / data.FOLDER / "test_batch.bin"
    os.truncate(path, data.FILE_BYTES + change)
    size = f"{data.FILE_BYTES + change:,}"
    with pytest.raises(DataError, match=rf"test_batch.bin is {fault}: {size} .* 30,730,000$"):
        load_cifar10(binary, "test")


def test_a_label_out_of_range_is_named_with_its_record(binary):
    with (binary / data.FOLDER / "test_batch.bin").open("r+b") as file:
        file.seek(42 * data.RECORD_BYTES)
        file.write(b"\x0a")
    with pytest.raises(DataError, match="record 42 has label 10, labels go from 0 to 9"):
        load_cifar10(binary, "test")


def test_a_set_refuses_what_does_not_fit():
    images, labels = torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.tensor([0, 1])
    with pytest.raises(DataError, match=r"uint8 \[N, 3, H, W\]"):
        ImageSet(images.float(), labels, ("a", "b"))
    with pytest.raises(DataError, match=r"labels must be int64 \[2\]"):
        ImageSet(images, labels[:1], ("a", "b"))
    with pytest.raises(DataError, match=r"lie in 0\.\.0, but they span 0\.\.1"):
        ImageSet(images, labels, ("a",))
    with pytest.raises(DataError, match="no image"):
        ImageSet(images[:0], labels[:0], ("a", "b"))


def test_a_split_parts_the_set_once_and_alike_for_a_seed():
    labels = torch.arange(50)
    images = labels.to(torch.uint8).view(50, 1, 1, 1).expand(50, 3, 2, 2).contiguous()
    whole = ImageSet(images, labels, tuple(map(str, range(50))))
    training, held_out = split(whole, 10, seed=1)
    assert (len(training), len(held_out)) == (40, 10)
    assert sorted([*training.labels.tolist(), *held_out.labels.tolist()]) == list(range(50))
    assert torch.equal(held_out.images[:, 0, 0, 0].long(), held_out.labels)
    assert torch.equal(split(whole, 10, seed=1)[1].labels, held_out.labels)
    assert not torch.equal(split(whole, 10, seed=2)[1].labels, held_out.labels)
    with pytest.raises(DataError, match="cannot hold out 50 of 50"):
        split(whole, 50, seed=1)


def test_a_fingerprint_tells_pixels_and_labels_apart():
    pixels = torch.zeros(2, 3, 2, 2, dtype=torch.uint8)
    same = ImageSet(pixels, torch.tensor([0, 1]), ("a", "b"))
    relabelled = ImageSet(pixels, torch.tensor([1, 0]), ("a", "b"))
    assert same.fingerprint() == same.part(torch.tensor([0, 1])).fingerprint()
    assert same.fingerprint() != relabelled.fingerprint()
