"""The cases of ``make bench``, one question a file; each adds figures and ratios to the site."""
