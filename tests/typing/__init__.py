"""What type checkers must say about programs that use perdure; see `test_checkers`."""
