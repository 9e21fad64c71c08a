"""The product from outside: the wheel alone, what a daemon imports, what it says to the network."""
