"""How the values of options are read."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from napari_graydet.cli.options import names
from tests.cli.runner import run


def test_names_stand_between_commas_in_their_order() -> None:
    assert names(" lung,bone , left hand", "--classes") == ["lung", "bone", "left hand"]
    assert names("bone", "--classes") == ["bone"]


@pytest.mark.parametrize("text", ["", " ", ",", "bone,", "bone,,lung", ", bone"])
def test_an_empty_name_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="--methods NAME"):
        names(text, "--methods")


@pytest.mark.parametrize("verb", ["init", "evaluate", "train", "compare"])
def test_every_verb_has_the_same_rule(verb: str, tmp_path: Path) -> None:
    folders = ("--images", tmp_path, "--masks", tmp_path)
    arguments = {
        "init": ("study", "--images", tmp_path, "--classes", "bone,"),
        "evaluate": (*folders, "--classes", "bone,"),
        "train": ("boxes", *folders, "-o", tmp_path / "out", "--classes", "bone,"),
        "compare": (*folders, "-o", tmp_path / "out", "--methods", "otsu,"),
    }
    outcome = run(verb, *arguments[verb])
    assert outcome.code == 2 and "NAME,NAME,... without gaps" in outcome.err
