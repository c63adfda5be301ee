"""Reads safetensors headers, PEFT configurations and cards, and says what they hold and whether they can be trusted.

Raw bytes and local paths come in; typed values, JSON-able facts and findings (one clear sentence each) leave.
No torch, Django, network or unpickling is ever used here, and no length in a file is believed before it is checked.
"""
