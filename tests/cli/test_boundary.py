"""Errors are one line, JSON is all of standard output, help is quick."""

from __future__ import annotations

import io
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest

import napari_graydet
from napari_graydet.cli import app, boundary
from napari_graydet.errors import CancelledError
from tests.cli.runner import run

VERBS = ["demo", "open", "segment", "init", "predict", "export", "render", "doctor"]


def program(*args: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "napari_graydet", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_help_is_quick_and_names_every_verb() -> None:
    start = time.perf_counter()
    done = program("--help")
    seconds = time.perf_counter() - start
    print(f"napari-graydet --help: {seconds:.2f} s")
    assert done.returncode == 0
    assert all(verb in done.stdout for verb in VERBS)
    assert seconds < 3  # 0.3 s on an idle machine


def test_the_program_without_a_verb_shows_its_help() -> None:
    assert run().out == run("--help").out


def test_version() -> None:
    done = program("--version")
    assert done.stdout.strip() == f"napari-graydet {napari_graydet.__version__}"
    assert done.returncode == 0


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_json_and_debug(verb: str) -> None:
    outcome = run(verb, "--help")
    assert outcome.code == 0
    assert "--json" in outcome.out
    assert "--debug" in outcome.out


@pytest.mark.parametrize(
    "args",
    [
        ("segmnet",),
        ("segment",),
        ("segment", "a.png"),
        ("segment", "a.png", "-o", "out", "--if-none", "maybe"),
        ("segment", "a.png", "-o", "out", "--min-score", "7"),
        ("segment", "a.png", "-o", "out", "--unheard"),
        ("export", "nowhere", "-o", "out", "--format", "coco"),
        ("--unheard",),
    ],
)
def test_wrong_usage_is_one_line_and_2(args: tuple[str, ...]) -> None:
    outcome = run(*args)
    assert outcome.code == 2
    assert outcome.out == ""
    assert len(outcome.error_lines) == 1
    assert outcome.err.startswith("napari-graydet: ")


def test_with_json_an_error_is_a_document_too(tmp_path: Path) -> None:
    outcome = run("predict", tmp_path, "--json")
    assert outcome.code == 2
    assert outcome.document["error"]["type"] == "ProjectError"
    assert len(outcome.error_lines) == 1


def broken(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("napari_graydet.project.store.ProjectStore.open", fail)


def test_an_unexpected_error_is_one_line_and_1(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken(monkeypatch, ZeroDivisionError("two\nlines"))
    outcome = run("predict", tmp_path)
    assert outcome.code == 1
    assert len(outcome.error_lines) == 1
    assert "ZeroDivisionError: two lines" in outcome.err
    assert "Traceback" not in outcome.err


def test_names_in_another_encoding_are_shown_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Terminal(io.TextIOWrapper):
        def isatty(self) -> bool:
            return True

    for name in ("r\udcf6ntgen.png", "röntgen.png"):
        raw = io.BytesIO()
        terminal = Terminal(raw, encoding="utf-8")
        boundary._show(boundary.Result({}, name), False, terminal, None)
        terminal.flush()
        shown = raw.getvalue().decode()
        assert "ntgen.png" in shown


def test_wildcards_are_left_to_typer(monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows it expands them, if it reads the command line itself."""
    seen: list[object] = []
    monkeypatch.setattr(boundary.TyperGroup, "main", lambda _self, args, **_: seen.append(args))
    monkeypatch.setattr(sys, "argv", ["napari-graydet", "segment", "*.png", "--json"])
    for args in (None, ["doctor"]):
        with pytest.raises(SystemExit):
            app(args)
    assert seen == [None, ["doctor"]]


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    quiet = program("predict", tmp_path / "nowhere")
    loud = program("predict", tmp_path / "nowhere", "--debug")
    assert "Traceback" not in quiet.stderr
    assert "Traceback" in loud.stderr
    assert loud.returncode != 0


def test_stopping_is_130(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken(monkeypatch, CancelledError("Stopped."))
    assert run("predict", tmp_path).code == 130
    broken(monkeypatch, KeyboardInterrupt())
    stopped = run("predict", tmp_path, "--json")
    assert stopped.code == 130
    assert stopped.document["error"]["type"] == "CancelledError"
    assert stopped.error_lines == ["napari-graydet: Stopped; what was done until here stays."]


def test_prints_of_libraries_do_not_reach_standard_output(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from napari_graydet.project.store import ProjectStore
    from tests.workflows.projects import fill, make_project

    store = make_project(tmp_path / "study")
    fill(store)
    store.close()
    real = ProjectStore.open

    def chatty(folder: Path) -> ProjectStore:
        print("a library says hello")
        warnings.simplefilter("always")  # whatever this test run was told to ignore
        warnings.warn("a library is\nworried", RuntimeWarning, stacklevel=1)
        return real(folder)

    monkeypatch.setattr(ProjectStore, "open", chatty)
    outcome = run("export", tmp_path / "study", "-o", tmp_path / "out", "--json")
    assert outcome.document["images"] == 3
    assert outcome.error_lines == ["a library says hello", "napari-graydet: a library is worried"]


def test_the_console_script_is_the_same_program() -> None:
    from importlib.metadata import entry_points

    from napari_graydet.cli import main

    (script,) = entry_points(group="console_scripts", name="napari-graydet")
    assert script.load() is main
