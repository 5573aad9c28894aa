"""ROOT files in and out, as TTrees or RNTuples. The only package that knows uproot.

Reading streams: a chunk of the needed branches at a time, TTree and RNTuple alike. Cuts
are evaluated by hepgen and never by uproot, which ignores them silently for an RNTuple.
Writing is atomic: a file appears under its name when it is complete.
"""

from hepgen.io.cutflow import CutFlow
from hepgen.io.root.description import FileDescription, TreeDescription, describe
from hepgen.io.root.metadata import read_metadata
from hepgen.io.root.reader import EventReader, read
from hepgen.io.root.writer import RootWriter
from hepgen.io.sources import Source, resolve

__all__ = [
    "CutFlow",
    "EventReader",
    "FileDescription",
    "RootWriter",
    "Source",
    "TreeDescription",
    "describe",
    "read",
    "read_metadata",
    "resolve",
]
