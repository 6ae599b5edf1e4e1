"""No patient on two sides, the same split again, and old images that stay where they are."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_graydet.errors import DamagedProjectError, DatasetError, NewerSchemaError
from napari_graydet.project import splits
from napari_graydet.project.splits import Split, by_patient, frozen, saved

shares = st.sampled_from([0.0, 0.1, 0.15, 0.2, 0.3])
seeds = st.integers(0, 2**31)


def people(sizes: list[int], start: int = 0) -> dict[str, str]:
    """Images by patient: the i-th patient has sizes[i] of them."""
    return {
        f"p{number}-{image}": f"p{number}"
        for number, size in enumerate(sizes, start=start)
        for image in range(size)
    }


items = st.lists(st.integers(1, 6), min_size=6, max_size=40).map(people)


def side_of(split: Split) -> dict[str, str]:
    named = {"train": split.train, "validation": split.validation, "test": split.test}
    return {name: side for side, names in named.items() for name in names}


def assert_whole(split: Split, images: dict[str, str]) -> None:
    """Every image on one side, every patient on one side."""
    listed = [*split.train, *split.validation, *split.test]
    assert sorted(listed) == sorted(images)
    where = side_of(split)
    assert len({(images[name], side) for name, side in where.items()}) == len(set(images.values()))


@given(items, seeds, shares, shares)
def test_sides(images: dict[str, str], seed: int, validation: float, test: float) -> None:
    split = by_patient(images, seed=seed, validation=validation, test=test)
    assert_whole(split, images)
    largest = max(Counter(images.values()).values())
    assert split.train
    for names, share in ((split.validation, validation), (split.test, test)):
        assert bool(names) == (share > 0)
        assert abs(len(names) - share * len(images)) <= largest


@given(items, seeds, st.sampled_from([0.1, 0.2]), st.data())
def test_what_the_start_has_learned_from_is_not_held_out(
    images: dict[str, str], seed: int, share: float, data: st.DataObject
) -> None:
    learned = data.draw(st.lists(st.sampled_from(sorted(images)), unique=True, max_size=9))
    known = {images[name] for name in learned}
    if known and len(known) == len(set(images.values())):
        with pytest.raises(DatasetError, match="start from other weights"):
            by_patient(images, seed=seed, validation=share, learned=learned)
        return
    split = by_patient(images, seed=seed, validation=share, learned=learned)
    assert_whole(split, images)
    assert split.train and split.validation
    assert not known & {images[name] for name in split.validation}
    if not learned:
        assert split == by_patient(images, seed=seed, validation=share)


@given(items, seeds)
def test_the_same_seed_gives_the_same_split_in_any_order(images: dict[str, str], seed: int) -> None:
    split = by_patient(images, seed=seed, validation=0.2, test=0.2)
    turned = dict(reversed(images.items()))
    assert by_patient(turned, seed=seed, validation=0.2, test=0.2) == split


def test_another_seed_gives_another_split() -> None:
    found = {by_patient(people([1] * 30), seed=seed).validation for seed in range(20)}
    assert len(found) > 15


def test_every_image_is_held_out_by_some_seed() -> None:
    images = people([1] * 10)
    held = {n for seed in range(60) for n in by_patient(images, seed=seed).validation}
    assert held == set(images)


@pytest.mark.parametrize(
    ("images", "validation", "test"),
    [
        ({"a": "x"}, 0.15, 0.0),
        ({"a": "x", "b": "x", "c": "x"}, 0.15, 0.0),
        ({"a": "x", "b": "y"}, 0.15, 0.2),
        ({}, 0.15, 0.0),
        ({"a": "x", "b": "y"}, 0.5, 0.5),
        ({"a": "x", "b": "y"}, -0.1, 0.0),
        ({"a": "x", "b": "y"}, float("nan"), 0.0),
    ],
)
def test_what_cannot_be_split(images: dict[str, str], validation: float, test: float) -> None:
    with pytest.raises(DatasetError) as error:
        by_patient(images, seed=0, validation=validation, test=test)
    assert "\n" not in str(error.value)


def test_one_image_is_enough_to_train_on_alone() -> None:
    assert by_patient({"a": "x"}, seed=0, validation=0.0).train == ("a",)


def test_sides_by_name() -> None:
    split = by_patient(people([1] * 10), seed=0)
    assert split.side("all") == tuple(sorted(people([1] * 10)))
    assert split.side("validation") == split.validation
    for side in ("test", "tset"):
        with pytest.raises(DatasetError):
            split.side(side)


# --- frozen -------------------------------------------------------------------------------------


@settings(max_examples=25)
@given(
    items,
    st.lists(st.lists(st.integers(1, 6), max_size=10), max_size=3),
    st.data(),
)
def test_old_images_never_move(
    tmp_path_factory: pytest.TempPathFactory,
    images: dict[str, str],
    later: list[list[int]],
    data: st.DataObject,
) -> None:
    folder = tmp_path_factory.mktemp("project")
    before = frozen(folder, images, seed=3, validation=0.2, test=0.2)
    assert before == by_patient(images, seed=3, validation=0.2, test=0.2) == saved(folder)
    start = 100
    for sizes in later:
        known = sorted(set(images.values()))
        more = (
            {f"again-{start}": data.draw(st.sampled_from(known))}
            if data.draw(st.booleans())
            else {}
        )
        images = images | people(sizes, start) | more
        start += 100
        split = frozen(folder, images, seed=99, validation=0.5, test=0.0)  # asked for too late
        assert_whole(split, images)
        assert split.seed == 3
        now, then = side_of(split), side_of(before)
        assert {name: now[name] for name in then} == then
        new_patients = {images[name] for name in split.test} - {images[n] for n in before.test}
        assert not new_patients
        assert saved(folder) == split
        before = split


def test_new_images_join_validation_by_its_share(tmp_path: Path) -> None:
    frozen(tmp_path, people([1] * 10), seed=0, validation=0.2)
    split = frozen(tmp_path, people([1] * 200), seed=0, validation=0.2)
    assert len(split.validation) == 40


def test_images_that_are_gone_keep_their_side(tmp_path: Path) -> None:
    images = people([1] * 20)
    first = frozen(tmp_path, images, seed=0)
    some = {name: images[name] for name in first.train[:5]}
    assert frozen(tmp_path, some, seed=0).train == tuple(sorted(some))
    assert frozen(tmp_path, images, seed=0) == first


def test_a_patient_found_on_two_sides_is_held_out_no_longer(tmp_path: Path) -> None:
    images = people([1] * 20)
    first = frozen(tmp_path, images, seed=0, validation=0.2, test=0.2)
    same = {first.train[0]: "one", first.validation[0]: "one", first.test[0]: "one"}
    two = {first.validation[1]: "two", first.test[1]: "two"}
    split = frozen(tmp_path, images | same | two, seed=0)
    assert set(same) <= set(split.train)
    assert set(two) <= set(split.validation)
    assert_whole(split, images | same | two)


@pytest.mark.parametrize("seed", range(5))
def test_an_image_in_work_again_says_where_its_patient_stands(tmp_path: Path, seed: int) -> None:
    """Other images of its patient, accepted meanwhile, must not be held out."""
    images = people([1] * 12)
    first = frozen(tmp_path, images, seed=seed, validation=0.2)
    away = {name: images[name] for name in first.train}
    later = {f"{name}-{i}": who for name, who in away.items() for i in range(3)}
    accepted = {name: images[name] for name in first.validation} | later
    split = frozen(tmp_path, accepted, seed=0, others=away)
    assert split == Split(tuple(sorted(later)), first.validation, (), seed)
    assert_whole(frozen(tmp_path, images | later, seed=0), images | later)


def test_images_that_are_not_split_now_get_no_side(tmp_path: Path) -> None:
    images = people([2] * 10)
    accepted = dict(list(images.items())[:10])
    others = {name: who for name, who in images.items() if name not in accepted}
    frozen(tmp_path, accepted, seed=0)
    frozen(tmp_path, accepted, seed=0, others=others)
    kept = saved(tmp_path)
    assert kept is not None and set(side_of(kept)) == set(accepted)


def test_a_patient_on_two_sides_is_counted_and_trained_on(tmp_path: Path) -> None:
    images = people([1] * 20)
    first = frozen(tmp_path, images, seed=0, validation=0.2, test=0.2)
    assert splits.reunite(tmp_path, images) is None
    same = {first.train[0]: "one", first.validation[0]: "one", first.test[0]: "one"}
    torn = splits.reunite(tmp_path, images | same | {"new": "one"})
    assert torn is not None and (torn.patients, torn.images) == (1, 2)
    assert "\n" not in torn.notice and "2 held-out images left" in torn.notice
    now = saved(tmp_path)
    assert now is not None and set(same) <= set(now.train) and "new" not in side_of(now)
    assert splits.reunite(tmp_path, images | same) is None
    assert splits.reunite(tmp_path / "elsewhere", images) is None


def test_nothing_is_written_down_of_what_cannot_be_split(tmp_path: Path) -> None:
    with pytest.raises(DatasetError):
        frozen(tmp_path, {"a": "x"}, seed=0)
    assert list(tmp_path.iterdir()) == []
    assert saved(tmp_path) is None


def test_no_patient_stands_in_the_file(tmp_path: Path) -> None:
    frozen(tmp_path, {f"i{n}": f"canary{n}" for n in range(10)}, seed=0)
    assert "canary" not in (tmp_path / splits.FILE_NAME).read_text()


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", '{"version": 1}', '{"version": true}', "[" * 5000]
)
def test_a_damaged_file_is_named_and_kept(tmp_path: Path, content: str) -> None:
    path = tmp_path / splits.FILE_NAME
    path.write_text(content)
    for read in (lambda: frozen(tmp_path, people([1] * 9), seed=0), lambda: saved(tmp_path)):
        with pytest.raises(DamagedProjectError, match=splits.FILE_NAME) as error:
            read()
        assert "\n" not in str(error.value)
    assert path.read_text() == content


def test_a_newer_file_is_refused_untouched(tmp_path: Path) -> None:
    frozen(tmp_path, people([1] * 9), seed=0)
    path = tmp_path / splits.FILE_NAME
    newer = json.dumps(json.loads(path.read_text()) | {"version": 2, "more": 1})
    path.write_text(newer)
    with pytest.raises(NewerSchemaError):
        frozen(tmp_path, people([1] * 9), seed=0)
    assert path.read_text() == newer


@settings(max_examples=30)
@given(images=items, seed=st.integers(0, 1000), full=st.integers(0, 5))
def test_empty_images_are_not_all_that_is_held_out(
    images: dict[str, str], seed: int, full: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    patients = sorted(set(images.values()))
    something = {patients[full % len(patients)], patients[(full + 3) % len(patients)]}
    empty = {name for name, patient in images.items() if patient not in something}
    folder = tmp_path_factory.mktemp("split")
    split = frozen(folder, images, seed=seed, empty=empty)
    plain = by_patient(images, seed=seed, validation=splits.VALIDATION)
    assert set(split.validation) - empty
    if set(plain.validation) - empty:
        assert split == plain
    assert frozen(folder, images, seed=seed + 1, empty=()) == split
