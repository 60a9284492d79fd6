"""What slabs of a convolution's output see: the right numbers, each row of them read once."""

import numpy as np
import pytest

from devices import assert_equal
from minisd import fast, machine
from minisd.fast import layout
from minisd.fast.sources import Plain
from minisd.fast.windows import Windows


class Noting(Plain):
    """Images that note which rows were read."""

    def __init__(self, rows):
        super().__init__(rows)
        self.read_rows = []

    def read(self, rows, columns, out):
        self.read_rows += range(rows.start, rows.stop)
        super().read(rows, columns, out)


GEOMETRIES = {
    "3x3": (7, 6, 3, 3, 1, 1),
    "3x3, stride 2": (9, 8, 3, 3, 2, 1),
    "5x2, stride 3, wide padding": (8, 7, 5, 2, 3, 3),
    "1x1, stride 2": (6, 5, 1, 1, 2, 0),
    "padding larger than the kernel": (3, 4, 2, 3, 1, 4),
}


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("thickness", [1, 2, 3])
def test_slabs_see_the_padded_images(geometry, thickness, rng, device):
    H, W, KH, KW, S, P = GEOMETRIES[geometry]
    OH, OW = (H + 2 * P - KH) // S + 1, (W + 2 * P - KW) // S + 1
    x = rng.standard_normal((H, 2, W, 3))
    padded = device.put(np.pad(x, ((P, P), (0, 0), (P, P), (0, 0))))
    source = Noting(device.put(x))
    for band in (slice(0, OH // 2), slice(OH // 2, OH)):
        source.read_rows.clear()
        windows = Windows(source, (KH, KW), band, OW, S, -P, -P)
        for start in range(band.start, band.stop, thickness):
            part = slice(start, min(start + thickness, band.stop))
            seen = windows[part]
            assert len(seen) == min(S, KW)
            rows = slice(S * part.start, S * (part.stop - 1) + KH)
            for place, array in enumerate(seen):
                columns = slice(place, place + S * (array.shape[2] - 1) + 1, S)
                assert_equal(array, padded[rows, :, columns])
                taps = len(range(place, KW, S))
                assert array.shape[2] == OW + taps - 1
        assert len(source.read_rows) == len(windows.padded) * len(set(source.read_rows))


@pytest.mark.parametrize(
    ("threads", "bands"), [(1, [0, 16, 24]), (2, [0, 12]), (4, [0, 6, 12, 18])]
)
def test_a_thread_takes_a_band_of_at_most_eight_slabs(threads, bands, monkeypatch):
    """24 rows in slabs of two."""
    monkeypatch.setattr(machine, "rows_per_slab", lambda *_: 2)
    found = []

    def task(band, slabs):
        found.append(band.start)
        assert [slabs[0].start, slabs[-1].stop] == [band.start, band.stop]
        assert all(part.stop - part.start == 2 for part in slabs)
        return slabs

    with machine.threads(threads):
        slabs = layout.in_bands(task, np.zeros((24, 1, 1, 1)))
    assert sorted(found) == [start for start in bands if start < 24]
    assert [part.start for part in slabs] == list(range(0, 24, 2))


def test_what_is_small_is_one_band():
    with machine.threads(4):
        assert layout.in_bands(lambda band, slabs: [band], np.zeros((8, 3, 8, 4))) == [slice(0, 8)]


def test_bands_have_whole_pairs_where_pairs_are_asked_for(monkeypatch):
    def task(band, slabs):
        return [part.stop - part.start for part in slabs]

    monkeypatch.setattr(machine, "rows_per_slab", lambda *_: 1)
    with machine.threads(4):
        found = layout.in_bands(task, np.zeros((14, 1, 1, 1)), 2)
    assert found == [2, 2, 2, 2, 2, 2, 2]


def test_no_row_is_read_twice_in_a_convolution_with_one_thread(monkeypatch, rng):
    monkeypatch.setattr(machine, "rows_per_slab", lambda *_: 2)
    read = []
    plain = Plain.read

    def noting(self, rows, columns, out):
        read.extend(range(rows.start, rows.stop))
        plain(self, rows, columns, out)

    monkeypatch.setattr(Plain, "read", noting)
    x = rng.standard_normal((2, 3, 12, 5))
    with machine.threads(1):
        _, cache = fast.conv2d_forward(x, rng.standard_normal((4, 3, 3, 3)), padding=1)
        assert read == list(range(12))
        read.clear()
        fast.conv2d_backward(rng.standard_normal((2, 4, 12, 5)), cache)
    assert sorted(read) == sorted(2 * list(range(12)))  # x and dy
