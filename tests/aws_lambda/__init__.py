"""Tests of the Lambda edge; a package, because its modules share the wheel of the SAM CLI."""
