from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from napari_graydet.gui.panels.names import Shared, ShortNames

TIBIAS = ["tibia_train_01064104_1x1", "tibia_train_01093604_1x1", "tibia_train_02093604_1x1"]
NAMES = st.sets(st.text("ab1_-. ", min_size=1, max_size=8), min_size=2, max_size=8)


def test_what_all_names_share_goes() -> None:
    shared = Shared.of(TIBIAS)
    assert [shared.own(name) for name in TIBIAS] == ["…01064104…", "…01093604…", "…02093604…"]
    assert shared.fitted(TIBIAS[0], len, 24) == TIBIAS[0]
    assert shared.fitted(TIBIAS[0], len, 23) == "…train_01064104_1x1"
    assert shared.fitted(TIBIAS[0], len, 18) == "…01064104_1x1"
    assert shared.fitted(TIBIAS[0], len, 12) == "…01064104…"
    assert shared.fitted(TIBIAS[0], len, 9) == "01064104"


def test_numbers_stay_whole_and_strangers_share_nothing() -> None:
    shared = Shared.of(["image_1.png", "image_10.png", "image_12.png"])
    assert shared.own("image_10.png") == "…10…"
    for names in (["chest_01", "hand_01x"], ["alone_1"], []):
        shared = Shared.of(names)
        assert [shared.own(name) for name in names] == names


@given(NAMES, st.integers(1, 12))
def test_names_stay_apart_and_fit_if_they_can(names: set[str], room: int) -> None:
    shared = Shared.of(names)
    assert len({shared.own(name) for name in names}) == len(names)
    fitted = {name: shared.fitted(name, len, room) for name in names}
    assert len(set(fitted.values())) == len(names)
    for name, text in fitted.items():
        assert len(text) <= max(room, len(shared.own(name)))
        assert shared.own(name).strip("…") in text


def test_kinds_are_compared_among_themselves() -> None:
    chests = ["CHNCXR_0001_0", "CHNCXR_0034_0"]
    short = ShortNames.of([*TIBIAS, *chests, "scout"])
    assert [short.own(name) for name in TIBIAS] == ["…01064104…", "…01093604…", "…02093604…"]
    assert [short.own(name) for name in chests] == ["…0001…", "…0034…"]
    assert short.fitted("scout", len, 2) == "scout"
    assert ShortNames.of(["knee_a_1", "knee_a_2", "hand_b_1", "hand_b_2"]).own("knee_a_1") == (
        "knee_a_1"
    ), "two would be …1"


@given(NAMES)
def test_short_names_stay_apart(names: set[str]) -> None:
    short = ShortNames.of(names)
    assert len({short.own(name) for name in names}) == len(names)
    assert len({short.fitted(name, len, 1) for name in names}) == len(names)
