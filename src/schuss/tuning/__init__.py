"""The search for settings that suit one table: what is searched, how, what a person sees of it, what it found."""
