"""Labels, folds, models, calibration, explanation and evaluation, deterministic on any number of workers."""
