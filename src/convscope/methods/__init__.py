"""What can be asked of a network: one file a verb."""
