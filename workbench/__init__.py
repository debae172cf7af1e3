"""Research: data, features' training, studies and backtests on top of the runtime's decision core."""
