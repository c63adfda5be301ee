"""What people see. In comes a request from a browser; out goes a page or the part of one that changed.

What a page shows is asked of the other rooms' functions and drawn here (markdown, drawings, template tags).
Nothing is decided here: no rights, no rules, no writing to tables, and no tensor is ever read.
"""
