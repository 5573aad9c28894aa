"""Which files and trees the arguments of a command mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from hepgen.errors import FileError
from hepgen.io.sources import Source, resolve


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.root", "b.root", "run:1.root", "notes.txt"):
        (tmp_path / name).touch()
    return tmp_path


def names(sources: list[Source]) -> list[tuple[str, str | None]]:
    return [(Path(source.path).name, source.tree) for source in sources]


def test_a_file_with_and_without_a_tree(folder: Path) -> None:
    assert names(resolve([folder / "a.root"])) == [("a.root", None)]
    assert names(resolve(f"{folder}/a.root:Events")) == [("a.root", "Events")]
    assert names(resolve(f"{folder}/a.root:dir/Events;2")) == [("a.root", "dir/Events;2")]


def test_the_tree_argument_is_for_those_that_name_none(folder: Path) -> None:
    sources = resolve([f"{folder}/a.root:one", folder / "b.root"], tree="other")
    assert names(sources) == [("a.root", "one"), ("b.root", "other")]


@pytest.mark.parametrize("pattern", ["[ab].root", "*b.root,a.root", "a.root, b.root"])
def test_globs_and_lists(folder: Path, pattern: str) -> None:
    text = ",".join(f"{folder}/{part.strip()}:Events" for part in pattern.split(","))
    assert sorted(names(resolve(text))) == [("a.root", "Events"), ("b.root", "Events")]


def test_a_folder_is_its_root_files_in_order(folder: Path) -> None:
    assert names(resolve(folder)) == [("a.root", None), ("b.root", None), ("run:1.root", None)]


def test_a_colon_in_the_name_of_a_file(folder: Path) -> None:
    assert names(resolve(f"{folder}/run:1.root")) == [("run:1.root", None)]
    assert names(resolve(f"{folder}/run:1.root:Events")) == [("run:1.root", "Events")]
    assert names(resolve(f"{folder}/run:*.root")) == [("run:1.root", None)]


@pytest.mark.parametrize(
    ("url", "path", "tree"),
    [
        ("root://a.example:1094//s/f.root", "root://a.example:1094//s/f.root", None),
        ("root://a.example:1094//s/f.root:d/T", "root://a.example:1094//s/f.root", "d/T"),
        ("https://a.example:8443/f.root:T", "https://a.example:8443/f.root", "T"),
        ("https://a.example/f.root", "https://a.example/f.root", None),
    ],
)
def test_urls_are_passed_on_with_their_port(url: str, path: str, tree: str | None) -> None:
    (source,) = resolve([url])
    assert source == Source(path, tree)
    assert source.remote


def test_a_missing_file_offers_the_nearest(folder: Path) -> None:
    with pytest.raises(FileError, match=r"no file .*A\.root.*did you mean 'a\.root'"):
        resolve([folder / "A.root:Events"])


def test_a_missing_folder_is_named(folder: Path) -> None:
    with pytest.raises(FileError, match="there is no folder"):
        resolve([folder / "none" / "a.root"])


def test_a_glob_that_matches_nothing(folder: Path) -> None:
    with pytest.raises(FileError, match=r"no file matches .*c\*\.root"):
        resolve(f"{folder}/c*.root:Events")


def test_a_file_that_is_given_twice_is_refused(folder: Path) -> None:
    with pytest.raises(FileError, match="given twice"):
        resolve([f"{folder}/*.root", folder / "a.root"])


def test_nothing_at_all() -> None:
    with pytest.raises(FileError, match="no files given"):
        resolve([])
