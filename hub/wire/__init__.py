"""SPEAKS the Hub client's protocol.

Requests of huggingface_hub, peft and git-lfs come in; the rooms' answers leave under the names that client expects.
Nothing is decided here: every route calls the same functions as pages and API.
"""
