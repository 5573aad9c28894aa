"""ROOT files, as TTrees or RNTuples. The only package that knows uproot.

Cuts are evaluated by hepgen and never by uproot, which ignores them silently for an RNTuple.
"""

from hepgen.io.root.metadata import read_metadata
from hepgen.io.root.opening import open_tree, tree_names
from hepgen.io.root.writer import RootWriter

__all__ = ["RootWriter", "open_tree", "read_metadata", "tree_names"]
