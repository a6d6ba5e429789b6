"""Tests of the client; a package, because its modules share one scripted server."""
