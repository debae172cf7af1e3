"""Why a paper run did not end where a backtest of the same period ends: every difference, by cause, to the last unit of money."""
