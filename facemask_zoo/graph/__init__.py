"""What a network is: operations, graphs, programs, and the float64 reference; NumPy alone."""
