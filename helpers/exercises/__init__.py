"""The exercises: for each its check, its hints and its reference, which the tests run too.

`exercise.check(your_function)` puts the function on the line with real peers, `exercise.hint()` gives one hint more
each time, and `exercise.solution()` shows the very reference that passes the check.
"""
