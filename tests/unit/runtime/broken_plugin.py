raise RuntimeError("a plugin that cannot be imported")
