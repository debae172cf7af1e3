"""What operators and auditors do with runs beside running them."""
