"""Reads safetensors headers, PEFT configurations and cards, and says what they hold and whether they can be trusted.

Raw bytes and local paths come in; typed values, JSON-able facts and findings (one clear sentence each) leave.
No torch, no Django, no network and no unpickling ever happens here, and no length in a file is believed before it is checked.
"""
