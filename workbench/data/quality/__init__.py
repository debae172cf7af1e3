"""What can be wrong with bars: gates, findings, second sources, clocks, gap certificates; no file is read here."""
