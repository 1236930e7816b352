"""Reading and timing the machine itself."""
