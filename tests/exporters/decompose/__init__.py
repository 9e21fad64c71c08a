"""Step graphs without loops or recurrent operators: what they compute, and what cannot become one."""
