"""From a run to a signed bundle: the evidence that the main job already produced, checked again, then written as data."""
