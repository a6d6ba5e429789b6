"""Layer 2: one attempt of one invocation as a state machine, without I/O."""
