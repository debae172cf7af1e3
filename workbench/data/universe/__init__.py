"""The fixed, versioned set of assets, its records, and what each venue calls them."""
