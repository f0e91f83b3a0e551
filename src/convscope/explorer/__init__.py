"""The live explorer: one network and its images on a page that answers at once."""
