"""Text that a model wrote, or was made to write, and the score of each of its tokens."""
