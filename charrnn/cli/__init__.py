"""The command line: parse, call, render; the only room that imports typer and rich."""
