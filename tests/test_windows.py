"""Windows against a count of what each output row reads, over random geometries."""

from hypothesis import given
from hypothesis import strategies as st

from convscope.network.windows.relations import (
    Padded,
    Resized,
    Sliding,
    Transposed,
    Whole,
    clip,
    ends,
    read_by,
    union,
)

SMALL = st.integers(1, 5)


@given(SMALL, SMALL, st.integers(0, 4), SMALL, st.integers(-9, 9), st.integers(0, 6))
def test_a_sliding_window_reads_the_rows_under_its_kernel(k, s, p, d, first, more):
    rows = range(first, first + more + 1)
    read = {i * s - p + t * d for i in rows for t in range(k)}
    assert Sliding(k, s, p, d).reads((first, first + more)) == (min(read), max(read))


@given(SMALL, SMALL, st.integers(0, 4), SMALL, st.integers(-9, 9), st.integers(0, 6))
def test_a_transposed_window_reads_the_rows_that_write_it(k, s, p, d, first, more):
    wanted = range(first, first + more + 1)
    writers = {i for i in range(-60, 60) for t in range(k) if i * s - p + t * d in wanted}
    low, high = Transposed(k, s, p, d).reads((first, first + more))
    # The window has no holes: it may hold rows that a dilated kernel steps over, never miss one.
    assert all(low <= i <= high for i in writers)
    if d == 1 and writers:
        assert (low, high) == (min(writers), max(writers))


@given(st.integers(1, 12), st.integers(1, 12), st.data())
def test_a_resized_window_covers_the_same_share_of_the_map(source, target, data):
    row = data.draw(st.integers(0, target - 1))
    # torch's adaptive pooling: rows floor(i * source / target) to ceil((i + 1) * source / target).
    covered = [j for j in range(source) if (j + 1) * target > row * source
               and j * target < (row + 1) * source]  # fmt: skip
    assert Resized(source, target).reads((row, row)) == (covered[0], covered[-1])


def padding(before, mode):
    return Sliding(padding=before) if mode == "constant" else Padded(before, mode)


@given(st.sampled_from(["constant", "reflect", "replicate", "circular"]), st.integers(0, 4),
       st.integers(0, 4), st.integers(5, 9), st.data())  # fmt: skip
def test_padding_reads_what_torch_copies_there(mode, before, after, size, data):
    import torch
    import torch.nn.functional as F

    values = torch.arange(1.0, size + 1).view(1, 1, size)
    padded = F.pad(values, (before, after), mode=mode)[0, 0]
    first = data.draw(st.integers(0, len(padded) - 1))
    last = data.draw(st.integers(first, len(padded) - 1))
    held = [int(v) - 1 for v in padded[first : last + 1].tolist() if v]
    low, high = ends(read_by(padding(before, mode), (first, last), size))
    if not held:
        assert low > high
    else:
        assert (low, high) == (min(held), max(held))


def test_the_whole_map_and_the_borders():
    assert Whole().reads((1, 1)) is None
    assert read_by(Whole(), (1, 1), 7) == (0, 6)
    assert Sliding(3).reads(None) is None
    assert Transposed(3, 2).reads(None) is None
    assert Resized(4, 2).reads(None) is None
    assert read_by(Padded(1, "reflect"), None, 5) == (0, 4)
    assert clip((-3, 12), 7) == (0, 6)
    assert clip((7, 9), 7) == (7, 6)
    assert union((0, 2), None) is None
    assert union((3, 4), (1, 2)) == (1, 4)


SPAN = range(-80, 80)


@given(SMALL, SMALL, st.integers(0, 4), SMALL, st.integers(-9, 9), st.integers(0, 6))
def test_what_a_sliding_window_touches_is_what_reads_it(k, s, p, d, first, more):
    changed = set(range(first, first + more + 1))
    readers = [i for i in SPAN if changed & {i * s - p + t * d for t in range(k)}]
    low, high = Sliding(k, s, p, d).touches((first, first + more))
    assert all(low <= i <= high for i in readers)  # a dilated kernel may step over some of them
    if d == 1:
        assert (low, high) == (readers[0], readers[-1]) if readers else low > high


@given(SMALL, SMALL, st.integers(0, 4), SMALL, st.integers(-9, 9), st.integers(0, 6))
def test_what_a_transposed_window_touches_is_what_it_writes(k, s, p, d, first, more):
    written = {i * s - p + t * d for i in range(first, first + more + 1) for t in range(k)}
    assert Transposed(k, s, p, d).touches((first, first + more)) == (min(written), max(written))


@given(st.integers(1, 12), st.integers(1, 12), st.data())
def test_what_a_resized_window_touches_is_what_reads_it(source, target, data):
    first = data.draw(st.integers(0, source - 1))
    last = data.draw(st.integers(first, source - 1))
    relation = Resized(source, target)
    readers = []
    for row in range(target):
        low, high = relation.reads((row, row))
        if low <= last and high >= first:
            readers.append(row)
    found = relation.touched((first, last), source, target)
    assert found == (readers[0], readers[-1]) if readers else found[0] > found[1]


@given(st.sampled_from(["constant", "reflect", "replicate", "circular"]), st.integers(0, 4),
       st.integers(0, 4), st.integers(5, 9), st.data())  # fmt: skip
def test_padding_touches_where_torch_copies_to(mode, before, after, size, data):
    import torch
    import torch.nn.functional as F

    padded = F.pad(torch.arange(1.0, size + 1).view(1, 1, size), (before, after), mode=mode)[0, 0]
    first = data.draw(st.integers(0, size - 1))
    last = data.draw(st.integers(first, size - 1))
    holding = [i for i, v in enumerate(padded.tolist()) if first + 1 <= v <= last + 1]
    found = padding(before, mode).touched((first, last), size, len(padded))
    assert found == (holding[0], holding[-1])


def test_all_rows_touch_all_rows():
    assert Whole().touches((1, 1)) is None
    assert Whole().touched((1, 1), 7, 5) == (0, 4)
    assert Sliding(3).touches(None) is None
    assert Transposed(3, 2).touches(None) is None
    assert Resized(4, 2).touches(None) is None
    assert Padded(1, "reflect").touched(None, 5, 7) == (0, 6)
    # The rows between the kernels of a wide stride are read by nothing.
    low, high = Sliding(kernel=1, stride=3).touched((1, 2), 9, 3)
    assert low > high
