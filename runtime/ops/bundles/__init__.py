"""Bundles: a promoted model or rule as signed data, verified before anything in it is used."""
