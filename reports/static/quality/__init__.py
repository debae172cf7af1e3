"""The quality report: one page that answers whether the bars of a lake can be used."""
