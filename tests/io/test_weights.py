from __future__ import annotations

import json
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_graydet.errors import WeightsError
from napari_graydet.io import weights
from napari_graydet.io.weights import WeightsCard, load_weights, read_card, save_weights

CARD = WeightsCard(
    kind="boxes",
    architecture="PointNet",
    configuration={"anchors": 32, "scales": [0.1, 0.2], "nested": {"a": None}},
    classes=["bone", "lung"],
    data=["phantoms"],
    metrics={"phantoms: IoU / ceiling": 0.97},
    seed=7,
    versions={"torch": "2.10"},
)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    rng = np.random.default_rng(0)
    save_weights(path, {"a": rng.random((3, 4), np.float32), "b": np.arange(5)}, CARD)
    return path


dtypes = st.sampled_from(["<f2", "<f4", ">f4", "<f8", "u1", "<i8", ">i4", "?"])


@settings(max_examples=60)
@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=9),
        dtypes.flatmap(lambda d: hnp.arrays(d, hnp.array_shapes(min_dims=0, min_side=0))),
        min_size=1,
        max_size=4,
    )
)
def test_tensors_and_card_come_back(
    tmp_path_factory: pytest.TempPathFactory, tensors: dict[str, np.ndarray]
) -> None:
    tensors.pop("__metadata__", None)
    tensors["x"] = np.ones((2, 3))[:, ::2]  # not contiguous
    path = tmp_path_factory.mktemp("weights") / "roi-v1.2"
    save_weights(path, tensors, CARD)
    back, card = load_weights(path)
    assert back.keys() == tensors.keys()
    for name, array in tensors.items():
        assert back[name].shape == array.shape
        assert back[name].dtype == array.dtype.newbyteorder("=")
        np.testing.assert_array_equal(back[name], array)
    assert card == CARD.model_copy(update={"sha256": card.sha256})
    assert read_card(path) == card


def test_two_files_with_dots_in_the_name(tmp_path: Path) -> None:
    save_weights(tmp_path / "roi-v1.2", {"a": np.zeros(1)}, CARD)
    assert {p.name for p in tmp_path.iterdir()} == {"roi-v1.2.safetensors", "roi-v1.2.json"}


def test_every_flipped_byte_and_every_truncation_is_found(saved: Path) -> None:
    good = saved.read_bytes()
    for index in range(len(good)):
        bad = bytearray(good)
        bad[index] ^= 0x10
        saved.write_bytes(bad)
        with pytest.raises(WeightsError):
            load_weights(saved)
        saved.write_bytes(good[:index])
        with pytest.raises(WeightsError):
            load_weights(saved)


def test_a_damaged_header_with_the_right_digest_is_found(saved: Path) -> None:
    """The digest alone must not be trusted: a card may have been made for damaged tensors."""
    good = saved.read_bytes()
    rng = np.random.default_rng(1)
    header_end = 8 + int.from_bytes(good[:8], "little")
    refused = 0
    for _ in range(300):
        bad = bytearray(good)
        bad[rng.integers(header_end)] = rng.integers(256)
        saved.write_bytes(bad)
        digest = weights.hashlib.sha256(bad).hexdigest()
        card = CARD.model_copy(update={"sha256": digest})
        saved.with_suffix(".json").write_text(card.model_dump_json())
        try:
            load_weights(saved)
        except WeightsError:
            refused += 1
    assert refused > 200


def test_weights_of_another_card_are_refused(saved: Path, tmp_path: Path) -> None:
    save_weights(tmp_path / "other", {"a": np.ones(3)}, CARD)
    (tmp_path / "other.json").replace(saved.with_suffix(".json"))
    with pytest.raises(WeightsError, match="another card"):
        load_weights(saved)


class Payload:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch EXECUTED",)


def test_pickles_in_disguise_are_named_and_never_run(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    saved.write_bytes(pickle.dumps(Payload()))
    with pytest.raises(WeightsError, match="is a pickle"):
        load_weights(saved)
    with zipfile.ZipFile(saved, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Payload()))
    with pytest.raises(WeightsError, match="is a pickle"):
        load_weights(saved)
    assert not (tmp_path / "EXECUTED").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "other"},
        {"classes": []},
        {"architecture": None},
        {"sha256": "xyz"},
        {"surprise": 1},
        {"seed": "seven"},
        {"metrics": [1]},
    ],
)
def test_a_card_that_is_not_one_is_refused_with_the_field(
    saved: Path, change: dict[str, object]
) -> None:
    card = saved.with_suffix(".json")
    card.write_text(json.dumps(json.loads(card.read_text()) | change))
    with pytest.raises(WeightsError, match=next(iter(change))) as info:
        load_weights(saved)
    assert "\n" not in str(info.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", "\xff", "[" * 100_000])
def test_broken_cards_are_refused(saved: Path, text: str) -> None:
    saved.with_suffix(".json").write_bytes(text.encode("latin-1"))
    with pytest.raises(WeightsError):
        load_weights(saved)


def test_missing_files_are_named(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"nowhere\.safetensors"):
        load_weights(tmp_path / "nowhere")
    saved.with_suffix(".json").unlink()
    with pytest.raises(WeightsError, match=r"model\.json"):
        load_weights(saved)


def test_size_is_limited(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "MAX_WEIGHTS_BYTES", 10)
    with pytest.raises(WeightsError, match="more than"):
        load_weights(saved)


@pytest.mark.parametrize("tensors", [{}, {"a": np.array(["text"])}, {"a": np.array([None])}])
def test_what_cannot_be_stored_is_refused(tmp_path: Path, tensors: dict[str, np.ndarray]) -> None:
    with pytest.raises(WeightsError):
        save_weights(tmp_path / "a", tensors, CARD)
    assert list(tmp_path.iterdir()) == []
