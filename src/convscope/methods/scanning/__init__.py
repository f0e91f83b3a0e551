"""What a scan is made of: exact sums, the strongest entries, one tally a layer, the images."""
