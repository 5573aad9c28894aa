"""The same result from nothing: bit for bit on disk, and from its own provenance."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hepgen.errors import FileError
from hepgen.pipeline.data import DataRequest
from hepgen.pipeline.infer import infer_into
from hepgen.pipeline.monitor import Silent
from hepgen.pipeline.reproduce import compared, reproduce
from hepgen.pipeline.session import Session
from hepgen.pipeline.simulate import simulate_to_file
from hepgen.simulators.campaign import Campaign

TINY = Path(__file__).parent / "tiny.toml"
FEW = ["inference.beside=[]", "calibration.sets=21", "nle.epochs=1", "simulation.events=10_000"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    session = Session.open(TINY)
    campaign = Campaign(
        session.chain, session.parameters, 300, 5, prior=False, fixed={"theta_0": 0.3}
    )
    path = tmp_path_factory.mktemp("data") / "data.root"
    simulate_to_file(campaign, path, provenance={}, monitor=Silent())
    return path


@pytest.fixture(scope="module")
def results(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two results, each from nothing."""
    folders = []
    for name in ("first", "second"):
        folder = tmp_path_factory.mktemp(name)
        session = Session.open(TINY, [f"folder={str(folder / 'run')!r}", *FEW])
        infer_into(session, DataRequest([str(data)]), folder / "results")
        folders.append(folder)
    return folders[0], folders[1]


@pytest.mark.slow
def test_a_result_from_nothing_is_the_same_byte_for_byte_apart_from_times(
    results: tuple[Path, Path],
) -> None:
    def text(folder: Path) -> str:
        words = (folder / "results" / "result.json").read_text()
        content = json.loads(words)["provenance"]
        for value in (str(folder), content["key"], f'"seconds": {content["seconds"]}'):
            words = words.replace(value, "")
        return words

    assert text(results[0]) == text(results[1])


@pytest.mark.slow
def test_a_result_is_made_again_from_its_provenance(results: tuple[Path, Path]) -> None:
    found = reproduce(results[0] / "results", monitor=Silent())
    assert (found.differences, found.versions) == ((), ())
    assert found.words() == "the same"


def result(**changed: Any) -> dict[str, Any]:
    noted = {
        "seconds": 1.0,
        "key": "a",
        "versions": {"torch": "2.6"},
        "workflow": "",
        "request": {},
    }
    return {
        "events": 3,
        "parameters": {"m": {"interval68": [1.0, 2.0]}},
        "provenance": noted,
    } | changed


def test_what_differs_is_named_and_times_do_not() -> None:
    noted = {"seconds": 9.0, "key": "b", "versions": {"torch": "2.7"}}
    other = result(parameters={"m": {"interval68": [1.0, 2.5]}}, provenance=noted, more=1)
    found = compared(result(), other)
    assert found.differences == ("parameters.m.interval68[1]: 2.0, 2.5", "more: 'missing', 1")
    assert found.versions == ("provenance.versions.torch: '2.6', '2.7'",)
    assert "other versions:" in found.words()


@pytest.mark.parametrize(
    ("content", "words"),
    [("{", "as JSON"), ("[]", "is no result"), ('{"provenance": {}}', "is no result"),
     ('{"provenance": {"workflow": ""}}', "of an earlier version"), (None, "no result")],
)  # fmt: skip
def test_what_is_no_result_is_refused(tmp_path: Path, content: str | None, words: str) -> None:
    if content is not None:
        (tmp_path / "result.json").write_text(content)
    with pytest.raises(FileError, match=words):
        reproduce(tmp_path, monitor=Silent())


GOOD = {"workflow": "a.toml", "files": ["a.root"]}


@pytest.mark.parametrize(
    ("workflow", "request_", "words"),
    [
        ("= 5", GOOD, "provenance.workflow is no TOML"),
        ("a = " + "[" * 10**5, GOOD, "provenance.workflow is no TOML"),
        ("", {}, r"provenance.request.workflow = None; expected the name of a file"),
        ("", GOOD | {"workflow": 5}, r"provenance.request.workflow = 5"),
        ("", GOOD | {"files": 5}, r"provenance.request.files = 5; expected a list of names"),
        ("", GOOD | {"files": [5]}, r"provenance.request.files = \[5\]"),
        ("", GOOD | {"branches": 5}, r"provenance.request.branches = 5"),
        ("", GOOD | {"cut": 5}, r"provenance.request.cut = 5; expected text"),
        ("", GOOD | {"method": 5}, r"provenance.request.method = 5"),
        ("", GOOD | {"entry_stop": "x"}, r"provenance.request.entry_stop = 'x'"),
    ],
)
def test_a_provenance_that_was_edited_is_refused(
    tmp_path: Path, workflow: str, request_: dict[str, Any], words: str
) -> None:
    noted = {"workflow": workflow, "request": request_}
    (tmp_path / "result.json").write_text(json.dumps(result(provenance=noted)))
    with pytest.raises(FileError, match=words):
        reproduce(tmp_path, monitor=Silent())
