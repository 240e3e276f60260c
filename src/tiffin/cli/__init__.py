"""The tiffin command."""
