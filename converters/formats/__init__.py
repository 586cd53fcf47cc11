"""One file per format: what it calls the operations of a graph, in and out."""
