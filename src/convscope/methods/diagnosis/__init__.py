"""What a diagnosis is made of: what is measured, one file a check, and what they find."""
