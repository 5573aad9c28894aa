"""Events of files, in and out: TTree and RNTuple, Parquet, HDF5.

Reading streams: a chunk of the needed columns at a time, in every format alike. Writing is
atomic: a file appears under its name when it is complete.
"""

from hepgen.io.cutflow import CutFlow
from hepgen.io.description import FileDescription, TreeDescription, describe
from hepgen.io.formats import event_writer, read_metadata
from hepgen.io.reader import EventReader, read
from hepgen.io.root import RootWriter
from hepgen.io.sources import Source, resolve
from hepgen.io.writer import EventWriter

__all__ = [
    "CutFlow",
    "EventReader",
    "EventWriter",
    "FileDescription",
    "RootWriter",
    "Source",
    "TreeDescription",
    "describe",
    "event_writer",
    "read",
    "read_metadata",
    "resolve",
]
