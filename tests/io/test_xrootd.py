"""Events behind ``root://``, from a server on this machine, where there is one (``xrootd``)."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import awkward as ak
import pytest

from hepgen.errors import FileError
from hepgen.io import xrootd
from hepgen.io.tables import read

FILES = Path(__file__).parents[1] / "golden" / "0.1.0"
NAMES = ("ttree.root", "rntuple.root", "events.parquet", "events.h5")


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
    return port


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of one that has the golden files."""
    if shutil.which("xrootd") is None:
        pytest.skip("no xrootd server on this machine")
    xrootd.give_up_soon("root://127.0.0.1//")  # before the client is imported
    pytest.importorskip("XRootD", reason="pip install 'hepgen[xrootd]'")
    pytest.importorskip("fsspec_xrootd", reason="pip install 'hepgen[xrootd]'")
    # Not among the folders of pytest, which only their owner sees.
    with tempfile.TemporaryDirectory() as folder:
        yield from served(Path(folder))


def served(folder: Path) -> Iterator[str]:
    port = free_port()
    (folder / "data").mkdir()
    for name in NAMES:
        shutil.copy(FILES / name, folder / "data")
    whole = (FILES / "ttree.root").read_bytes()
    (folder / "data" / "cut.root").write_bytes(whole[: len(whole) // 2])
    (folder / "server.cfg").write_text(
        f"all.export /data\noss.localroot {folder}\nall.adminpath {folder}\nall.pidpath {folder}\n"
        f"xrd.port {port}\nxrd.network nodnr\n"
    )
    command = ["xrootd", "-c", f"{folder}/server.cfg", "-I", "v4", "-l", f"{folder}/log"]
    if Path("/proc/self").owner() == "root":  # a server does not run as root
        subprocess.run(["chmod", "-R", "a+rwX", str(folder)], check=True)
        command += ["-R", "daemon"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(port)
        yield f"root://127.0.0.1:{port}//data"
    finally:
        process.terminate()
        process.wait(20)


def wait_for(port: int) -> None:
    for _ in range(100):
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    pytest.skip("the xrootd server does not start here")


@pytest.mark.parametrize("name", NAMES)
def test_what_is_read_is_what_is_in_the_file(server: str, name: str) -> None:
    far, near = read(f"{server}/{name}").read(), read(str(FILES / name)).read()
    assert ak.array_equal(far.columns, near.columns)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("none.root", "none.root: its server has no such file"),
        ("none.parquet", "none.parquet: its server has no such file"),
        ("cut.root", r"cut\.root: truncated; it has \d+ bytes and should have"),
    ],
)
def test_what_is_wrong_is_named(server: str, name: str, words: str) -> None:
    with pytest.raises(FileError, match=words):
        read(f"{server}/{name}").read()


def test_a_server_that_does_not_answer_is_given_up_soon(server: str) -> None:
    del server  # only where there is a client
    started = time.monotonic()
    with pytest.raises(FileError, match=r"a\.root: its server does not answer"):
        read(f"root://127.0.0.1:{free_port()}//data/a.root").read()
    assert time.monotonic() - started < 60


def test_what_the_user_has_set_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XRD_CONNECTIONWINDOW", "77")
    monkeypatch.delenv("XRD_CONNECTIONRETRY", raising=False)
    xrootd.give_up_soon("events.root")
    assert "XRD_CONNECTIONRETRY" not in os.environ
    xrootd.give_up_soon("root://host//events.root")
    assert os.environ["XRD_CONNECTIONWINDOW"] == "77"
    assert os.environ["XRD_CONNECTIONRETRY"] == "2"
