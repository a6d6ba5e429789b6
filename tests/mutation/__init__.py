"""Mutation testing: does any test notice when a line of perdure is wrong?

``nox -s mutation`` changes one small thing at a time (a comparison, a number, a removed statement), runs the tests of
that part of perdure, and counts the changes that no test noticed. Those are listed: each is a missing test, or a change
that changes nothing.

How a change is tried, in this order:

1. `operators` finds everything in a module that can be changed; a seeded sample is taken.
2. `trial.Ground` runs the tests once without a change, and notes which test ran which line. They must pass.
3. For each change a child is forked from a process that has pytest and all third-party modules loaded, but nothing of
   perdure. The child's import hook compiles the changed module; then pytest runs the tests that reach the changed
   lines, those named after the module first, the quick ones first, up to the first failure. When all of them pass,
   the other tests of the area follow.

Time is measured as CPU time, so that a busy machine kills no mutant. Hypothesis runs derandomized and does not shrink:
the same seed gives the same figures.

Why not mutmut or cosmic-ray: mutmut changes function bodies only, and half of `wire` and `machine` is tables, in
modules and in class bodies; cosmic-ray writes each change into the work tree and starts an interpreter for it.
"""
