"""A PyTorch module in, a verified bundle out. Never imports the runtime: they meet in the bundle."""
