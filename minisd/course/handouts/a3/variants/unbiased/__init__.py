"""Assignment 3 with unbiased variances."""
