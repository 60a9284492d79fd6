"""From a data set to batches: the validation split, normalisation, shuffling and augmentation."""

from collections.abc import Iterator

import numpy as np
import pytest

from minisd.data import Dataset, Normaliser, Split, dataset, load, split_validation
from minisd.data.batches import (
    NO_AUGMENTATION,
    Augmentation,
    evaluation_batches,
    training_batches,
)
from minisd.errors import DataError

AS_IT_IS = Normaliser(np.zeros((2, 6, 5), np.float32), 1.0)
STANDARD = Augmentation()


def numbered(rng, count: int) -> Split:
    """Different images, whose labels are their numbers."""
    return Split(rng.integers(1, 256, (count, 2, 6, 5), np.uint8), np.arange(count))


def data_set(rng, count: int, **options) -> Dataset:
    return Dataset("mine", numbered(rng, count), numbered(rng, 3), max(count, 3), **options)


def generator() -> np.random.Generator:
    return np.random.default_rng(7)


def shifted(image: np.ndarray, down: int, right: int) -> np.ndarray:
    """The naive reference: every pixel by itself, zeros moving in."""
    result = np.zeros_like(image)
    _, height, width = image.shape
    for row, column in np.ndindex(height, width):
        if 0 <= row - down < height and 0 <= column - right < width:
            result[:, row, column] = image[:, row - down, column - right]
    return result


def mirrored(image: np.ndarray) -> np.ndarray:
    result = np.empty_like(image)
    for column in range(image.shape[2]):
        result[:, :, column] = image[:, :, image.shape[2] - 1 - column]
    return result


# The validation split


@pytest.mark.parametrize(
    ("count", "taken"), [(2, 1), (9, 1), (10, 1), (19, 1), (20, 2), (1438, 143), (50_000, 5_000)]
)
def test_a_tenth_validates(count, taken):
    split = Split(np.ones((count, 1, 1, 1), np.uint8), np.arange(count))
    whole = Dataset("mine", split, split[:1], num_classes=count)
    train, validation = split_validation(whole, generator())
    assert (len(train), len(validation)) == (count - taken, taken)
    assert sorted([*train.labels, *validation.labels]) == list(range(count))


def test_training_and_validation_keep_images_with_their_labels(rng):
    whole = data_set(rng, 50)
    for part in split_validation(whole, rng):
        np.testing.assert_array_equal(part.images, whole.train.images[part.labels])


def test_the_split_is_decided_by_the_seed(rng):
    whole = data_set(rng, 100)

    def drawn(seed: int) -> list[int]:
        return split_validation(whole, np.random.default_rng(seed))[1].labels.tolist()

    assert drawn(1) == drawn(1)
    assert len({tuple(drawn(seed)) for seed in range(10)}) == 10


def test_every_image_is_equally_likely_to_validate(rng):
    whole = data_set(rng, 20)
    drawn = [split_validation(whole, np.random.default_rng(s))[1].labels for s in range(2000)]
    times = np.bincount(np.concatenate(drawn), minlength=20)
    assert abs(times - 200).max() < 6 * np.sqrt(2000 * 0.1 * 0.9)


def test_one_training_image_cannot_be_split(rng):
    with pytest.raises(DataError, match="mine: one training image cannot be split"):
        split_validation(data_set(rng, 1), rng)


def per_class(labels: list[int], rule: list[tuple[int, int, int]]) -> Dataset:
    images = np.arange(len(labels), dtype=np.uint8).reshape(-1, 1, 1, 1)
    return Dataset(
        "mine", Split(images, np.array(labels)), Split(images[:1], np.zeros(1, int)), 2, rule
    )


