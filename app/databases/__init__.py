"""How databases differ: one module or package for each kind, chosen by `registry`."""
