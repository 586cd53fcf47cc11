"""Millions of pictures: from folders, tar shards and Parquet files to one table of results.

A run is cut into *units* (:mod:`.units`), each of which becomes a *part* (:mod:`.parts`): a small
Parquet file in a staging folder (:mod:`.staging`). An engine (:mod:`.local`, :mod:`.cluster`) turns
units into parts in any order; whatever it is, and however often the run is cut off, the parts are
joined in the units' order, and the rows are the same.
"""
