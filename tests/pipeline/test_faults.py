"""What is killed, or finds the disk full, leaves whole files, and ends as if nothing had been.

The long form is ``python tests/benchmarks/faults.py``.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hepgen.errors import FileError
from hepgen.io.blocks import BlockStore
from hepgen.nn.tensor_files import read_tensors
from hepgen.pipeline.monitor import Silent
from hepgen.pipeline.session import Session
from hepgen.pipeline.simulate import simulate_to_blocks
from hepgen.simulators.campaign import Campaign

REPOSITORY = Path(__file__).parents[2]
TINY = REPOSITORY / "tests" / "pipeline" / "tiny.toml"
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}


@pytest.mark.slow
def test_kill_9_at_random_moments_changes_nothing() -> None:
    command = [sys.executable, str(REPOSITORY / "tests" / "benchmarks" / "faults.py")]
    options = ["--moments", "3", "--commands", "simulate", "blocks", "train"]
    done = subprocess.run(
        [*command, *options], capture_output=True, text=True, env=ENVIRONMENT, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("0 differences") == 3


STOPPED_AT_STEP_5 = """
import os, signal
import hepgen.nn.train as training
step = training._Loop._step
def stopped(loop, index):
    step(loop, index)
    if loop.state.step == 5:
        os.kill(os.getpid(), signal.SIGTERM)
training._Loop._step = stopped
from hepgen.cli import main
main()
"""


@pytest.mark.slow
def test_sigterm_leaves_a_checkpoint_and_says_so(tmp_path: Path) -> None:
    command = [sys.executable, "-c", STOPPED_AT_STEP_5, "train", str(TINY), "--method", "nle"]
    done = subprocess.run(
        [*command, "--jobs", "1", "--set", "folder=run"],
        cwd=tmp_path, capture_output=True, text=True, env=ENVIRONMENT, check=False,
    )  # fmt: skip
    assert done.returncode == 143, done.stderr
    words = "hepgen: terminated; what is finished is kept and will be used next time"
    assert done.stderr.splitlines()[-1] == words
    (checkpoint,) = (tmp_path / "run" / "checkpoints").iterdir()
    assert read_tensors(checkpoint)[1]["state"]["step"] == 5


HANGS = """
import os, time
from hepgen.cli import main
from hepgen.pipeline import simulate
simulate.WORTH_A_WORKER = 1
simulate._worth = lambda campaign, blocks: blocks
def hangs(campaign, number):
    os.write(1, b"hangs\\n")  # at once: another worker writes, too
    time.sleep(600)
simulate.Campaign.simulate = hangs
if __name__ == "__main__":
    main()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("signal_", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["TERM", "INT"]
)
def test_workers_that_hang_do_not_hold_up_the_end(
    tmp_path: Path, signal_: signal.Signals, code: int
) -> None:
    script = tmp_path / "hangs.py"
    script.write_text(HANGS)
    command = [sys.executable, str(script), "simulate", str(TINY), "-n", "2000", "--jobs", "2"]
    command += ["--set", "simulation.block_size=512", "--quiet", "-o", "out.blocks"]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # Whoever runs the tests in the background has taught them to ignore Ctrl-C.
        env=ENVIRONMENT, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "hangs\n"
        process.send_signal(signal_)
        _, words = process.communicate(timeout=20)
    assert process.returncode == code, words
    assert "what is finished is kept" in words.splitlines()[-1]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)],
        capture_output=True, check=False,
    )  # fmt: skip
    if mounted.returncode:
        pytest.skip("mounting a tmpfs is not allowed here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_disk_that_is_full_is_said_so_and_what_is_there_stays(small_disk: Path) -> None:
    session = Session.open(TINY)
    campaign = Campaign(session.chain, session.parameters, 200_000, seed=7, block_size=8192)
    output = small_disk / "out.blocks"
    with pytest.raises(FileError, match=r"No space left on device.*run the same command again"):
        simulate_to_blocks(campaign, output, provenance={}, monitor=Silent())
    store = BlockStore.open(output)
    assert store.verify() == []
    known = store.catalogue()
    assert 0 < len(known) < campaign.blocks
    assert not list(output.glob(".*"))
