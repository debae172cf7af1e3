"""Developer tools: documentation check, benchmark, interpreter choice. Not part of the installed package."""
