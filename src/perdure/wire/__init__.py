"""Layer 1: the Restate service protocol as bytes, without I/O."""
