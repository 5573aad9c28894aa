"""What a folder of results may be written over with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hepgen.errors import FileError
from hepgen.pipeline.earlier_result import refuse_other

ONE = {"workflow": "name = 'z'", "data": {"files": ["a.root:Events"]}}
TWO = {"combination": "name = 'both'", "channels": {"x": {"data": ["a"]}, "y": {"data": ["b"]}}}


def with_result(folder: Path, content: Any) -> Path:
    (folder / "result.json").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize(
    ("provenance", "name", "data"), [(ONE, "z", ["a.root:Events"]), (TWO, "both", ["a", "b"])]
)
def test_only_the_same_measurement_replaces_a_result(
    provenance: dict[str, Any], name: str, data: list[str], tmp_path: Path
) -> None:
    folder = with_result(tmp_path, {"provenance": provenance})
    refuse_other(folder, name, data, False)
    for others in [("other", data), (name, [*data, "c.root"]), (name, [])]:
        with pytest.raises(FileError, match=f"holds the result of '{name}' from a.*--force"):
            refuse_other(folder, *others, False)
        refuse_other(folder, *others, True)


@pytest.mark.parametrize(
    "content", [{}, [], None, {"provenance": {}}, {"provenance": {"workflow": 1, "data": 2}},
                {"provenance": {"workflow": "name = ", "data": {"files": []}}},
                {"provenance": {"combination": "name = 'a'", "channels": []}}],
)  # fmt: skip
def test_what_is_no_result_may_be_replaced(content: Any, tmp_path: Path) -> None:
    refuse_other(with_result(tmp_path, content), "z", ["a.root"], False)


def test_an_empty_folder_and_none_may_be_filled(tmp_path: Path) -> None:
    refuse_other(tmp_path, "z", ["a.root"], False)
    refuse_other(tmp_path / "none", "z", ["a.root"], False)
