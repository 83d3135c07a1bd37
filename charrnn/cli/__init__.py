"""The command line: parses options, calls the API, prints; only this imports typer and rich."""
