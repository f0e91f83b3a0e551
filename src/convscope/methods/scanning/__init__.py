"""What a scan is made of: the strongest entries, one tally a layer, the images."""
