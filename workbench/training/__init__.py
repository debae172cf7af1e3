"""Labels, folds, models, calibration, evaluation and tracking of walk-forward studies."""
