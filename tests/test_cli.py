"""The program as its users meet it: what it prints, where, and how it exits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
ZMUMU = REPOSITORY / "workflows" / "zmumu.toml"
EE_JETS = REPOSITORY / "workflows" / "ee_jets.toml"
SMALL = REPOSITORY / "tests" / "pipeline" / "small.toml"


def hepgen(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"COLUMNS": "80", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", "from hepgen.cli import main; main()", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=cwd, env=environment, check=False, timeout=300
    )


def test_help_names_every_command() -> None:
    done = hepgen("--help")
    assert done.returncode == 0
    commands = "run simulate batch merge train infer validate reproduce show sample export combine"
    for command in commands.split():
        assert f"\n  {command}" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from hepgen.cli import main\n"
        "try: sys.argv = ['hepgen', '--help']; main()\n"
        "except SystemExit: pass\n"
        "print([m for m in ('torch', 'sbi', 'uproot', 'matplotlib', 'pydantic') "
        "if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_ctrl_c_while_modules_are_loaded_is_one_sentence() -> None:
    code = (
        "import builtins, hepgen.__main__ as program\n"
        "real = builtins.__import__\n"
        "def stopped(name, *more, **options):\n"
        "    if name == 'hepgen.cli': raise KeyboardInterrupt\n"
        "    return real(name, *more, **options)\n"
        "builtins.__import__ = stopped\n"
        "program.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "hepgen: interrupted\n")


def test_it_is_a_module_too() -> None:
    command = [sys.executable, "-m", "hepgen", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == hepgen("--version").stdout


def test_version() -> None:
    from hepgen import __version__

    assert hepgen("--version").stdout == f"hepgen {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["simulat"], "Did you mean 'simulate'"),
        (["simulate"], "Missing argument"),
        (["simulate", ZMUMU], "either an output, -o FILE, or --training"),
        (["simulate", ZMUMU, "--training", "-n", "5", "--force"], "-n, --force: what --training"),
        (["simulate", ZMUMU, "-n", "1e300", "-o", "x.root"], "expected at most 1e+07"),
        (["simulate", ZMUMU, "-n", "many", "-o", "x.root"], "expected a whole number"),
        (["simulate", ZMUMU, "--theta", "m_z=99", "-o", "x.root"], "outside its prior"),
        (["simulate", ZMUMU, "--theta", "mz=91", "-o", "x.root"], "did you mean 'm_z'"),
        (["simulate", ZMUMU, "--shard", "4/3", "-o", "x.root"], "expected i/n"),
        (["simulate", "zmumu.tml", "-o", "x.root"], "no workflow file"),
        (["infer", ZMUMU, "nothing.root"], "no file 'nothing.root'"),
        (["infer", ZMUMU, "--method", "magic"], "expected one of nle, npe, fmpe"),
        (["infer", ZMUMU, "--set", "simulaton.seed=1"], "did you mean 'simulation'"),
        (["train", ZMUMU, "--method", "magic"], "expected one of nle, npe"),
        (
            [
                "train",
                EE_JETS,
                "--method",
                "sally",
                "--set",
                "parameters.shower_cutoff={prior={uniform=[0.8, 1.5]}}",
            ],
            "'shower_cutoff' decides which events are possible",
        ),
        (["show", "nothing.root"], "no file"),
        (["show", "x" * 300], "File name too long"),
        (["simulate", ZMUMU, "-n", "9", "-o", "x" * 300 + ".root"], "File name too long"),
        (["sample"], "Missing argument"),
        (["sample", "model"], "Missing option"),
        (["sample", "model", "-n", "5", "-o", "x.root"], "no file model/model.json"),
        (["export", "model", "-o", "out"], "no file model/model.json"),
        (["export", "model", "--format", "tflite", "-o", "out"], "known: onnx"),
    ],
)
def test_bad_usage_is_one_sentence_and_exit_code_2(
    arguments: list[str | Path], words: str, tmp_path: Path
) -> None:
    done = hepgen(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert not list(tmp_path.glob("**/*.root"))


def test_simulate_json_and_show(tmp_path: Path) -> None:
    done = hepgen(
        "simulate", SMALL, "-n", "8192", "--theta", "default", "-o", "a.root", "--json",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["genEventCount"] == 8192
    assert facts["events"] == facts["selectedEventCount"]
    shown = json.loads(hepgen("show", "a.root", "--json", cwd=tmp_path).stdout)
    assert shown["trees"]["Events"]["entries"] == facts["events"]
    assert [p.name for p in tmp_path.iterdir()] == ["a.root"]
    again = hepgen("simulate", SMALL, "-n", "8192", "-o", "a.root", cwd=tmp_path)
    assert again.returncode == 2
    assert "--force" in again.stderr


def test_a_simulation_that_selects_nothing_is_warned_of(tmp_path: Path) -> None:
    done = hepgen(
        "simulate", SMALL, "-n", "100", "-o", "a.root", "-q", "--set", "chain.pt_min=1e4",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0
    assert "warning: no event is selected by the stage 'reconstruction'" in done.stderr
    assert "pt_min = 10000.0" in done.stderr


MISTAKES = """
import torch
from hepgen import Stage


