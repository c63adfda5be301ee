"""Neutral sentences: what specialists' answers to an input are measured against when there are only weights."""

NEUTRAL = (
    "The river runs through the old town.", "She put the book back on the shelf.", "It rained for most of the week.",
    "The committee will meet again in March.", "He forgot his umbrella on the train.", "What time does it open?",
    "The results were published last year.", "Please close the window before you leave.", "I have never been there.",
    "Prices rose slightly in the second quarter.", "The dog slept in front of the door.", "Turn left at the church.",
    "A new bridge is planned for the harbour.", "They moved to a smaller flat.", "How do I change my password?",
    "The paper describes a simple method.", "My sister plays the violin.", "The engine makes a strange noise.",
    "Thank you for your quick answer.", "The museum is closed on Mondays.", "Water boils at one hundred degrees.",
    "We need two more chairs.", "The file could not be opened.", "Snow is expected in the mountains.",
    "He works for a small company.", "The soup needs a little more salt.", "Can you call me back tomorrow?",
    "The law was passed without discussion.", "Our flight was delayed by an hour.", "The garden is full of bees.",
    "This function returns the sum of its arguments.", "The team lost the last match of the season.",
)  # fmt: skip
