"""Families of models; ``catalog`` finds them by folder, ``contract`` says what each one is."""
