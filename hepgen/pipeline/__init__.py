"""The wiring: from a workflow file to objects, and from objects to steps."""
