"""The report page of a run: curves, confusion or residuals, and examples, in one HTML file that loads nothing."""
