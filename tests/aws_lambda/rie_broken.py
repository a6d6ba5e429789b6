"""A module that cannot be imported."""

raise ZeroDivisionError("division by zero")
