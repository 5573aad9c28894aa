"""Files in and out: ROOT, column expressions, the block store."""
