"""The built-in commands of the `ballast` root: one module each, imported only when the command is used."""
