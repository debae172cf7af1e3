"""The trading loop of paper and live: market events, commands and time become events of the desk, durable before anything acts."""
