"""Tags of the pages of this floor."""
