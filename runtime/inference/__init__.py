"""The float side of the runtime: features, tree evaluation, the trend rule, and the one quantisation before the core."""
