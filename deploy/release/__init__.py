"""What is shipped, named by digests, and its signature."""
