"""HDF5 files: tables of events, and images of a calorimeter. The only package that knows h5py."""

from hepgen.io.hdf5.images import ImageReader, Images, ImageWriter

__all__ = ["ImageReader", "ImageWriter", "Images"]
