"""Messages of other frameworks' files: ``.proto`` texts, and what protoc makes of them.

The ``.binpb`` files are descriptors, which any protobuf reads; the modules that protoc writes for
Python run on two generations of protobuf alone. ``make schemas`` makes them anew.
"""
