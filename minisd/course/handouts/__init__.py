"""What students get of each assignment, and what is checked of it in public."""
