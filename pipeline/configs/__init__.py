"""What a study says: frozen configs that name each other, one class a stage. Knows pydantic and the paper, no artefact."""
