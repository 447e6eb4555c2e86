"""Reading folders in Hugging Face's layout, without the transformers package."""
