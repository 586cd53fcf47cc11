"""One file per format: what it calls the operations of a graph, in and out."""

CARD_KEY = "facemask_zoo.card"
"""Under which formats that have a place for it keep the model card."""

GRAPH_KEY = "facemask_zoo.graph"
"""Under which formats that hold tensors alone keep the graph."""
