"""Assignment 1 with a temperature."""
