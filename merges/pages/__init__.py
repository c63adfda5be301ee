"""SHOWS the hub to people: one page, one view, one call of a room.

Requests of browsers come in; pages and redirects leave.
Nothing is decided here: rights, rules and writing are the rooms', and private things look absent.
"""
