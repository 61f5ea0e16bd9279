"""`runner`: a governed loop around an agent. Importing it prints, reads and creates nothing."""

__version__ = "0.1.0"
