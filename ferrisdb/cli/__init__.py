"""The shell and the commands: `ferrisdb --help`.

Data goes to standard output, all else to standard error, so that a pipe carries data only.
Exit status 0, or 1 after an error, or 2 for a command line that makes no sense.
"""
