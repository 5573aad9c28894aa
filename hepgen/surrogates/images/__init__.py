"""Surrogates of calorimeter images: the energies of the layers first, then the cells given them.

See :class:`hepgen.surrogates.images.surrogate.ImageSurrogate`.
"""
