"""The contract between the web side and the trainer: a job folder and what it holds.

Standard library only; both sides import it, and neither imports the other.
"""
