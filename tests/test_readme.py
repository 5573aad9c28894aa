"""What README.md promises: two commands of one line each, and Python that means something."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import pytest
from typer.main import get_command

import hepgen
from hepgen.cli import app

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    return [block.strip() for block in blocks("sh")]


def steps(command: str) -> list[list[str]]:
    return [shlex.split(step) for step in command.split(" && ")]


def test_the_commands_are_two_and_each_is_one_line() -> None:
    assert len(commands()) == 2
    assert not any("\n" in command for command in commands())


@pytest.mark.parametrize("command", commands())
def test_a_command_starts_from_a_new_environment_and_stays_in_it(command: str) -> None:
    first, *others = steps(command)
    assert first == ["python", "-m", "venv", ".venv"]
    assert all(step[0].startswith(".venv/bin/") for step in others)


def test_the_first_command_runs_the_main_job() -> None:
    program, name, workflow = steps(commands()[0])[-1]
    assert Path(program).name == "hepgen"
    assert name in get_command(app).commands  # type: ignore[attr-defined]
    assert (ROOT / workflow).is_file()


def test_the_second_command_runs_the_tests_with_their_extra() -> None:
    install, test = steps(commands()[1])[1:]
    assert install[-1] == ".[test]"
    assert test == [".venv/bin/python", "-m", "pytest", "-n", "auto", "--dist", "loadfile"]


def test_only_one_line_is_the_test_command_of_the_checks() -> None:
    assert len(re.findall(r"^python3? -m venv .*pytest", README, re.MULTILINE)) == 1


def attributes(tree: ast.AST) -> list[str]:
    nodes = (node for node in ast.walk(tree) if isinstance(node, ast.Attribute))
    owners = ((node.attr, node.value) for node in nodes)
    return [name for name, of in owners if isinstance(of, ast.Name) and of.id == "hepgen"]


def test_the_python_compiles_and_its_names_are_public() -> None:
    (source,) = blocks("python")
    compile(source, "README.md", "exec")
    names = attributes(ast.parse(source))
    assert names
    assert set(names) <= set(hepgen.__all__)
    for name in names:
        getattr(hepgen, name)


def test_the_python_opens_the_workflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (source,) = blocks("python")
    (tmp_path / "workflows").symlink_to(ROOT / "workflows")
    monkeypatch.chdir(tmp_path)
    opening = source[: source.index("inference =")]
    names: dict[str, object] = {}
    exec(compile(opening, "README.md", "exec"), names)
    session = names["session"]
    assert isinstance(session, hepgen.Session)
    assert "m_z" in session.parameters.free_names


@pytest.mark.parametrize("link", re.findall(r"\]\((?!https?:)([^)#]+)", README))
def test_a_link_leads_somewhere(link: str) -> None:
    assert (ROOT / link).is_file()
