"""The way down."""
