"""The shell and the commands."""
