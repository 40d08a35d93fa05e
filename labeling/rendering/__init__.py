"""Texts of models and strangers made into HTML that is safe to show. Pure: text in, text out."""
