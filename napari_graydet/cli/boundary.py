"""Where errors become one line, and results become text or JSON: the edge of the program.

A verb is a function that returns a `Result` and raises the project's errors. With ``--json``
standard output carries one JSON document and nothing else: whatever a library prints goes to
standard error. A long job may tell its events before it (`tell`), then all are of one line each.
"""

from __future__ import annotations

import io
import json
import sys
import warnings
from collections.abc import Sequence
from contextlib import nullcontext, redirect_stdout, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from typer.core import TyperGroup

from napari_graydet.errors import CancelledError, GraydetError

OK, UNEXPECTED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
_PROGRAM = "napari-graydet"
_PIPE_WIDTH = 200
"""Columns of text that goes to a file or a pipe, where nothing says how wide the reader is."""


@dataclass(frozen=True)
class Result:
    """What a verb has to say.

    Parameters
    ----------
    document
        For ``--json``: plain JSON types.
    text
        For people: anything that rich prints, without markup in it; None prints nothing.
    code
        Exit status.
    """

    document: dict[str, Any]
    text: Any = None
    code: int = OK


class Boundary(TyperGroup):
    """The command group that reports results and errors in one way for all verbs."""

    def main(  # type: ignore[override]
        self, args: Sequence[str] | None = None, standalone_mode: bool = True, **extra: Any
    ) -> Any:
        """Run, report, and exit with 0, 2 (bad input), 1 (unexpected) or 130 (interrupted)."""
        arguments = list(sys.argv[1:] if args is None else args)
        as_json, debug = "--json" in arguments, "--debug" in arguments
        stdout = sys.stdout
        lines = _Lines(stdout if as_json else None)
        before = _lines.set(lines)
        extra["prog_name"] = _PROGRAM
        quiet = redirect_stdout(sys.stderr) if as_json else nullcontext()
        try:
            with quiet, warnings.catch_warnings():
                if not debug:
                    warnings.showwarning = _warned
                # None, not a list: typer expands wildcards where the shell of Windows does not
                outcome = super().main(args=args, standalone_mode=False, **extra)
        except Exception as error:  # the boundary: nothing passes but --debug
            if debug:
                raise
            outcome = _failed(error)
        else:
            if outcome == INTERRUPTED:  # what typer makes of Ctrl-C
                outcome = _failed(CancelledError("Stopped; what was done until here stays."))
        finally:
            _lines.reset(before)
        if isinstance(outcome, Result):
            _show(outcome, as_json, stdout, None if lines.used else 2)
            sys.exit(outcome.code)
        sys.exit(outcome if isinstance(outcome, int) else OK)


def complain(message: str) -> None:
    """Say one line on standard error."""
    print(f"{_PROGRAM}: {' '.join(message.split())}", file=sys.stderr, flush=True)


class _Lines:
    """Standard output with ``--json``, for events that come before the result."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.used = False


_lines: ContextVar[_Lines] = ContextVar("_lines")


def tell(event: dict[str, Any]) -> bool:
    """With ``--json``, print an event at once as one line of JSON; return whether it was.

    A reader that has gone away is no reason to stop the job that tells.
    """
    lines = _lines.get(None)
    if lines is None or lines.stream is None:
        return False
    lines.used = True
    with suppress(BrokenPipeError):
        lines.stream.write(json.dumps(event) + "\n")
        lines.stream.flush()
    return True


def _warned(message: Warning | str, *_: object, **__: object) -> None:
    """Show a warning as one line, without file name and source line."""
    complain(str(message))


def _failed(error: Exception) -> Result:
    message, code = _explain(error)
    complain(message)
    return Result({"error": {"type": type(error).__name__, "message": message}}, code=code)


def _explain(error: Exception) -> tuple[str, int]:
    """Return the line and the exit status for an exception."""
    if isinstance(error, CancelledError):
        return str(error), INTERRUPTED
    if isinstance(error, GraydetError):
        return str(error), BAD_INPUT
    usage = getattr(error, "format_message", None)  # typer's own errors: options, arguments
    if usage is not None:
        return f"{str(usage()).rstrip('.')}. See {_PROGRAM} --help.", BAD_INPUT
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}.", BAD_INPUT
    if type(error).__name__ == "Abort":
        return "Stopped.", INTERRUPTED
    detail = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return f"unexpected {detail}. Run again with --debug and report what it shows.", UNEXPECTED


def _show(result: Result, as_json: bool, stdout: Any, indent: int | None) -> None:
    if as_json:
        stdout.write(json.dumps(result.document, indent=indent) + "\n")
        stdout.flush()
    elif result.text is not None:
        from rich.console import Console

        if stdout.isatty():
            if hasattr(stdout, "reconfigure"):
                stdout.reconfigure(errors="backslashreplace")  # names of another encoding
            Console(file=stdout, highlight=False, markup=False).print(result.text)
            return
        page = io.StringIO()
        Console(file=page, highlight=False, markup=False, width=_PIPE_WIDTH).print(result.text)
        lines = [f"{line.rstrip()}\n" for line in page.getvalue().splitlines()]
        stdout.write(_writable("".join(lines), stdout))


def _writable(text: str, stream: Any) -> str:
    """Escape what a stream cannot encode, such as file names of another system's encoding."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)
