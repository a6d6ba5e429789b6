"""The tests are a package, so that helpers are imported by one name: `from tests.strategies import messages`."""
