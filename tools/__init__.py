"""Commands for those who write lessons: `python3 run.py refresh`, `chaos`, `steady`, `bench` and `soak`."""