def test_the_rule_takes_exactly_so_many_of_every_class_from_every_range():
    labels = [0, 1] * 10 + [1, 0, 0] * 5
    whole = per_class(labels, [(0, 20, 3), (20, 35, 2)])
    seen = set()
    for seed in range(20):
        train, validation = split_validation(whole, np.random.default_rng(seed))
        kept, taken = train.images.ravel(), validation.images.ravel()
        assert sorted([*kept, *taken]) == list(range(35))
        assert np.bincount(validation.labels[taken < 20]).tolist() == [3, 3]
        assert np.bincount(validation.labels[taken >= 20]).tolist() == [2, 2]
        np.testing.assert_array_equal(validation.labels, np.array(labels)[taken])
        np.testing.assert_array_equal(train.labels, np.array(labels)[kept])
        seen.add(tuple(taken))
    assert len(seen) == 20
    again = [split_validation(whole, generator())[1].images for _ in range(2)]
    np.testing.assert_array_equal(*again)


def test_a_class_too_small_for_the_rule_is_named():
    """Here the last image of a class would go to validation, and none be left to learn from."""
    whole = per_class([0, 1, 0, 1, 1, 0, 1, 0, 1, 1], [(0, 5, 1), (5, 10, 2)])
    with pytest.raises(DataError, match=r"mine: class 0 has 2 images .* 5 to 10, .* take 2"):
        split_validation(whole, generator())


# Limiting


def test_limited_takes_the_first_training_images_and_all_test_images(rng):
    whole = data_set(rng, 40, validation_rule=[(0, 40, 1)])
    few = whole.limited(20)
    assert few.train.labels.tolist() == list(range(20))
    np.testing.assert_array_equal(few.train.images, whole.train.images[:20])
    np.testing.assert_array_equal(few.test.images, whole.test.images)
    assert (few.name, few.num_classes) == (whole.name, whole.num_classes)
    assert [len(part) for part in split_validation(few, rng)] == [18, 2]  # a tenth, by no rule
    assert len(whole.train) == 40


@pytest.mark.parametrize("count", [40, 41, 10**9])
def test_a_limit_that_does_not_limit_changes_nothing(rng, count):
    whole = data_set(rng, 40, validation_rule=[(0, 40, 1)])
    assert whole.limited(count).digest() == whole.digest()
    assert whole.limited(count).validation_rule == whole.validation_rule


@pytest.mark.parametrize("count", [0, -1])
def test_a_limit_below_one_is_refused(rng, count):
    with pytest.raises(DataError, match=f"at least 1, got {count}"):
        data_set(rng, 40).limited(count)


# Normalisation


@pytest.mark.parametrize("kind", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("extra", [-1, 0, 1, 17])
def test_mean_per_pixel_and_one_standard_deviation(rng, kind, extra):
    """Around the internal chunks too, whose last one is of another size."""
    images = rng.integers(0, 256, (2 * dataset._CHUNK + extra, 2, 3, 2), np.uint8).astype(kind)
    images[:, 1, 2, 0] = images[:, 1, 2, 0] // 8  # pixels of other means and deviations
    before = images.copy()
    found = Normaliser.fit(images)
    exact = images.astype(np.float64)
    mean = exact.mean(axis=0)
    std = np.sqrt(np.mean((exact - mean) ** 2))
    assert found.mean.dtype == np.float32
    np.testing.assert_allclose(found.mean, mean, rtol=1e-6)
    assert found.std == pytest.approx(std, rel=1e-12)
    result = found(images)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, (exact - mean) / std, atol=2e-6)
    assert np.abs(result.mean(axis=0, dtype=np.float64)).max() < 1e-5
    assert result.std(dtype=np.float64) == pytest.approx(1, abs=1e-5)
    np.testing.assert_array_equal(images, before)


def test_normalisation_is_of_the_images_it_was_fitted_to(rng):
    """Test images are normalised by the training images, not by themselves."""
    train, test = rng.random((50, 1, 4, 4)), 5 + rng.random((20, 1, 4, 4))
    result = Normaliser.fit(train)(test)
    expected = (test - train.mean(axis=0)) / np.sqrt(np.mean((train - train.mean(axis=0)) ** 2))
    np.testing.assert_allclose(result, expected, rtol=1e-5)


