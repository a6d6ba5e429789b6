"""Concurrency that replays: durable nurseries, cancel scopes with deadlines, and compensations.

Everything here is written in terms of branches, blocks and leaves (`perdure.durable`), whose order is a function of the
journal; nothing here knows a wire, a machine or a clock of its own.
"""
