"""Binned models and documents that other programs read: pyhf workspaces and HS3."""