@pytest.mark.parametrize(
    "value", [np.uint8(0), np.uint8(77), np.float32(0.1), np.float64(0.1)], ids=repr
)
def test_images_that_are_all_the_same_are_refused(value):
    with pytest.raises(DataError, match="all training images are the same"):
        Normaliser.fit(np.full((100, 1, 4, 4), value))


# Batches


def order(batches: Iterator) -> list[int]:
    return [int(label) for _, labels in batches for label in labels]


@pytest.mark.parametrize("augmentation", [NO_AUGMENTATION, STANDARD])
@pytest.mark.parametrize(("count", "size"), [(20, 5), (20, 7), (21, 20), (3, 8), (1, 1)])
def test_every_image_once_per_epoch_and_the_last_batch_too(rng, count, size, augmentation):
    split = numbered(rng, count)
    for _ in range(3):
        batches = list(
            training_batches(split, size, normaliser=AS_IT_IS, augmentation=augmentation, rng=rng)
        )
        assert sorted(order(batches)) == list(range(count))
        sizes = [size] * (count // size) + ([count % size] if count % size else [])
        assert [len(images) for images, _ in batches] == sizes
        assert [len(labels) for _, labels in batches] == sizes
        assert {images.dtype for images, _ in batches} == {np.dtype(np.float32)}
        assert {images.shape[1:] for images, _ in batches} == {(2, 6, 5)}


def epochs(split: Split, augmentation: Augmentation, seed: int) -> list[list[int]]:
    """The orders of four epochs in a row, out of one generator."""
    rng = np.random.default_rng(seed)
    options = {"normaliser": AS_IT_IS, "augmentation": augmentation, "rng": rng}
    return [order(training_batches(split, 8, **options)) for _ in range(4)]


def test_the_order_is_decided_by_the_seed(rng):
    split = numbered(rng, 50)
    orders = [epochs(split, STANDARD, seed) for seed in (1, 2, 1)]
    assert orders[0] == orders[2]
    assert len({tuple(epoch) for epoch in orders[0] + orders[1]}) == 8


@pytest.mark.parametrize("count", [50, 51])
@pytest.mark.parametrize(
    "other", [NO_AUGMENTATION, Augmentation(2, True), Augmentation(4, False), Augmentation(0, True)]
)
def test_augmentation_does_not_alter_the_order_of_the_images(rng, count, other):
    split = numbered(rng, count)
    assert epochs(split, other, seed=3) == epochs(split, STANDARD, seed=3)


@pytest.mark.parametrize("augmentation", [NO_AUGMENTATION, STANDARD])
def test_skipped_batches_change_nothing_in_the_others(rng, augmentation):
    split = numbered(rng, 23)
    options = {"normaliser": Normaliser.fit(split.images), "augmentation": augmentation}
    whole_rng = generator()
    whole = list(training_batches(split, 4, rng=whole_rng, **options))
    for skip in range(len(whole) + 2):
        rest_rng = generator()
        rest = list(training_batches(split, 4, rng=rest_rng, skip=skip, **options))
        assert len(rest) == max(0, len(whole) - skip)
        for (images, labels), (same, those) in zip(rest, whole[skip:], strict=True):
            np.testing.assert_array_equal(labels, those)
            assert images.tobytes() == same.tobytes()
        assert rest_rng.bit_generator.state == whole_rng.bit_generator.state  # the next epoch's


def test_batches_are_the_images_normalised_then_mirrored_then_shifted(rng):
    """Found again among all that augmentation may make of it, by loops."""
    split = numbered(rng, 12)
    normaliser = Normaliser.fit(split.images)
    before = split.images.copy(), split.labels.copy()
    steps = range(-4, 5)
    for images, labels in training_batches(
        split, 5, normaliser=normaliser, augmentation=STANDARD, rng=rng
    ):
        for image, label in zip(images, labels, strict=True):
            plain = normaliser(split.images[label])
            allowed = {
                shifted(face, down, right).tobytes()
                for face in (plain, mirrored(plain))
                for down in steps
                for right in steps
            }
            assert image.tobytes() in allowed
    np.testing.assert_array_equal(split.images, before[0])
    np.testing.assert_array_equal(split.labels, before[1])


def test_batches_without_augmentation_are_the_images_normalised(rng):
    split = numbered(rng, 12)
    normaliser = Normaliser.fit(split.images)
    for images, labels in training_batches(split, 5, normaliser=normaliser, rng=rng):
        np.testing.assert_array_equal(images, normaliser(split.images[labels]))


@pytest.mark.parametrize(("count", "size"), [(20, 5), (21, 5), (3, 8)])
def test_evaluation_takes_every_image_once_in_order(rng, count, size):
    split = numbered(rng, count)
    before = split.images.copy()
    normaliser = Normaliser.fit(split.images)
    batches = list(evaluation_batches(split, size, normaliser=normaliser))
    assert order(batches) == list(range(count))
    assert len(batches) == -(-count // size)
    images = np.concatenate([images for images, _ in batches])
    assert images.dtype == np.float32
    np.testing.assert_array_equal(images, normaliser(split.images))
    np.testing.assert_array_equal(split.images, before)


# Augmentation


@pytest.mark.parametrize("max_shift", [0, 1, 4, 9])
@pytest.mark.parametrize("flip", [False, True])
def test_shift_and_flip_agree_with_loops(rng, max_shift, flip):
    augmentation = Augmentation(max_shift, flip)
    steps = range(-max_shift, max_shift + 1)
    shifts = np.array([(down, right) for down in steps for right in steps])
    flips = np.arange(len(shifts)) % 2 == 1 if flip else np.zeros(len(shifts), bool)
    images = rng.standard_normal((len(shifts), 2, 6, 5), np.float32)
    before = images.copy()
    result = augmentation.apply(images, shifts, flips)
    for i, (down, right) in enumerate(shifts):
        face = mirrored(images[i]) if flips[i] else images[i]
        np.testing.assert_array_equal(result[i], shifted(face, down, right))
    assert result.dtype == np.float32
    np.testing.assert_array_equal(images, before)
    assert not np.shares_memory(result, images)


@pytest.mark.parametrize("max_shift", [0, 1, 4])
def test_shifts_and_flips_are_drawn_evenly(rng, max_shift):
    count = 20_000
    shifts, flips = Augmentation(max_shift, flip=True).draw(count, rng)
    assert shifts.shape == (count, 2)
    assert flips.shape == (count,)
    possible = (2 * max_shift + 1) ** 2
    cells = (shifts + max_shift) @ [2 * max_shift + 1, 1]
    times = np.bincount(cells, minlength=possible)
    assert len(times) == possible
    assert abs(shifts).max() == max_shift
    assert abs(times - count / possible).max() < 6 * np.sqrt(count / possible)
    assert abs(flips.mean() - 0.5) < 0.02
    assert abs(np.corrcoef(flips, shifts.sum(axis=1))[0, 1]) < 0.05 if max_shift else True


def test_no_flip_unless_asked_for(rng):
    assert not Augmentation(4, flip=False).draw(1000, rng)[1].any()
    assert Augmentation() == Augmentation(max_shift=4, flip=True)


def test_the_bundled_digits_go_all_the_way(rng):
    train, validation = split_validation(load("digits"), rng)
    normaliser = Normaliser.fit(train.images)
    batches = training_batches(
        train, 128, normaliser=normaliser, augmentation=Augmentation(1, flip=False), rng=rng
    )
    images = np.concatenate([images for images, _ in batches])
    assert images.shape == (1295, 1, 8, 8)
    assert np.isfinite(images).all()
    assert len(validation) == 143
