"""The known laws of learning from rankings, measured on the starter world."""
