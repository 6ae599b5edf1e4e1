"""The rule by which a project's images belong to patients: kept, read again, and refused."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_graydet.errors import DatasetError, GraydetError, ProjectError
from napari_graydet.project import splits
from napari_graydet.project.patients import PatientRule, people
from napari_graydet.project.schema import ImageEntry, State
from napari_graydet.project.settings import ProjectSettings
from napari_graydet.project.store import ProjectStore
from tests.project.projects import CLASSES

NAMES = ("ann_l.png", "ann_r.png", "bob_l.png", "carl_l.png")
RULE = "^([a-z]+)_"


def make(folder: Path, names: tuple[str, ...] = NAMES, **options: object) -> ProjectStore:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    paths = [folder / name for name in names]
    return ProjectStore.create(folder, CLASSES, paths, **options)  # type: ignore[arg-type]


def table(path: Path, **patients: str) -> Path:
    path.write_text("image,patient\n" + "".join(f"{n},{p}\n" for n, p in patients.items()))
    return path


def owners(store: ProjectStore) -> list[str | None]:
    return [entry.patient for entry in store.entries()]


def snapshot(folder: Path) -> dict[str, bytes]:
    text = {p.name: p.read_bytes() for p in folder.iterdir() if p.suffix != ".db"}
    return {name: data for name, data in text.items() if ".db" not in name}


def test_an_expression_is_kept(tmp_path: Path) -> None:
    with make(tmp_path / "study") as store:
        assert owners(store) == [None] * 4
        (told,) = store.set_patients(RULE)
        assert "4 images of 3 patients" in told and "ann" not in told
        assert owners(store) == ["ann", "ann", "bob", "carl"]
    with ProjectStore.open(tmp_path / "study") as store:
        assert owners(store) == ["ann", "ann", "bob", "carl"]
        assert store.entry(2).patient == "ann"
        assert ProjectSettings.read(store.folder).patients == RULE


def test_a_file_is_copied_and_not_needed_any_more(tmp_path: Path) -> None:
    source = table(tmp_path / "who.csv", ann_l="1", ann_r="1", bob_l="2", **{"carl_l.png": "3"})
    with make(tmp_path / "study") as store:
        store.set_patients(str(source))
    source.unlink()
    (tmp_path / "study").rename(tmp_path / "moved")
    with ProjectStore.open(tmp_path / "moved") as store:
        assert owners(store) == ["1", "1", "2", "3"]
        assert ProjectSettings.read(store.folder).patients == "patients.csv"


def test_no_file_is_overwritten(tmp_path: Path) -> None:
    everybody = {Path(name).stem: "1" for name in NAMES}
    with make(tmp_path / "study") as store:
        other = store.folder / "patients.csv"
        other.write_text("somebody's own table")
        source = table(tmp_path / "who.csv", **everybody)
        for _ in range(2):
            store.set_patients(str(source))
            assert store.patients.text == "patients-2.csv"
        assert other.read_text() == "somebody's own table"
        inside = table(store.folder / "mine.csv", **everybody)
        store.set_patients(str(inside))
        assert store.patients.text == "mine.csv"
        assert not (store.folder / "patients-3.csv").exists()


def test_a_new_project_is_made_with_its_rule(tmp_path: Path) -> None:
    with make(tmp_path / "study", patients=RULE) as store:
        assert owners(store)[:2] == ["ann", "ann"]
    with pytest.raises(DatasetError, match="gives none for 4"):
        make(tmp_path / "other", patients="([0-9]+)")
    assert not (tmp_path / "other" / "graydet.toml").exists()
    assert not (tmp_path / "other" / "annotations.db").exists()


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("(", "not a regular expression"),
        ("ann", "one group"),
        ("^(ann)", "none for 2 of them, such as bob_l.png"),
        ("", "one group"),
        ("(a\n)", "can be printed"),
        ("(" + "a" * 600 + ")", "at most 500"),
        ("nowhere.csv", "nowhere.csv"),
        ("some.csv", "some.csv gives none for 3 of them, such as ann_r.png"),
        ("three.csv", "3 columns"),
    ],
)
def test_bad_rules_change_nothing(
    tmp_path: Path, rule: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    table(tmp_path / "some.csv", ann_l="1")
    (tmp_path / "three.csv").write_text("a,b,c\n")
    with make(tmp_path / "study") as store:
        store.set_patients(RULE)
        before = snapshot(store.folder)
        with pytest.raises(GraydetError, match=message) as error:
            store.set_patients(rule)
        assert "\n" not in str(error.value)
        assert snapshot(store.folder) == before and owners(store)[0] == "ann"


def test_folders_count_where_they_are_asked_for(tmp_path: Path) -> None:
    names = ("ann/1_l.png", "ann/1_r.png", "bob/1_l.png")
    with make(tmp_path / "study", names) as store:
        store.set_patients("^([^/]+)/")
        assert owners(store) == ["ann", "ann", "bob"]
        store.set_patients("^([^_]+)_")  # of the file's name only
        assert owners(store) == ["1", "1", "1"]
        source = tmp_path / "who.csv"
        source.write_text("ann/1_l.png,a\nann/1_r,a\nbob/1_l.png,b\n")
        store.set_patients(str(source))
        assert owners(store) == ["a", "a", "b"]


def test_a_lost_table_stops_no_annotation(tmp_path: Path) -> None:
    with make(tmp_path / "study") as store:
        store.set_patients(str(table(tmp_path / "who.csv", **{Path(n).stem: "1" for n in NAMES})))
    (tmp_path / "study" / "patients.csv").unlink()
    with ProjectStore.open(tmp_path / "study") as store:
        assert [notice for notice in store.notices if "patients.csv" in notice]
        assert owners(store) == [None] * 4
        with pytest.raises(DatasetError, match="bring it back"):
            store.patients.require(store.entries())
        store.set_patients(RULE)  # the way out
        store.patients.require(store.entries())


def test_a_rule_is_taken_away_and_its_table_stays(tmp_path: Path) -> None:
    source = table(tmp_path / "who.csv", **{Path(n).stem: "1" for n in NAMES})
    with make(tmp_path / "study") as store:
        store.set_patients(RULE)
        (told,) = store.drop_patients()
        assert "no rule of patients any more" in told and "file" not in told
        assert store.patients.text is None and {e.patient for e in store.entries()} == {None}
        store.set_patients(str(source))
        (told,) = store.drop_patients()
        assert "The file of patients stays" in told and (store.folder / "patients.csv").is_file()
        store.drop_patients()  # once more does no harm
        folder = store.folder
    with ProjectStore.open(folder) as store:
        assert store.patients.text is None and store.patients.notices == ()


def test_a_rule_that_another_process_set_counts_at_once(tmp_path: Path) -> None:
    source = table(tmp_path / "who.csv", ann_l="1", ann_r="1", bob_l="2", carl_l="3")
    with make(tmp_path / "study") as store, ProjectStore.open(store.folder) as other:
        assert owners(other) == [None] * 4
        store.set_patients(str(source))
        assert owners(other) == ["1", "1", "2", "3"]
        table(store.folder / "patients.csv", ann_l="one", ann_r="1", bob_l="2", carl_l="3")
        assert owners(other)[0] == owners(store)[0] == "one"
        (store.folder / "graydet.toml").rename(tmp_path / "away")
        assert owners(other)[0] == "one", "a folder that is gone for a moment takes nothing away"


def test_new_images_that_the_rule_misses_are_named(tmp_path: Path) -> None:
    with make(tmp_path / "study", patients=RULE) as store:
        (store.folder / "007.png").write_bytes(b"x")
        store.add_images([store.folder / "007.png"])
        assert owners(store)[-1] is None
        store.patients.require(store.entries()[:-1])
        with pytest.raises(DatasetError, match=r"none for 1 of them, such as 007\.png"):
            store.patients.require(store.entries())


@pytest.mark.parametrize("name", ["../secret.csv", "/etc/secret.csv", "C:secret.csv", "a\\b.csv"])
def test_a_table_elsewhere_is_no_setting(tmp_path: Path, name: str) -> None:
    make(tmp_path / "study").close()
    settings = ProjectSettings.model_construct(patients=name)
    settings.write(tmp_path / "study")
    table(tmp_path / "secret.csv", canary="canary")
    with pytest.raises(ProjectError, match="damaged: patients"):
        ProjectStore.open(tmp_path / "study")


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    secret = table(tmp_path / "secret.csv", **{Path(name).stem: "canary" for name in NAMES})
    with make(tmp_path / "study") as store:
        (store.folder / "who.csv").symlink_to(secret)
        ProjectSettings.read(store.folder).model_copy(update={"patients": "who.csv"}).write(
            store.folder
        )
    with ProjectStore.open(tmp_path / "study") as store:
        assert owners(store) == [None] * 4
        with pytest.raises(DatasetError, match="leads out"):
            store.patients.require(store.entries())


def test_the_same_rule_is_known_again(tmp_path: Path) -> None:
    source = table(tmp_path / "who.csv", **{Path(n).stem: "1" for n in NAMES})
    with make(tmp_path / "study") as store:
        with pytest.raises(DatasetError, match=r"none yet.*train PART PROJECT --patients"):
            store.patients.check_same(RULE)
        store.set_patients(RULE)
        store.patients.check_same(RULE)
        with pytest.raises(DatasetError, match="keeps its own rule"):
            store.patients.check_same("^(.)")
        with pytest.raises(DatasetError, match="keeps its own rule"):
            store.patients.check_same(str(source))
        store.set_patients(str(source))
        store.patients.check_same(str(source))


def test_an_old_split_is_brought_in_order_when_the_rule_is_set(tmp_path: Path) -> None:
    with make(tmp_path / "study") as store:
        paths = [entry.path for entry in store.entries()]
        sides = splits.Split((paths[0], paths[3]), (paths[1], paths[2]))
        file = splits._File.of(sides, 0.5, 0.0)
        splits._write(store.folder / splits.FILE_NAME, file)
        _, torn = store.set_patients(RULE)
        assert torn.startswith("1 patient had images both") and "1 held-out image left" in torn
        kept = splits.saved(store.folder)
        assert kept == splits.Split((paths[0], paths[1], paths[3]), (paths[2],))
        assert len(store.set_patients(RULE)) == 1, "nothing is torn any more"


# --- who is one patient -------------------------------------------------------------------------


def entry(name: str, patient: str | None = None, sha256: str = "") -> ImageEntry:
    return ImageEntry(id=1, path=name, sha256=sha256, state=State.NEW, revision=0, patient=patient)


def test_patients_are_called_by_their_first_image() -> None:
    entries = [entry("a", "p"), entry("b"), entry("c", "p"), entry("d")]
    assert people(entries) == {"a": "a", "b": "b", "c": "a", "d": "d"}


def test_the_same_bytes_are_of_one_patient_whatever_the_rule_says() -> None:
    entries = [entry("a", "p", "x"), entry("b", "q", "x"), entry("c", "q"), entry("d", None, "y")]
    assert people(entries) == {"a": "a", "b": "a", "c": "a", "d": "d"}
    late = [entry("a", "p"), entry("b", "q"), entry("c", "q", "x"), entry("d", "p", "x")]
    assert set(people(late).values()) == {"a"}


@given(st.lists(st.tuples(st.sampled_from("pqrst-"), st.sampled_from("uvwxyz-")), max_size=30))
def test_no_mark_is_on_two_patients(marks: list[tuple[str, str]]) -> None:
    entries = [entry(str(i), p.strip("-") or None, s.strip("-")) for i, (p, s) in enumerate(marks)]
    found = people(entries)
    for kind in (0, 1):
        for mark in {pair[kind] for pair in marks} - {"-"}:
            whose = {found[str(i)] for i, pair in enumerate(marks) if pair[kind] == mark}
            assert len(whose) == 1
    for path, first in found.items():
        assert int(first) <= int(path) and found[first] == first


def test_no_patient_leaves_an_entry() -> None:
    one = entry("a", "canary")
    assert "canary" not in repr(one) + one.model_dump_json()


def test_ten_thousand_images_take_no_time() -> None:
    rule = PatientRule.given("^([0-9]+)_")
    began = time.perf_counter()
    entries = [entry(f"a/{i // 2:06}_{i}.png") for i in range(10_000)]
    made = time.perf_counter()
    marked = [e.model_copy(update={"patient": rule.find(e.path)}) for e in entries]
    assert len(set(people(marked).values())) == 5_000
    assert time.perf_counter() - made < 20 * (made - began) + 0.5
