"""Import tested on files that others exported, on torch's own exports and on graphs made by hand."""
