"""Servers against each other: `race` measures how fast they answer, `hold` how many callers they keep.

A server and its callers are processes of their own (`apart`): `contestant` is the one, `load` the other, which checks
each answer by `exchange`.  `contestants` and `packing` bring a function from a notebook's cell there; `standings`,
`race_result` and `curves` say what came of it.
"""