class Quits(Stage):
    name = "mine"

    def __call__(self, state, parameters):
        raise SystemExit(0)


class Large(Quits):
    def __call__(self, state, parameters):
        return state | {"x": torch.empty(10**15, dtype=torch.float64)}


class Needy(Quits):
    requires = ("nothing",)
"""


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("Quits", 1, "stage 'mine' failed (line 10 of mistakes): SystemExit: 0"),
        ("Large", 1, "out of memory; use fewer --jobs"),
        ("Needy", 2, "stage 'mine' needs ['nothing']"),
    ],
)
def test_mistakes_of_a_stage_are_one_sentence(
    name: str, code: int, words: str, tmp_path: Path
) -> None:
    (tmp_path / "mistakes.py").write_text(MISTAKES)
    stages = f'[[stages]]\nimport = "mistakes:{name}"\n'
    (tmp_path / "mine.toml").write_text(SMALL.read_text() + stages)
    done = hepgen(
        "simulate", "mine.toml", "-n", "100", "-o", "a.root", "-q", "--allow-code", cwd=tmp_path
    )
    assert done.returncode == code
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine.toml", "mistakes.py"]


def test_an_empty_selection_is_refused(tmp_path: Path) -> None:
    hepgen("simulate", SMALL, "-n", "8192", "-o", "a.root", cwd=tmp_path)
    done = hepgen("infer", SMALL, "a.root", "--cut", "Dimuon_mass > 500", cwd=tmp_path)
    assert done.returncode == 2
    assert not (tmp_path / "results").exists()


def test_a_closed_pipe_is_no_error() -> None:
    command = f"{sys.executable} -c 'from hepgen.cli import main; main()' show {ZMUMU} | true"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True)
    assert "Traceback" not in done.stderr


def test_code_of_a_workflow_runs_only_when_it_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "ideal.py").write_text(
        "from hepgen.simulators.detector import MuonDetector\n\n"
        "class Ideal(MuonDetector):\n    pass\n"
    )
    stages = '[[stages]]\nimport = "ideal:Ideal"\nreplace = "detector"\n'
    (tmp_path / "mine.toml").write_text(SMALL.read_text() + stages)
    command: list[str | Path] = [
        "simulate",
        tmp_path / "mine.toml",
        "-n",
        "8192",
        "-o",
        tmp_path / "a.root",
        "-q",
    ]
    refused = hepgen(*command)
    assert refused.returncode == 2
    assert "'ideal:Ideal'; if you trust it, allow that with --allow-code" in refused.stderr
    assert "Traceback" not in refused.stderr
    allowed = hepgen(*command, "--allow-code")
    assert allowed.returncode == 0, allowed.stderr
    assert (tmp_path / "a.root").exists()
    assert not (tmp_path / "__pycache__").exists()
