"""WELCOMES people, organisations and programs, and says who is asking.

Names, passwords and tokens come in; an `Actor` leaves.
Rights over repos are not decided here but in `hub.rights`.
"""
